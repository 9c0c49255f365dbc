"""Erasing in buckets: Delta tables and plain files, with versions and without, whatever happens."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from connectors.adapters.base import ErasePlan, PlanOutdatedError, StoreError
from connectors.adapters.delta import DeltaStore
from connectors.adapters.files import FilesStore
from connectors.s3 import access
from tests.connectors import folders as on_disk
from tests.connectors.builders import EVERY_NEEDLE, PERSON, KilledError, customers, without_person
from tests.connectors.s3_builders import (
    Bucket,
    append,
    delta_store,
    files_store,
    files_with_person,
    rows_of,
    table_with_person,
)
from tests.connectors.s3_server import S3Server

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

Opened = DeltaStore | FilesStore
CHANGING = ("PutObject", "DeleteObject", "DeleteObjects", "AbortMultipartUpload")
SMALL = b"customer_id,email,note\r\nc-000042,,hers\r\nc-000001,,his\r\n"


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[Bucket]:
    yield Bucket.new(s3_server, versioned=True)
    s3_server.fault()


@pytest.fixture
def plain_bucket(s3_server: S3Server) -> Bucket:
    return Bucket.new(s3_server, versioned=False)


def planned(opened: Opened) -> ErasePlan:
    return opened.plan_erase(opened.find_subject(PERSON), mode="purge")


def erase(opened: Opened, plan: ErasePlan | None = None) -> ErasePlan:
    plan = plan or planned(opened)
    assert plan.blockers == ()
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    return plan


def is_clean(opened: Opened) -> bool:
    control = opened.control_subject(PERSON)
    return control is not None and opened.verify_erased(EVERY_NEEDLE, control).clean


def traces(bucket: Bucket) -> list[str]:
    """Keys of everything left, older versions too, that names the person: read without our code."""
    found = []
    for (key, _), body in bucket.bodies().items():
        plain = gzip.decompress(body) if key.endswith(".gz") else body
        if key.endswith(".parquet"):
            plain += str(pl.read_parquet(body).to_dicts()).encode()
        if any(needle.encode() in plain.lower() for needle in EVERY_NEEDLE):
            found.append(key)
    return found


# Files.


def test_a_person_is_erased_in_a_bucket_with_all_older_versions(
    bucket: Bucket, tmp_path: Path
) -> None:
    files_with_person(bucket, tmp_path)
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="lake/orders.csv")  # abandoned
    unrelated = {**bucket.held("lake/others.csv"), **bucket.held("lake/README.md")}
    kept = bucket.held("lake/was.csv")
    opened = files_store(bucket)
    findings = opened.find_subject(PERSON)
    kinds = [o.kind for o in findings.objects]
    assert (kinds.count("data"), kinds.count("past"), kinds.count("upload")) == (6, 2, 1)
    assert sum(findings.rows_by_version.values()) == 12
    assert not opened.verify_erased(EVERY_NEEDLE, None).clean
    erase(opened, opened.plan_erase(findings, mode="purge"))
    assert traces(bucket) == []
    assert is_clean(opened)
    assert bucket.body("lake/orders.csv") == on_disk.csv_without()
    assert gzip.decompress(bucket.body("lake/2024/orders.csv.gz")) == on_disk.csv_without()
    held = bucket.held()
    assert len(unrelated) == 3
    assert unrelated.items() <= held.items(), "unrelated objects keep bytes and versions"
    (current,) = bucket.held("lake/was.csv")
    assert current in kept, "the version that readers see stayed, the older one is gone"
    assert not any("gone" in key or "vestige" in key for key, _ in held)
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)


def test_removing_objects_as_one_does_leaves_every_trace(bucket: Bucket, tmp_path: Path) -> None:
    """The naive recipe: write the file anew without the person, delete what is only theirs."""
    bucket.put("lake/orders.csv", SMALL)
    bucket.put("lake/customer_id=c-000042/a.csv", b"email,n\r\n,1\r\n")
    bucket.put("lake/orders.csv", SMALL.replace(b"c-000042,,hers\r\n", b""))
    bucket.client.delete_object(Bucket=bucket.name, Key="lake/customer_id=c-000042/a.csv")
    opened = files_store(bucket)
    assert [e.path for e in opened.folder.entries()] == ["orders.csv"]
    report = opened.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000001"))
    found = {(t.path.partition(" ")[0], t.path.rpartition("/")[2]) for t in report.traces}
    assert found == {
        ("older", "orders.csv"), ("older", "customer_id=*"), ("delete", "customer_id=*"),
    }  # fmt: skip
    assert all("c-000042" not in t.path for t in report.traces)
    assert report.control_found
    erase(opened)
    assert is_clean(opened)
    assert [key for key, _ in bucket.held()] == ["lake/orders.csv"]


def test_an_upload_in_progress_cannot_be_read_and_fails_the_scan(bucket: Bucket) -> None:
    bucket.put("lake/a.csv", SMALL.replace(b"c-000042", b"c-000043"))
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="lake/new.csv")
    report = files_store(bucket).verify_erased(EVERY_NEEDLE, None)
    (unreadable,) = report.unreadable
    assert unreadable.endswith(
        "/new.csv: it is an upload in progress, whose parts nobody can read. Have it completed or "
        "aborted"
    )
    assert planned(files_store(bucket)).objects == (), "it is nobody's of whom nothing is found"


def test_a_bucket_without_versions_is_erased_in(plain_bucket: Bucket, tmp_path: Path) -> None:
    files_with_person(plain_bucket, tmp_path)
    plain_bucket.put("lake/customer_id=c-000042/", b"")  # as consoles make folders
    plain_bucket.put("lake/customer_id=c-000042/a.csv", b"email,n\r\n,1\r\n")
    plain_bucket.put("lake/kind.json", b'{"customer_id": "c-000042"}\n{"customer_id": "x"}\n')
    before = plain_bucket.held()
    erase(files_store(plain_bucket))
    assert traces(plain_bucket) == []
    assert is_clean(files_store(plain_bucket))
    held = plain_bucket.held()
    assert {k for k, _ in before.keys() - held.keys()} == {
        "lake/customer_id=c-000042/", "lake/customer_id=c-000042/a.csv",
    }  # fmt: skip
    assert plain_bucket.body("lake/kind.json") == b'{"customer_id": "x"}\n'


@pytest.mark.parametrize("moment", ["before", "at the last moment"])
def test_a_file_that_another_writer_replaced_is_not_touched(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    bucket.put("lake/a.csv", SMALL)
    opened = files_store(bucket)
    plan = planned(opened)
    theirs = SMALL + b"c-000123,,today\r\n"
    if moment == "before":
        bucket.put("lake/a.csv", theirs)
    else:
        real = opened.folder._unchanged  # type: ignore[attr-defined]

        def outrun(path: str, was: str) -> str:
            etag = real(path, was)
            bucket.put("lake/a.csv", theirs)
            return str(etag)

        monkeypatch.setattr(opened.folder, "_unchanged", outrun)
    with pytest.raises(PlanOutdatedError, match="plan again"):
        opened.erase(plan, PERSON)
    assert bucket.body("lake/a.csv") == theirs
    again = files_store(bucket)
    erase(again)
    assert bucket.body("lake/a.csv").endswith(b"c-000001,,his\r\nc-000123,,today\r\n")
    assert traces(bucket) == []


# Delta.


def test_a_person_is_erased_in_a_table_with_all_that_a_bucket_keeps(bucket: Bucket) -> None:
    options = table_with_person(bucket)
    for number in range(2):
        bucket.put("elsewhere/a.csv", SMALL + str(number).encode())
    outside = bucket.held("elsewhere/")
    uri = f"s3://{bucket.name}/lake"
    DeltaTable(uri, storage_options=options).vacuum(
        0, enforce_retention_duration=False, dry_run=False
    )
    expected = without_person(rows_of(bucket))
    opened = delta_store(bucket)
    findings = opened.find_subject(PERSON)
    past = [o for o in findings.objects if o.kind == "past"]
    assert past, "what the vacuum deleted is still there as an older version"
    erase(opened, opened.plan_erase(findings, mode="purge"))
    assert rows_of(bucket).equals(expected)
    assert is_clean(opened)
    assert traces(bucket) == ["elsewhere/a.csv", "elsewhere/a.csv"]
    assert bucket.held("elsewhere/") == outside
    table = DeltaTable(uri, storage_options=options)
    known = {f"lake/{path.rpartition('/lake/')[2]}" for path in table.file_uris()}
    left = [key for key, _ in bucket.held("lake/")]
    assert {key for key in left if "_delta_log" not in key} == known
    assert len(left) == len(set(left)), "no older version of anything is left"
    append(bucket, customers(900, 901))
    assert rows_of(bucket).height == expected.height + 1


def test_what_deltalake_deletes_in_a_bucket_with_versions_leaves_traces(bucket: Bucket) -> None:
    """The guide's recipe: delete, vacuum, checkpoint, clean up."""
    options = table_with_person(bucket)
    uri = f"s3://{bucket.name}/lake"
    table = DeltaTable(uri, storage_options=options)
    table.delete("customer_id = 'c-000042'")
    table.vacuum(0, enforce_retention_duration=False, dry_run=False, full=True)
    table.create_checkpoint()
    table.cleanup_metadata()
    report = delta_store(bucket).verify_erased(EVERY_NEEDLE, None)
    assert any(t.path.startswith("older version") for t in report.traces)
    assert {t.path.rpartition(".")[2] for t in report.traces} >= {"parquet", "json"}


def test_a_table_is_read_as_on_disk(plain_bucket: Bucket) -> None:
    table_with_person(plain_bucket)
    opened = delta_store(plain_bucket)
    versions = opened.versions()
    assert [v.rows for v in versions] == [51, 101, 152, 152]
    assert [v.operation for v in versions] == ["WRITE", "WRITE", "WRITE", "UPDATE"]
    assert all(o.digest for v in versions for o in v.objects)
    assert opened.profile("0")["rows"] == 51
    assert sum(f.height for f in opened.rows_apart("1", "0")) == 50
    assert "c-000100" in set(opened.identifier_values("customer_id", "0"))
    control = opened.control_subject(PERSON)
    assert control
    assert control[1] not in EVERY_NEEDLE


def test_a_commit_of_another_writer_makes_the_plan_outdated(bucket: Bucket) -> None:
    table_with_person(bucket)
    opened = delta_store(bucket)
    plan = planned(opened)
    real = opened.folder.create
    came: list[str] = []

    def outrun(path: str, body: bytes) -> None:
        if not came:
            came.append(path)
            append(bucket, customers(800, 810))
        real(path, body)

    opened.folder.create = outrun  # type: ignore[method-assign]
    with pytest.raises(PlanOutdatedError, match="committed version 4"):
        opened.erase(plan, PERSON)
    assert came
    assert rows_of(bucket).height == 162
    assert not any("vestige" in e.path for e in opened.folder.entries())
    again = delta_store(bucket)
    erase(again)
    assert rows_of(bucket).height == 160
    assert is_clean(again)


# What blocks.


@pytest.mark.parametrize("kind", ["retention", "hold"])
def test_object_lock_is_named_before_anybody_approves(s3_server: S3Server, kind: str) -> None:
    bucket = Bucket.new(s3_server, versioned=True, locks=True)
    until = datetime.now(UTC) + timedelta(days=400)  # noqa: TID251
    how: dict[str, Any] = {"ObjectLockLegalHoldStatus": "ON"}
    if kind == "retention":
        how = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    version = bucket.put("lake/a.csv", SMALL, **how)
    bucket.put("lake/a.csv", SMALL + b"c-000042,,more\r\n")
    bucket.put("lake/b.csv", SMALL.replace(b"c-000042", b"c-000043"), **how)
    opened = files_store(bucket)
    (blocker,) = planned(opened).blockers
    what = f"compliance retention until {until:%Y-%m-%d}" if kind == "retention" else "a legal hold"
    assert blocker.startswith(f"Object Lock keeps a version of a.csv ({what})")
    if kind == "hold":
        bucket.client.put_object_legal_hold(
            Bucket=bucket.name, Key="lake/a.csv", VersionId=version, LegalHold={"Status": "OFF"}
        )
        erase(opened)
        assert traces(bucket) == []


def test_a_bucket_that_locks_what_is_written_is_named(s3_server: S3Server) -> None:
    bucket = Bucket.new(s3_server, versioned=True, locks=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}}
    bucket.client.put_object_lock_configuration(
        Bucket=bucket.name,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
    )
    bucket.put("lake/a.csv", SMALL)
    blockers = planned(files_store(bucket)).blockers
    assert "locks every new object by default" in blockers[0]


def test_object_lock_of_a_table_is_named(s3_server: S3Server) -> None:
    bucket = Bucket.new(s3_server, versioned=True, locks=True)
    table_with_person(bucket)
    opened = delta_store(bucket)
    assert planned(opened).blockers == ()
    bucket.client.put_object_legal_hold(
        Bucket=bucket.name, Key=f"lake/_delta_log/{0:020d}.json", LegalHold={"Status": "ON"}
    )
    (blocker,) = planned(opened).blockers
    assert "00000000000000000000.json (a legal hold)" in blocker


@pytest.mark.parametrize(
    ("method", "permission"), [("DELETE", "s3:DeleteObjectVersion"), ("PUT", "s3:PutObject")]
)
def test_a_missing_permission_is_named_before_anybody_approves(
    bucket: Bucket, method: str, permission: str
) -> None:
    bucket.put("lake/a.csv", SMALL)
    before = bucket.held()
    opened = files_store(bucket)
    findings = opened.find_subject(PERSON)
    bucket.server.fault(status=403, times=99, method=method, code="AccessDenied")
    (blocker,) = opened.plan_erase(findings, mode="purge").blockers
    assert f"may not do {permission}" in blocker
    bucket.server.fault()
    assert opened.plan_erase(findings, mode="purge").blockers == ()
    assert bucket.held() == before, "asking has changed nothing"


def test_a_version_that_the_store_keeps_fails_the_purge_visibly(bucket: Bucket) -> None:
    bucket.put("lake/a.csv", SMALL)
    opened = files_store(bucket)
    plan = planned(opened)
    opened.erase(plan, PERSON)
    (old,) = opened.folder.hidden()
    real = opened.folder.client.delete_objects  # type: ignore[attr-defined]
    refused = {"Errors": [{"Key": "lake/a.csv", "VersionId": old.id, "Code": "AccessDenied"}]}
    opened.folder.client.delete_objects = lambda **_: refused  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match=r"kept 1 versions .*Permit s3:DeleteObjectVersion"):
        opened.purge_history(plan)
    opened.folder.client.delete_objects = real  # type: ignore[attr-defined]
    opened.purge_history(plan)
    assert traces(bucket) == []


# Crashes and an unwell store.


def small_files(bucket: Bucket) -> None:
    bucket.put("lake/a.csv", SMALL)
    bucket.put("lake/was.csv", SMALL)
    bucket.put("lake/was.csv", SMALL.replace(b"c-000042", b"c-000043"))
    bucket.put("lake/customer_id=c-000042/a.csv", b"email,n\r\n,1\r\n")


def small_table(bucket: Bucket) -> None:
    append(bucket, customers(100, 110, person=True))
    append(bucket, customers(110, 120))


STORES: dict[str, tuple[Callable[[Bucket], None], Callable[[Bucket], Any]]] = {
    "files": (small_files, files_store),
    "delta": (small_table, delta_store),
}


def hooked(opened: Opened, hook: Callable[[str], None]) -> Opened:
    """Call the hook before every request of ours that changes the bucket."""

    def ask(model: Any, **_: Any) -> None:
        if model.name in CHANGING:
            hook(model.name)

    opened.folder.client.meta.events.register("before-call.s3", ask)  # type: ignore[attr-defined]
    return opened


def final(bucket: Bucket, kind: str) -> object:
    if kind == "delta":
        return rows_of(bucket).to_dicts()
    return {key: body for (key, _), body in bucket.bodies().items()}


def resume(opened: Opened, plan: ErasePlan) -> None:
    """As the worker does: once the purge has begun, the erasure is not run again."""
    try:
        opened.erase(plan, PERSON)
    except PlanOutdatedError:
        assert planned(opened).rows == 0
    opened.purge_history(plan)


@pytest.mark.parametrize("kind", ["files", "delta"])
def test_killed_before_any_request_and_run_again_the_erasure_ends_the_same(
    s3_server: S3Server, kind: str
) -> None:
    fill, store = STORES[kind]
    whole = Bucket.new(s3_server, versioned=True)
    fill(whole)
    names: list[str] = []
    erase(hooked(store(whole), names.append), planned(store(whole)))
    expected = final(whole, kind)
    assert {"PutObject", "DeleteObjects"} <= set(names)
    for step in range(0, len(names), 2):  # every other one, for time's sake
        bucket = Bucket.new(s3_server, versioned=True)
        fill(bucket)
        plan = planned(store(bucket))
        left = iter(range(step))

        def kill(_name: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KilledError

        with pytest.raises(KilledError):
            erase(hooked(store(bucket), kill), plan)
        resume(store(bucket), plan)
        name = f"killed before request {step}"
        assert final(bucket, kind) == expected, name
        assert traces(bucket) == [], name
    assert is_clean(store(bucket))


_CHILD = """
import json, sys
from connectors.adapters.base import ErasePlan
from connectors.s3 import Access, S3Folder, parse_s3
from tests.connectors.builders import PERSON
from tests.connectors.test_s3_erasure import DeltaStore, FilesStore, die_at, hooked
kind, location, options, step, plan = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])
plan = ErasePlan(**{k: tuple(v) if isinstance(v, list) else v for k, v in plan.items()})
folder = S3Folder(parse_s3(location), Access.of(options, "writer"))
store = (DeltaStore if kind == "delta" else FilesStore)(folder, ["customer_id", "email"])
hooked(store, die_at(step))
store.erase(plan, PERSON)
store.purge_history(plan)
"""


def die_at(step: int) -> Callable[[str], None]:
    passed = iter(range(step))

    def hook(_name: str) -> None:
        if next(passed, None) is None:
            os.kill(os.getpid(), 9)

    return hook


@pytest.mark.parametrize(("kind", "step"), [("files", 2), ("delta", 4)])
def test_a_worker_killed_by_the_system_is_resumed(bucket: Bucket, kind: str, step: int) -> None:
    fill, store = STORES[kind]
    fill(bucket)
    plan = planned(store(bucket))
    location = f"s3://{bucket.name}/lake"
    given = [json.dumps(value) for value in (bucket.server.options, step, vars(plan))]
    command = [sys.executable, "-c", _CHILD, kind, location, *given]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    assert traces(bucket)
    resume(store(bucket), plan)
    assert traces(bucket) == []
    assert is_clean(store(bucket))


@pytest.mark.parametrize("kind", ["files", "delta"])
def test_a_store_that_does_not_recover_fails_clearly_and_is_resumed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(access, "ATTEMPTS", 1)
    fill, store = STORES[kind]
    fill(bucket)
    opened = store(bucket)
    plan = planned(opened)
    told = r"is overloaded or unwell \(SlowDown\), also after 1 attempts. Nothing is lost"
    bucket.server.fault(status=503, times=999, method="PUT")
    with pytest.raises(StoreError, match=told):
        opened.erase(plan, PERSON)
    bucket.server.fault()
    opened.erase(plan, PERSON)
    bucket.server.fault(status=503, times=999, method="POST", match=r"\?delete")
    with pytest.raises(StoreError, match=told):
        opened.purge_history(plan)
    bucket.server.fault(status=503, times=999, method="GET")
    with pytest.raises(StoreError, match="overloaded or unwell"):
        opened.verify_erased(EVERY_NEEDLE, None)
    bucket.server.fault()
    resume(opened, plan)
    assert traces(bucket) == []
    assert is_clean(opened)
