"""Questions about the graph: around a node, as of a time, and which models descend from data."""

from datetime import timedelta
from itertools import pairwise

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from audit.intake import time_text
from lineage.models import Dataset, Edge, Version
from lineage.queries import (
    NodeUnknownError,
    downstream,
    downstream_models,
    graph,
    resolve,
    training_versions,
    upstream,
)
from tests.builders import Api
from tests.lineage.builders import START, at, dataset, run_event, take_in


@pytest.fixture
def company(pipeline: User) -> None:
    """raw 1 → clean 7 → model churn 3 → scores 1; raw 2 → clean 8 → model churn 4, in use."""
    for event in [
        run_event("load", "l1", minutes=0, outputs=[dataset("raw", "1")]),
        run_event(
            "clean", "c1", minutes=5, inputs=[dataset("raw", "1")], outputs=[dataset("clean", "7")]
        ),
        run_event(
            "train", "t1", minutes=10, inputs=[dataset("clean", "7")],
            outputs=[dataset("churn", "3", model=True)],
        ),
        run_event(
            "score", "s1", minutes=15, inputs=[dataset("churn", "3", model=True)],
            outputs=[dataset("scores", "1")],
        ),
        run_event("load", "l2", minutes=60, outputs=[dataset("raw", "2")]),
        run_event(
            "clean", "c2", minutes=65, inputs=[dataset("raw", "2")], outputs=[dataset("clean", "8")]
        ),
        run_event(
            "train", "t2", minutes=70, inputs=[dataset("clean", "8")],
            outputs=[dataset("churn", "4", model=True)],
        ),
    ]:  # fmt: skip
        take_in(event, pipeline)


def _ids(answer: dict[str, list[dict[str, str]]]) -> set[str]:
    return {node["id"] for node in answer["nodes"]}


def version(node: str) -> Version:
    found = resolve(node).version
    assert found is not None
    return found


@pytest.mark.usefixtures("company")
def test_affected_models_come_with_the_shortest_path_to_each() -> None:
    found = downstream_models([version("dataset:s3://lake:raw@1").pk])

    assert [(a.version.node, a.path, a.in_use) for a in found] == [
        (
            "model:churn@3",
            ["dataset:s3://lake:raw@1", "dataset:s3://lake:clean@7", "model:churn@3"],
            False,
        )
    ]


@pytest.mark.usefixtures("company")
def test_a_shortcut_gives_the_shorter_path(pipeline: User) -> None:
    take_in(
        run_event("train", "t1", minutes=11, inputs=[dataset("raw", "1")]),
        pipeline,
    )

    found = downstream_models([version("dataset:s3://lake:raw@1").pk])

    assert found[0].path == ["dataset:s3://lake:raw@1", "model:churn@3"]


@pytest.mark.usefixtures("company")
def test_the_next_version_in_the_store_is_not_affected_by_the_one_before() -> None:
    old, new = version("dataset:s3://lake:clean@7"), version("dataset:s3://lake:clean@8")
    Edge.objects.create(source=old, target=new, kind=Edge.Kind.VERSION, created_at=START)

    assert [a.version.node for a in downstream_models([old.pk])] == ["model:churn@3"]


@pytest.mark.usefixtures("company")
def test_a_model_reached_through_an_unnamed_read_is_affected(pipeline: User) -> None:
    take_in(
        run_event(
            "train", "t9", minutes=30, inputs=[dataset("clean")],
            outputs=[dataset("upsell", "1", model=True)],
        ),
        pipeline,
    )  # fmt: skip

    affected = downstream_models([version("dataset:s3://lake:raw@1").pk])
    assert {a.version.node for a in affected} == {"model:churn@3", "model:upsell@1"}
    upsell = version("model:upsell@1")
    assert [v.node for v in training_versions(upsell)] == ["dataset:s3://lake:clean@7"]


@pytest.mark.usefixtures("company")
def test_upstream_and_downstream_of_a_version() -> None:
    model = version("model:churn@3")

    assert {v.node for v in upstream(model)} == {
        "dataset:s3://lake:raw@1", "dataset:s3://lake:clean@7",
    }  # fmt: skip
    assert {v.node for v in downstream([version("dataset:s3://lake:clean@7").pk])} == {
        "model:churn@3", "dataset:s3://lake:scores@1",
    }  # fmt: skip


@pytest.mark.usefixtures("company")
def test_the_graph_of_a_version_shows_versions_and_their_runs() -> None:
    answer = graph("model:churn@3", "upstream", 10)

    assert _ids(answer) == {
        "dataset:s3://lake:raw@1", "dataset:s3://lake:clean@7", "model:churn@3",
    }  # fmt: skip
    assert {(e["source"], e["target"], e["job"], e["run"]) for e in answer["edges"]} == {
        ("dataset:s3://lake:raw@1", "dataset:s3://lake:clean@7", "job:shop:clean", "c1"),
        ("dataset:s3://lake:clean@7", "model:churn@3", "job:shop:train", "t1"),
    }


@pytest.mark.usefixtures("company")
def test_the_graph_of_a_dataset_shows_datasets_once() -> None:
    answer = graph("dataset:s3://lake:raw", "downstream", 10)

    assert _ids(answer) == {
        "dataset:s3://lake:raw", "dataset:s3://lake:clean", "model:churn", "dataset:s3://lake:scores",
    }  # fmt: skip
    raw = next(n for n in answer["nodes"] if n["id"] == "dataset:s3://lake:raw")
    assert raw["versions"] == 2
    assert next((e["source"], e["target"], e["runs"]) for e in answer["edges"]) == (
        "dataset:s3://lake:clean", "model:churn", 2,
    )  # fmt: skip


@pytest.mark.usefixtures("company")
def test_the_depth_bounds_the_answer() -> None:
    near = graph("dataset:s3://lake:raw@1", "downstream", 1)

    assert _ids(near) == {"dataset:s3://lake:raw@1", "dataset:s3://lake:clean@7"}


@pytest.mark.usefixtures("company")
def test_the_graph_of_a_job_has_what_it_reads_and_writes() -> None:
    answer = graph("job:shop:train", "both", 1)

    assert _ids(answer) == {"job:shop:train", "dataset:s3://lake:clean", "model:churn"}
    assert {(e["source"], e["target"]) for e in answer["edges"]} >= {
        ("dataset:s3://lake:clean", "job:shop:train"), ("job:shop:train", "model:churn"),
    }  # fmt: skip


@pytest.mark.usefixtures("company")
def test_the_graph_as_of_a_time_holds_what_there_was_then() -> None:
    then = START + timedelta(minutes=12)

    early = graph("dataset:s3://lake:raw", "downstream", 10, as_of=then)
    assert _ids(early) == {"dataset:s3://lake:raw", "dataset:s3://lake:clean", "model:churn"}
    assert next(n for n in early["nodes"] if n["id"] == "model:churn")["versions"] == 1
    raw = version("dataset:s3://lake:raw@2")
    assert downstream_models([raw.pk], as_of=then) == []
    assert downstream_models([raw.pk]) != []
    first = version("dataset:s3://lake:raw@1")
    assert [len(a.path) for a in downstream_models([first.pk], as_of=then)] == [3]
    assert downstream_models([first.pk], as_of=START + timedelta(minutes=7)) == []


def test_a_cycle_ends(pipeline: User) -> None:
    for name, other in [("a", "b"), ("b", "c"), ("c", "a")]:
        take_in(
            run_event(
                name, f"r-{name}", inputs=[dataset(name, "1")], outputs=[dataset(other, "1")]
            ),
            pipeline,
        )
    take_in(
        run_event(
            "train", "t", inputs=[dataset("a", "1")], outputs=[dataset("m", "1", model=True)]
        ),
        pipeline,
    )

    answer = graph("dataset:s3://lake:b@1", "both", 100)
    assert len(answer["nodes"]) == 4
    found = downstream_models([version("dataset:s3://lake:b@1").pk])
    assert found[0].path == [
        "dataset:s3://lake:b@1", "dataset:s3://lake:c@1", "dataset:s3://lake:a@1", "model:m@1",
    ]  # fmt: skip
    assert len(graph("dataset:s3://lake:b", "downstream", 100)["nodes"]) == 4


def _chain(length: int) -> list[Version]:
    """A dataset with a thousand versions, each made of the one before; a model from the last."""
    table = Dataset.objects.create(
        namespace="s3://lake", name="long", node="dataset:s3://lake:long", kind="dataset"
    )
    model = Dataset.objects.create(namespace="models", name="m", node="model:m", kind="model")
    versions = [
        Version(dataset=table, version=str(n), created_at=START + timedelta(minutes=n))
        for n in range(length)
    ]
    versions.append(
        Version(dataset=model, version="1", created_at=START + timedelta(minutes=length))
    )
    versions = Version.objects.bulk_create(versions)
    Edge.objects.bulk_create(
        Edge(source=a, target=b, kind=Edge.Kind.RUN, created_at=b.created_at)
        for a, b in pairwise(versions)
    )
    return versions


def test_a_thousand_versions_away_a_model_is_still_found_by_few_queries(
    db: None, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    versions = _chain(1000)

    with django_assert_max_num_queries(3):
        far = downstream_models([versions[0].pk])
    assert [a.version.node for a in far] == ["model:m@1"]
    assert far[0].path == ["dataset:s3://lake:long@0", "…", "model:m@1"]

    near = downstream_models([v.pk for v in versions[:990]])
    assert near[0].path[0] == "dataset:s3://lake:long@989"
    assert len(near[0].path) == 12

    with django_assert_max_num_queries(8):
        answer = graph("dataset:s3://lake:long@500", "both", 100)
    assert len(answer["nodes"]) == 201

    with django_assert_max_num_queries(8):
        whole = graph("dataset:s3://lake:long", "both", 100)
    assert _ids(whole) == {"dataset:s3://lake:long", "model:m"}


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("dataset:s3://lake:raw", "dataset:s3://lake:raw"),
        ("dataset:s3a://lake/:/raw/", "dataset:s3://lake:raw"),
        ("dataset:s3://lake:raw@1", "dataset:s3://lake:raw@1"),
        ("model:churn@3", "model:churn@3"),
        ("model:models:churn@3", "model:churn@3"),
        ("job:shop:train", "job:shop:train"),
    ],
)
def test_a_node_is_found_in_every_spelling(text: str, node: str) -> None:
    found = resolve(text)
    named = found.version or found.dataset or found.job
    assert named is not None
    assert named.node == node


def test_names_with_colons_and_at_signs_are_told_apart(pipeline: User) -> None:
    odd = {"namespace": "postgres://db:5432", "name": "a@b:c", "facets": {}}
    odd["facets"] = {"version": {"datasetVersion": "sha256:1@2"}}
    same = {"namespace": "postgres://db", "name": "5432:a@b:c", "facets": {}}
    take_in(run_event("x", "r1", outputs=[odd]), pipeline)
    take_in(run_event("y", "r2", outputs=[same]), pipeline)

    nodes = set(Dataset.objects.values_list("node", flat=True))
    assert len(nodes) == 2
    assert resolve("dataset:postgres://db:5432:a@b:c@sha256:1@2").version is not None
    for node in nodes:
        assert resolve(node).dataset is not None


def test_two_models_of_one_name_are_two_nodes(pipeline: User) -> None:
    other = dataset("churn", "1", model=True) | {"namespace": "models://lab"}
    take_in(run_event("a", "r1", outputs=[dataset("churn", "1", model=True)]), pipeline)
    take_in(run_event("b", "r2", outputs=[other]), pipeline)

    assert {d.node for d in Dataset.objects.all()} == {"model:churn", "model:models://lab:churn"}
    assert resolve("model:models://lab:churn@1").dataset != resolve("model:churn@1").dataset


def test_a_name_too_long_for_the_log_gets_a_short_node(pipeline: User) -> None:
    name = "part/" * 150
    take_in(run_event("x", "r1", outputs=[dataset(name, "1")]), pipeline)

    found = resolve(f"dataset:s3://lake:{name}@1")
    assert found.version is not None
    assert len(found.version.dataset.node) <= 512
    assert resolve(found.version.node).version == found.version


@pytest.mark.usefixtures("company")
def test_the_graph_by_rest(auditor: User, api: Api) -> None:
    client = api(auditor)

    answer = client.get("/api/v1/lineage", {"node": "model:churn@3", "direction": "upstream"})
    assert answer.status_code == 200
    assert len(answer.json()["nodes"]) == 3
    old = client.get(
        "/api/v1/lineage/",
        {"node": "model:churn", "direction": "upstream", "as_of": at(12).replace("+00:00", "Z")},
    )
    assert old.json()["as_of"] == time_text(START + timedelta(minutes=12))
    for wrong, status, field in [
        ({"node": "model:nobody"}, 404, "node"),
        ({"node": "dataset:s3://lake:raw@99"}, 404, "node"),
        ({"node": "table:x"}, 400, "node"),
        ({}, 400, "node"),
        ({"node": "model:churn", "direction": "sideways"}, 400, "direction"),
        ({"node": "model:churn", "depth": "0"}, 400, "depth"),
        ({"node": "model:churn", "depth": "many"}, 400, "depth"),
        ({"node": "model:churn", "as_of": "yesterday"}, 400, "as_of"),
    ]:
        refused = client.get("/api/v1/lineage", wrong)
        assert refused.status_code == status, wrong
        assert refused["Content-Type"] == "application/problem+json"
        assert refused.json()["errors"][0]["field"] == field


def test_an_unknown_node_has_no_graph(db: None) -> None:
    with pytest.raises(NodeUnknownError, match="Nothing here is called model:nobody"):
        graph("model:nobody")
