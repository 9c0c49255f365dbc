"""Stages of DVC pipelines as lineage: which outputs a stage made out of which, at which commit."""

import pytest

from accounts.models import User
from compliance.states import State
from connectors.adapters.base import StageRun
from connectors.adapters.dvc.pointers import Stage, outputs_of
from connectors.models import Connector
from lineage.actions import sync_connector
from lineage.models import Edge, Run, Version
from lineage.queries import upstream
from tests.compliance import builders
from tests.compliance.builders import purchases
from tests.connectors.dvc_builders import Workshop, begun, store

_PIPELINE = """\
stages:
  prepare:
    cmd: python prepare.py
    deps: [raw.csv, prepare.py]
    outs: [data/clean.csv]
  train:
    cmd: python train.py
    deps: [data/clean.csv]
    outs: [model.csv]
"""
_PREPARE = b'open("data/clean.csv", "w").write(open("raw.csv").read().replace("month", "m"))\n'
_TRAIN = b'open("model.csv", "w").write(open("data/clean.csv").read().replace("m,", "n,"))\n'


@pytest.fixture(scope="module")
def pipeline_template(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Two months of purchases, each cleaned and learned from by a pipeline."""
    shop = begun(tmp_path_factory.mktemp("dvc") / "purchases")
    shop.write("dvc.yaml", _PIPELINE.encode())
    shop.write("prepare.py", _PREPARE)
    shop.write("train.py", _TRAIN)
    (shop.root / "data").mkdir()
    for month in (1, 2):
        purchases(month).write_csv(shop.root / "raw.csv")
        shop.dvc("add", "-q", "raw.csv")
        shop.dvc("repro", "-q")
        shop.commit(f"month {month}")
    shop.dvc("push", "-q")
    return shop


@pytest.fixture
def shop(
    pipeline_template: Workshop,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Workshop:
    copied = pipeline_template.copy(tmp_path_factory.mktemp("copy") / "purchases")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(copied.site))
    return copied


def commits(shop: Workshop) -> tuple[str, str]:
    return shop.git("rev-parse", "main^"), shop.git("rev-parse", "main")


def told(runs: "list[StageRun]") -> list[tuple[str, list[str], list[str]]]:
    return [
        (
            run.stage,
            [f"{i.location.partition('#')[2]}@{i.version}" for i in run.inputs],
            [f"{o.location.partition('#')[2]}@{o.version}" for o in run.outputs],
        )
        for run in runs
    ]


def test_a_stage_is_told_at_each_commit_that_brought_what_it_made(shop: Workshop) -> None:
    old, new = commits(shop)
    runs = list(store(shop, output="data/clean.csv").stage_runs())
    assert told(runs) == [
        ("repo/prepare", [f"raw.csv@{old}"], [f"data/clean.csv@{old}"]),
        ("repo/train", [f"data/clean.csv@{old}"], [f"model.csv@{old}"]),
        ("repo/prepare", [f"raw.csv@{new}"], [f"data/clean.csv@{new}"]),
        ("repo/train", [f"data/clean.csv@{new}"], [f"model.csv@{new}"]),
    ]
    assert [r.stage for r in store(shop, output="raw.csv").stage_runs()] == ["repo/prepare"] * 2
    assert store(shop).stage_runs() == []  # one dataset, whose commits follow each other


def test_what_changed_since_a_stage_ran_is_not_what_it_read(shop: Workshop) -> None:
    """Somebody commits new data and no `dvc repro`: the lock file tells of the data before."""
    purchases(3).write_csv(shop.root / "raw.csv")
    shop.dvc("add", "-q", "raw.csv")
    shop.commit("month 3, nothing run")
    old, new = commits(shop)
    assert new not in str(told(list(store(shop, output="raw.csv").stage_runs())))
    assert len(store(shop, output="raw.csv").stage_runs()) == 2
    assert old in str(told(list(store(shop, output="raw.csv").stage_runs())))


@pytest.mark.parametrize(
    ("path", "declared", "name", "reads"),
    [
        ("dvc.lock", b"", "train", "data/a.csv"),
        ("jobs/dvc.lock", b"", "jobs/dvc.yaml:train", "jobs/data/a.csv"),
        ("dvc.lock", b"stages:\n  train:\n    wdir: work\n", "train", "work/data/a.csv"),
    ],
)
def test_a_stage_is_named_and_its_paths_are_read_as_dvc_does(
    path: str, declared: bytes, name: str, reads: str
) -> None:
    lock = (
        "schema: '2.0'\nstages:\n  train:\n    cmd: x\n    deps:\n    - path: data/a.csv\n"
        f"      md5: {'a' * 32}\n    outs:\n    - path: out.csv\n      md5: {'b' * 32}\n"
    )
    (output,) = outputs_of(path, lock.encode(), declared)
    assert output.stage == Stage(name, ((reads, "a" * 32),))


def connected(shop: Workshop, output: str, name: str) -> Connector:
    location = f"{shop.root}#{output}"
    return builders.connected(location, name=name, kind="dvc", options={"exclusive": ["store"]})


@pytest.mark.django_db
def test_stages_join_the_versions_of_connected_outputs(shop: Workshop, data_owner: User) -> None:
    raw = connected(shop, "raw.csv", "raw")
    connected(shop, "data/clean.csv", "clean")
    _, new = commits(shop)
    clean = Version.objects.get(dataset__name="clean", version=new)
    assert [(v.dataset.name, v.version) for v in upstream(clean) if v.version == new] == [
        ("raw", new)
    ]
    model = Version.objects.get(dataset__name="repo/model.csv", version=new)  # nobody connected it
    assert {"raw", "clean"} <= {v.dataset.name for v in upstream(model)}
    assert {str(run.job) for run in Run.objects.all()} == {"repo/prepare", "repo/train"}
    before = Edge.objects.count(), Run.objects.count()
    sync_connector(raw, by=data_owner)
    assert (Edge.objects.count(), Run.objects.count()) == before


@pytest.mark.django_db
def test_an_erasure_in_all_outputs_is_no_run_of_a_stage(shop: Workshop) -> None:
    for output, name in (("raw.csv", "raw"), ("data/clean.csv", "clean"), ("model.csv", "model")):
        connected(shop, output, name)
    assert Run.objects.count() == 4
    done = builders.erased(builders.team())
    assert done.state == State.RESPONDING, done.reason
    assert Run.objects.count() == 4
    assert [step.rows_erased for step in done.steps.all()] == [1, 1, 1]
