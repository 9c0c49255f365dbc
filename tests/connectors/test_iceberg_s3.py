"""Iceberg tables in buckets: written by pyiceberg's own S3 client, erased by ours."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

from connectors.adapters.base import ErasePlan, PlanOutdatedError, StoreError
from connectors.adapters.iceberg import IcebergStore
from connectors.adapters.iceberg.files import FolderFiles
from connectors.index import SubjectIndex
from connectors.openers import LocationOutsideError
from connectors.queries import open_location
from connectors.s3 import S3Folder
from tests.connectors.builders import KilledError
from tests.connectors.iceberg_builders import (
    COLUMNS,
    EVERY_NEEDLE,
    PERSON,
    append,
    clean,
    customers,
    erase,
    location,
    make,
    person,
    planned,
    rows_of,
    table,
    table_with_person,
    without_person,
)
from tests.connectors.iceberg_history import every_snapshot, others, rows
from tests.connectors.iceberg_rest import TOKEN, served
from tests.connectors.indexing import both_ways, build, index_at
from tests.connectors.s3_builders import Bucket
from tests.connectors.s3_server import KEY_ID, SECRET, S3Server

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

BRANCHES = ("main", "audit", "clean")
PREFIX = "lake/shop/orders"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _let_in(settings: Any) -> None:
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1"]


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[Bucket]:
    yield Bucket.new(s3_server, versioned=True)
    s3_server.fault()


def lake_in(bucket: Bucket, root: Path) -> Path:
    """A catalog in a file, whose tables are in the bucket."""
    root.mkdir()
    given = {
        "warehouse": f"s3://{bucket.name}/lake",
        "s3.endpoint": bucket.server.url,
        "s3.region": "us-east-1",
        "s3.access-key-id": KEY_ID,
        "s3.secret-access-key": SECRET,
    }
    (root / "warehouse.json").write_text(json.dumps(given))
    return root


def store(bucket: Bucket, where: str, **options: Any) -> IcebergStore:
    given = bucket.server.options | options
    opened = open_location("iceberg", where, COLUMNS, given, role="writer").store
    assert isinstance(opened, IcebergStore)
    return opened


def folder_of(opened: IcebergStore) -> S3Folder:
    with opened._view() as view:
        assert isinstance(view.folder, S3Folder)
        return view.folder


def traces(bucket: Bucket, prefix: str = "") -> list[str]:
    """Keys of everything left, older versions too, that names the person: read without our code."""
    found = []
    for (key, _), body in bucket.bodies(prefix).items():
        plain = body
        if key.endswith(".parquet"):
            plain += str(pl.read_parquet(body).to_dicts()).encode()
        if key.endswith(".avro"):
            plain += str(list(fastavro.reader(io.BytesIO(body)))).encode()
        if any(needle.encode() in plain.lower() for needle in EVERY_NEEDLE):
            found.append(key)
    return found


def state(lake: Path, *branches: str) -> dict[str, list[dict[str, Any]]]:
    return {b: without_person(rows_of(lake, b)).to_dicts() for b in branches or BRANCHES}


def read_by_all(lake: Path) -> set[str]:
    """Keys of all that the table's metadata leads to, as pyiceberg says."""
    with table(lake) as opened:
        places = {opened.metadata_location}
        places |= {entry.metadata_file for entry in opened.metadata.metadata_log}
        for snapshot in opened.metadata.snapshots:
            places.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(opened.io):
                places.add(manifest.manifest_path)
                for entry in manifest.fetch_manifest_entry(opened.io):
                    places.add(entry.data_file.file_path)
    return {place.split("/", 3)[3] for place in places}


def test_a_person_is_erased_from_a_table_with_all_that_its_bucket_keeps(
    bucket: Bucket, tmp_path: Path
) -> None:
    lake = table_with_person(lake_in(bucket, tmp_path / "lake"))
    for body in (b"customer_id\nc-000042-northern-branch\n", b"customer_id\nc-1\n"):
        bucket.put("lake/shop/orders-by-day/a.csv", body)
    outside = bucket.held("lake/shop/orders-by-day/")
    theirs = io.BytesIO()
    pl.DataFrame([person(9)]).write_parquet(theirs)
    bucket.put(f"{PREFIX}/data/orphan.parquet", theirs.getvalue())
    bucket.client.delete_object(Bucket=bucket.name, Key=f"{PREFIX}/data/orphan.parquet")
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=f"{PREFIX}/data/new.parquet")
    expected = state(lake)

    opened = store(bucket, location(lake), orphan_grace_minutes=0)
    assert [v.rows for v in opened.versions()] == [20, 41, 31, 63]
    assert opened.profile()["rows"] == 63
    findings = opened.find_subject(PERSON)
    assert sum(o.rows for o in findings.objects) == 4
    assert [o.kind for o in findings.objects if o.kind == "past"] == ["past"], "the deleted orphan"
    plan = opened.plan_erase(findings, mode="purge")
    assert plan.blockers == ()
    before = opened.verify_erased(EVERY_NEEDLE, None)
    assert {t.path.partition(" ")[0] for t in before.traces} >= {"older"}
    opened.erase(plan, PERSON)
    opened.purge_history(plan)

    assert traces(bucket, f"{PREFIX}/") == []
    assert clean(opened)
    assert {b: rows_of(lake, b).to_dicts() for b in BRANCHES} == expected
    held = bucket.held(f"{PREFIX}/")
    left = [key for key, _ in held]
    assert len(left) == len(set(left)), "no older version and no delete marker of anything"
    assert set(left) <= read_by_all(lake)
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)
    assert bucket.held("lake/shop/orders-by-day/") == outside
    opened.purge_history(plan)
    assert bucket.held(f"{PREFIX}/") == held, "a second purge finds itself done"
    append(lake, customers(900, 901))
    assert rows_of(lake).height == len(expected["main"]) + 1


def test_history_is_kept_in_a_bucket_with_versions(bucket: Bucket, tmp_path: Path) -> None:
    lake = table_with_person(lake_in(bucket, tmp_path / "lake"), tag=True)
    opened = store(bucket, location(lake), history="keep", orphan_grace_minutes=0)
    before = every_snapshot(lake)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="keep_history")
    assert plan.blockers == ()
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    assert rows(every_snapshot(lake), before) == others(before)
    assert traces(bucket, f"{PREFIX}/") == []
    assert clean(opened)
    left = [key for key, _ in bucket.held(f"{PREFIX}/")]
    assert len(left) == len(set(left)), "no older version and no delete marker of anything"


def test_by_an_index_only_files_that_may_name_the_person_are_fetched(
    bucket: Bucket, tmp_path: Path
) -> None:
    lake = table_with_person(lake_in(bucket, tmp_path / "lake"))
    index = index_at(tmp_path)
    assert build(store(bucket, location(lake)), index) == 4

    def fetched(by: SubjectIndex | None, person: str) -> int:
        opened = store(bucket, location(lake))
        opened.index = by
        bucket.server.fault()  # forgets the calls
        opened.find_subject({"customer_id": [person]})
        return sum(c.startswith("GET") and ".parquet" in c for c in bucket.server.calls())

    assert fetched(None, "c-000301-northern-branch") == 4
    assert fetched(index, "c-000301-northern-branch") == 1
    assert fetched(index, "c-999999") == 0
    both_ways(store(bucket, location(lake)), index, PERSON)


def test_another_writer_makes_the_plan_outdated(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make(lake_in(bucket, tmp_path / "lake"))
    append(lake, customers(100, 105, person()))
    opened = store(bucket, location(lake))
    plan = planned(opened)
    real, came = FolderFiles.new_output, list[str]()

    def outrun(files: FolderFiles, where: str) -> Any:
        if not came:
            came.append(where)
            append(lake, customers(200, 205))
        return real(files, where)

    monkeypatch.setattr(FolderFiles, "new_output", outrun)
    with pytest.raises(PlanOutdatedError, match="plan again"):
        opened.erase(plan, PERSON)
    assert came, "the other one committed between our look and our commit"
    assert not [key for key, _ in bucket.held() if "vestige-" in key], "no draft is left"
    assert rows_of(lake).height == 11
    erase(opened)
    assert rows_of(lake).height == 10
    assert traces(bucket) == []


def dying_at(opened: IcebergStore, operation: str, body: bytes) -> IcebergStore:
    """It dies before the first request of this kind whose body holds that, and does no more."""
    gone: list[bool] = []

    def ask(model: Any, params: dict[str, Any], **_: Any) -> None:
        sent = params["body"]
        text = sent if isinstance(sent, bytes) else sent.read()
        if not isinstance(sent, bytes):
            sent.seek(0)
        if gone or (model.name == operation and body in text):
            gone.append(True)
            raise KilledError

    folder_of(opened).client.meta.events.register("before-call.s3", ask)
    return opened


def run(opened: IcebergStore, plan: ErasePlan) -> None:
    opened.erase(plan, PERSON)
    opened.purge_history(plan)


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("PutObject", b"manifest_path"),  # the data is there, and a manifest
        ("DeleteObjects", b".metadata.json"),  # the data is gone, and its manifests
    ],
)
def test_killed_in_the_middle_and_run_again_the_erasure_ends_the_same(
    bucket: Bucket, tmp_path: Path, operation: str, body: bytes
) -> None:
    lake = make(lake_in(bucket, tmp_path / "lake"))
    append(lake, customers(100, 105, person()))
    expected = state(lake, "main")
    where = location(lake)
    plan = planned(store(bucket, where))
    with pytest.raises(KilledError):
        run(dying_at(store(bucket, where), operation, body), plan)
    with table(lake) as opened:
        current = opened.metadata_location.split("/", 3)[3]
    if operation == "DeleteObjects":  # a writer tidies up, as far as readers see
        for key in {k for k, _ in bucket.held() if k.endswith(".metadata.json")} - {current}:
            bucket.client.delete_object(Bucket=bucket.name, Key=key)
    before = bucket.held()
    resumed = store(bucket, where)
    run(resumed, plan)
    assert {"main": rows_of(lake).to_dicts()} == expected
    assert clean(resumed)
    assert traces(bucket) == []
    left = [key for key, _ in bucket.held()]
    assert before.keys() - bucket.held().keys(), "there was something left to do"
    assert len(left) == len(set(left)), "no older version and no delete marker of anything"
    assert set(left) <= read_by_all(lake), "what the killed one wrote is gone, too"


def test_what_a_catalog_says_of_endpoints_and_keys_leads_nowhere(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make(lake_in(bucket, tmp_path / "lake"))
    append(lake, customers(100, 105, person()))
    append(lake, customers(200, 205))
    expected = state(lake, "main")
    monkeypatch.setenv("LAKE_TOKEN", TOKEN)
    with served(lake) as server:
        server.table_config = {
            "s3.endpoint": NOWHERE,
            "s3.access-key-id": "AKIDOTHER",
            "s3.secret-access-key": "other",
            "s3.signer.uri": NOWHERE,
            "py-io-impl": "os.path.Nothing",
        }
        server.config = server.table_config
        opened = store(bucket, server.location, token_env="LAKE_TOKEN")
        erase(opened)
        assert clean(opened)
    assert {"main": rows_of(lake).to_dicts()} == expected
    assert traces(bucket) == []


def test_a_table_may_only_be_where_the_installation_allows(
    bucket: Bucket, tmp_path: Path, settings: Any
) -> None:
    lake = make(lake_in(bucket, tmp_path / "lake"))
    append(lake, customers(100, 105, person()))
    for name, value in (
        ("VESTIGE_STORE_HOSTS", []),
        ("VESTIGE_STORE_BUCKETS", ["elsewhere", f"{bucket.name}/other"]),
    ):
        former = getattr(settings, name)
        setattr(settings, name, value)
        bucket.server.fault()
        opened = store(bucket, location(lake))
        for asked in (opened.schema, lambda o=opened: o.verify_erased(["x"], None)):
            with pytest.raises(LocationOutsideError, match=name):
                asked()
        assert bucket.server.calls() == [], "nothing was asked"
        setattr(settings, name, former)
    (newest,) = [k for k, _ in bucket.held() if "/00001-" in k]
    metadata = json.loads(bucket.body(newest))
    bucket.put("lake/shop/other/a.avro", b"secret")
    for snapshot in metadata["snapshots"]:
        snapshot["manifest-list"] = f"s3://{bucket.name}/lake/shop/orders/../other/a.avro"
    bucket.put(newest, json.dumps(metadata).encode())
    with pytest.raises(StoreError, match=r'"\.\." in its path'):
        store(bucket, location(lake)).find_subject(PERSON)
    for snapshot in metadata["snapshots"]:
        snapshot["manifest-list"] = f"s3://{bucket.name}/lake/shop/other/a.avro"
    bucket.put(newest, json.dumps(metadata).encode())
    with pytest.raises(StoreError, match="outside its folder s3://"):
        store(bucket, location(lake)).find_subject(PERSON)


def test_what_keeps_an_erasure_from_ending_is_said_in_the_plan(
    s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = Bucket.new(s3_server, versioned=True, locks=True)
    lake = make(lake_in(bucket, tmp_path / "lake"))
    append(lake, customers(100, 105, person()))
    append(lake, customers(200, 205))
    opened = store(bucket, location(lake))
    findings = opened.find_subject(PERSON)
    held = sorted(key for key, _ in bucket.held() if key.endswith(".parquet"))
    (affected,) = (o.path for o in findings.objects if o.rows)
    for key in held:
        bucket.client.put_object_legal_hold(Bucket=bucket.name, Key=key, LegalHold={"Status": "ON"})
    bucket.server.fault(status=403, times=99, method="DELETE", code="AccessDenied")
    blockers = opened.plan_erase(findings, mode="purge").blockers
    bucket.server.fault()
    assert any("may not do s3:DeleteObjectVersion" in told for told in blockers)
    assert [told for told in blockers if "legal hold" in told] == [
        f"Object Lock keeps a version of {affected} (a legal hold): it cannot be removed for good. "
        "Wait until then, or have whoever may do so lift it."
    ], "the other file stays, so its lock is in nobody's way"


def test_partition_bounds_in_an_older_version_of_a_manifest_list_are_decoded(
    bucket: Bucket, tmp_path: Path
) -> None:
    """They are bytes whose type only the table knows: 777001 is no text in them."""
    schema = Schema(
        NestedField(1, "customer_id", LongType()), NestedField(2, "email", StringType())
    )
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "customer_id"))
    lake = make(lake_in(bucket, tmp_path / "lake"), schema, spec)
    append(lake, [{"customer_id": 777001, "email": "a@b.example"}])
    (listed,) = [key for key, _ in bucket.held() if "/snap-" in key]
    bucket.client.delete_object(Bucket=bucket.name, Key=listed)
    report = store(bucket, location(lake)).verify_erased(["777001"], None)
    assert not report.clean
    found = {t.where for t in report.traces if t.path.startswith("older") and "/snap-" in t.path}
    assert "lower_bound of partition customer_id" in found, found
