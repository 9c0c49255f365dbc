"""A DVC repository as a connected store: by REST, by page, and through the workflow."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from audit.subjects import SubjectRef
from compliance.actions.erasure import execute
from compliance.models import Request
from compliance.queries import current_plan
from compliance.states import State
from connectors.models import Connector
from datasheets.queries.findings import gone
from lineage.actions import sync_connector
from lineage.models import Version
from reports.models import Certificate
from reports.tasks import render_due_documents
from tests.builders import Api, sequenced
from tests.compliance.builders import (
    approved,
    connected,
    planned,
    purchases,
    team,
    tell_training,
    work_off,
)
from tests.connectors.dvc_builders import Workshop, begun
from tests.connectors.dvc_history import commit_map
from tests.connectors.test_dvc_keep_commits import signed_commit
from tests.reports.builders import path_of, text_of

pytestmark = pytest.mark.django_db


def wanted(shop: Workshop, **more: Any) -> dict[str, Any]:
    return {
        "kind": "dvc",
        "location": str(shop.root),
        "subject_columns": {"customer_id": "customer", "email": "email"},
        **more,
    }


def post(api: Api, user: User, body: dict[str, Any]) -> Any:
    return api(user).post("/api/v1/connectors", body, content_type="application/json")


def test_a_repository_is_connected_and_synced_by_rest(
    dvc_shop: Workshop, data_owner: User, api: Api
) -> None:
    answer = post(api, data_owner, wanted(dvc_shop, options={"exclusive": ["store"]}))
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert (made["kind"], made["dataset"]["node"]) == ("dvc", "dataset:stores:repo")
    synced = api(data_owner).post(f"/api/v1/connectors/{made['id']}/sync")
    assert synced.status_code in (200, 202), synced.content
    versions = Version.objects.filter(dataset__name="repo")
    assert versions.count() == 4
    assert versions.get(version=dvc_shop.git("rev-parse", "main")).rows == 29
    one = post(api, data_owner, wanted(dvc_shop, location=f"{dvc_shop.root}#data/parts"))
    assert one.status_code == 201, one.content
    assert one.json()["dataset"]["node"] == "dataset:stores:repo/data/parts"


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"options": {"exclusive": "store"}}, "options", "is a list of names"),
        ({"subject_columns": {"phone": "phone"}}, "subject_columns", "has no column phone"),
        ({"location": "/nowhere/at/all"}, "location", "There is no DVC repository at"),
    ],
)
def test_a_repository_that_cannot_be_searched_is_not_connected(
    dvc_shop: Workshop, data_owner: User, api: Api, change: dict[str, Any], field: str, reason: str
) -> None:
    answer = post(api, data_owner, wanted(dvc_shop) | change)
    assert answer.status_code == 400
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert reason in answer.json()["detail"]


def test_a_remote_outside_the_allowed_folders_is_not_opened(
    dvc_shop: Workshop, data_owner: User, api: Api, settings: Any
) -> None:
    settings.VESTIGE_STORE_ROOTS = [str(dvc_shop.root)]
    answer = post(api, data_owner, wanted(dvc_shop))
    assert answer.status_code == 400
    assert "is outside the folders that this installation may connect" in answer.json()["detail"]
    settings.VESTIGE_STORE_ROOTS = [str(dvc_shop.folder)]
    assert post(api, data_owner, wanted(dvc_shop)).status_code == 201


def test_a_repository_is_tested_and_connected_by_form(
    dvc_shop: Workshop, data_owner: User, browser: Client
) -> None:
    form = {
        "kind": "dvc",
        "location": f"{dvc_shop.root}#data/parts",
        "subject_columns": "customer_id = customer",
        "dataset_name": "parts",
        "options": "exclusive = [store]",
    }
    browser.force_login(data_owner)
    assert "DVC" in browser.get("/stores/connect/").content.decode()
    tested = browser.post("/stores/connect/", {**form, "test": "1"}).content.decode()
    assert "It keeps 2 versions and has every column you named." in tested
    answer = browser.post("/stores/connect/", {**form, "connect": "1"})
    made = Connector.objects.get()
    assert answer["Location"] == f"/stores/{made.pk}/"
    assert made.options == {"exclusive": ["store"]}
    assert "commit: data/parts" in browser.get(f"/stores/{made.pk}/").content.decode()


@pytest.fixture(scope="module")
def purchases_template(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Two versions of a file of purchases, the person in both."""
    shop = begun(tmp_path_factory.mktemp("dvc") / "purchases")
    for month in (1, 2):
        purchases(month).write_csv(shop.root / "purchases.csv")
        shop.dvc("add", "-q", "purchases.csv")
        shop.commit(f"month {month}")
    shop.dvc("push", "-q")
    return shop


@pytest.fixture
def purchases_shop(
    purchases_template: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workshop:
    shop = purchases_template.copy(tmp_path / "purchases")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(shop.site))
    return shop


def test_a_person_is_erased_in_dvc_by_the_workflow(purchases_shop: Workshop) -> None:
    connected(purchases_shop.root, kind="dvc")
    people = team()
    old, new = (purchases_shop.git("rev-parse", c) for c in ("main^", "main"))
    tell_training("7", old)
    request = approved(people)
    plan = current_plan(request)
    assert plan
    (step,) = plan.body["steps"]
    assert (step["kind"], step["rows"], step["rows_by_version"]) == ("dvc", 2, {old: 1, new: 1})
    assert step["versions_lost"] == [old, new]
    assert [m["version"] for m in plan.body["affected_models"]] == ["7"]
    done = run(request, people.analyst)
    assert done.state == State.RESPONDING, done.reason
    assert (purchases_shop.root / "purchases.csv").read_text().count("\n") == 3
    assert all(v.purged_at for v in Version.objects.filter(version__in=[old, new]))
    after = Version.objects.get(dataset__name="purchases", purged_at=None)
    assert (after.version, after.rows) == (purchases_shop.git("rev-parse", "main"), 2)


def test_versions_that_are_kept_go_on_in_lineage_under_their_new_names(
    purchases_shop: Workshop, browser: Client, tmp_path: Path
) -> None:
    signed_commit(purchases_shop)  # and nothing else in it
    options = {"history": "keep", "drop_signatures": True}
    connector = connected(purchases_shop.root, kind="dvc", options=options)
    people = team()
    old = [purchases_shop.git("rev-parse", c) for c in ("main~2", "main~1")]
    tell_training("7", old[0])
    request = approved(people)
    plan = current_plan(request)
    assert plan
    (step,) = plan.body["steps"]
    assert (step["mode"], step["versions_lost"], step["blockers"]) == ("keep_history", [], [])
    assert [m["version"] for m in plan.body["affected_models"]] == ["7"]
    browser.force_login(people.analyst)
    page = browser.get(f"/requests/{request.reference}/").content.decode()
    assert "Commits that held them, and all that come after, get other ids, and" in page
    assert run(request, people.analyst).state == State.RESPONDING

    page = browser.get(f"/requests/{request.reference}/").content.decode()
    assert "Signatures dropped</dt><dd>1, of commits" in page
    assert f"{old[0][:12]}… is now {commit_map(purchases_shop)[old[0]][:12]}" in page
    new = [purchases_shop.git("rev-parse", c) for c in ("main~2", "main~1")]
    assert not set(new) & set(old)
    assert {v.version: v.rows for v in Version.objects.filter(purged_at=None, version__in=new)} == {
        new[0]: 2, new[1]: 2,
    }  # fmt: skip
    entries = sequenced()
    told = {e.resource_version: e for e in entries if e.type == "dataset.version_rewritten"}
    assert sorted(told) == sorted(old)
    assert all(now.encode() in bytes(told[was].leaf) for was, now in zip(old, new, strict=True))
    assert "dataset.version_purged" not in {e.type for e in entries}
    (purged,) = [e for e in entries if e.type == "erasure.step_purged"]
    assert b'"versions_renamed":2' in bytes(purged.leaf)
    assert request.steps.get().result["purged"]["renamed"] == dict(zip(old, new, strict=True))
    dataset = Version.objects.get(version=new[1]).dataset
    assert f"as {new[0][:12]}" in browser.get(f"/datasets/{dataset.pk}/").content.decode()
    assert gone(Version.objects.get(version=old[0])).startswith(f"rewritten as {new[0]} on ")
    again = sync_connector(connector, by=people.data_owner)
    assert (again.added, again.purged, again.renamed, again.changed) == ((), (), (), ())

    render_due_documents()
    certificate = Certificate.objects.get(request=request)
    assert certificate.content
    (place,) = certificate.content["locations"]
    assert {v["version"]: v["now"] for v in place["versions_renamed"]} == dict(
        zip(old, new, strict=True)
    )
    text = " ".join(text_of(path_of(certificate.pdf_file, tmp_path)).split())
    assert f"under other names ({min(old)[:12]}" in text
    assert "keep their numbers" not in text

    # Whoever else stood in the old version stands in the new one, and so in the same model.
    second = planned(people.analyst, SubjectRef("customer", "00021"))
    plan = current_plan(second)
    assert plan
    assert [m["because"] for m in plan.body["affected_models"]] == ["rows found"]


def run(request: Request, by: User) -> Request:
    execute(request, by=by)
    return work_off(request)


def test_a_commit_after_the_approval_stays(purchases_shop: Workshop) -> None:
    connected(purchases_shop.root, kind="dvc")
    people = team()
    request = approved(people)
    purchases_shop.write("README.md", b"new\n")
    late = purchases_shop.commit("a text")
    done = run(request, people.analyst)
    assert done.state == State.RESPONDING, done.reason
    assert purchases_shop.git("rev-parse", "main~1") == late
    assert (purchases_shop.root / "purchases.csv").read_text().count("\n") == 3


def test_what_blocks_is_told_before_anybody_approves(purchases_shop: Workshop) -> None:
    connected(purchases_shop.root, kind="dvc")
    local = purchases_shop.root / ".dvc" / "config.local"
    local.write_text("['remote \"cloud\"']\nurl = s3://bucket/path\n")
    plan = current_plan(planned(team().analyst))
    assert plan
    (blocker,) = plan.body["steps"][0]["blockers"]
    assert blocker.startswith("The remote cloud (s3://bucket/path) cannot be reached")


def test_a_person_whom_no_branch_holds_is_erased_from_the_only_version(tmp_path: Path) -> None:
    shop = begun(tmp_path / "shop")
    shop.commit("no data yet")
    shop.git("checkout", "-q", "-b", "trial")
    shop.write("purchases.csv", purchases(1).write_csv().encode())
    shop.dvc("add", "-q", "purchases.csv")
    shop.commit("a trial")
    shop.git("tag", "trial-1")
    shop.git("checkout", "-q", "main")
    shop.git("branch", "-q", "-D", "trial")
    (shop.root / "purchases.csv").unlink()
    connected(shop.root, kind="dvc")
    people = team()
    request = approved(people)
    execute(request, by=people.analyst)
    assert work_off(request).state == State.RESPONDING
