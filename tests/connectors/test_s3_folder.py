"""A folder in a bucket promises what a folder on disk does, whatever the store answers."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.adapters.base import OptionError, StoreError
from connectors.folders import LocalFolder
from connectors.s3 import Access, S3Folder, S3Place, access, parse_s3, scratch, transfer
from connectors.storage import ChangedMeanwhileError, Folder
from tests.connectors.s3_builders import Bucket
from tests.connectors.s3_server import S3Server

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[Bucket]:
    yield Bucket.new(s3_server, versioned=True)
    s3_server.fault()


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return LocalFolder(tmp_path)
    found: Bucket = request.getfixturevalue("bucket")
    return found.folder()


def drafted(folder: Folder, path: str, body: bytes) -> Path:
    draft = folder.draft(path)
    draft.write_bytes(body)
    return draft


def test_a_folder_does_the_same_on_disk_and_in_a_bucket(folder: Folder) -> None:
    folder.create("a.csv", b"one")
    with pytest.raises(FileExistsError):
        folder.create("a.csv", b"two")
    old = folder.digest("a.csv")
    with pytest.raises(ChangedMeanwhileError):
        folder.swap(drafted(folder, ".new-1.csv", b"three"), "a.csv", "another digest")
    folder.swap(drafted(folder, ".new-2.csv", b"four"), "a.csv", old)
    assert folder.read("a.csv") == b"four"
    with pytest.raises(ChangedMeanwhileError):
        folder.take_away("a.csv", old, ".aside.csv")
    entry = folder.publish(drafted(folder, "in/b é.csv.gz", b"five!"), "in/b é.csv.gz")
    assert (entry.path, entry.bytes) == ("in/b é.csv.gz", 5)
    folder.append(".x.journal", b"first")
    folder.append(".x.journal", b"second")
    assert folder.lines(".x.journal") == [b"first", b"second"]
    assert folder.lines(".y.journal") == []
    assert {"a.csv", "in/b é.csv.gz"} <= {e.path for e in folder.entries()}
    assert (folder.folders(), folder.names("in")) == (["in"], ["b é.csv.gz"])
    folder.take_away("a.csv", folder.digest("a.csv"), ".aside.csv")
    assert not folder.exists("a.csv")
    with pytest.raises(FileNotFoundError):
        folder.read("a.csv")
    folder.remove("in/b é.csv.gz")
    folder.remove("in/b é.csv.gz")
    folder.remove_empty_folders({"in"})
    assert folder.folders() == []


def test_what_is_removed_from_a_bucket_with_versions_is_gone_with_all_of_them(
    bucket: Bucket,
) -> None:
    folder = bucket.folder()
    for body in (b"1", b"22"):
        bucket.put("lake/a", body)
    bucket.put("lake/ab", b"a longer name")
    folder.take_away("a", folder.digest("a"), "")
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="lake/a")
    hidden = folder.hidden()
    assert sorted((i.kind, i.bytes) for i in hidden) == [
        ("marker", 0), ("upload", 0), ("version", 1), ("version", 2),
    ]  # fmt: skip
    older = next(i for i in hidden if i.bytes == 1)
    with folder.opened("a", older.id) as location:
        assert location.read_bytes() == b"1"
    folder.remove("a")
    assert [key for key, _ in bucket.held()] == ["lake/ab"]
    assert folder.hidden() == []


def test_another_writer_between_the_look_and_the_swap_is_not_overwritten(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("lake/a.csv", b"old", ContentType="text/csv", Metadata={"team": "shop"})
    folder = bucket.folder()
    was, real = folder.digest("a.csv"), folder._unchanged

    def outrun(path: str, digest: str) -> str:
        etag = real(path, digest)
        bucket.put("lake/a.csv", b"theirs")
        return etag

    draft = drafted(folder, "new.csv", b"mine")
    with monkeypatch.context() as patch:
        patch.setattr(folder, "_unchanged", outrun)
        with pytest.raises(ChangedMeanwhileError):
            folder.swap(draft, "a.csv", was)
    assert bucket.body("lake/a.csv") == b"theirs"
    bucket.put("lake/a.csv", b"old", ContentType="text/csv", Metadata={"team": "shop"})
    folder.swap(drafted(folder, "new.csv", b"mine"), "a.csv", was)
    found = bucket.client.head_object(Bucket=bucket.name, Key="lake/a.csv")
    assert (found["ContentType"], found["Metadata"]) == ("text/csv", {"team": "shop"})


def test_large_files_go_up_in_parts_and_leave_none_when_they_fail(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PART_BYTES", 5 << 20)
    body = os.urandom(11 << 20)
    folder = bucket.folder()
    folder.publish(drafted(folder, "a.bin", body), "a.bin")
    assert any("partNumber=3" in call for call in bucket.server.calls())
    assert bucket.body("lake/a.bin") == body
    bucket.server.fault(status=400, times=99, method="PUT", match="partNumber=2", code="BadDigest")
    with pytest.raises(StoreError, match="BadDigest"):
        folder.publish(drafted(folder, "b.bin", body), "b.bin")
    assert folder.hidden() == []


def test_a_store_that_is_overloaded_for_a_while_is_asked_again(bucket: Bucket) -> None:
    bucket.put("lake/a.csv", b"one")
    folder = bucket.folder()
    bucket.server.fault(status=503, times=1, method="GET", match="a.csv")
    assert folder.read("a.csv") == b"one"
    bucket.server.fault(status=503, times=1, method="PUT", match="b.csv")
    folder.create("b.csv", b"two")
    assert bucket.body("lake/b.csv") == b"two"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 503}, r"overloaded or unwell \(SlowDown\), also after 1 attempts"),
        ({"status": 403, "code": "AccessDenied"}, "does not permit"),
        ({"status": 403, "code": "InvalidAccessKeyId"}, r"refused the key \(InvalidAccessKeyId\)"),
        ({"status": 404, "code": "NoSuchBucket"}, "no such bucket"),
    ],
)
def test_what_a_store_answers_is_said_clearly(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(access, "ATTEMPTS", 1)
    folder = bucket.folder()
    bucket.server.fault(times=99, **fault)
    with pytest.raises(StoreError, match=said) as raised:
        folder.entries()
    assert "AKID" not in str(raised.value)


def test_no_request_leaves_for_another_host(bucket: Bucket) -> None:
    folder = bucket.folder()
    folder.client.meta.events.register_first(
        "before-send.s3", lambda request, **_: setattr(request, "url", "http://169.254.169.254/")
    )
    with pytest.raises(StoreError, match="leads to another host"):
        folder.entries()


def test_local_copies_are_private_bounded_and_go_with_the_store(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "KEEP_BYTES", 25)
    for number in range(5):
        bucket.put(f"lake/{number}.csv", b"0123456789")
    folder = bucket.folder()
    bucket.server.fault()
    with folder.opened("0.csv") as held:
        for number in (*range(5), 4, 4):
            assert folder.read(f"{number}.csv") == b"0123456789"
        (own,) = tmp_path.iterdir()
        assert own.stat().st_mode & 0o077 == 0
        assert all(copy.stat().st_mode & 0o077 == 0 for copy in own.iterdir())
        assert sum(copy.stat().st_size for copy in own.iterdir()) <= 30
        assert held.read_bytes() == b"0123456789"
    fetched = [c for c in bucket.server.calls() if c.startswith("GET") and c.endswith("csv? 200")]
    assert len(fetched) == 5, "each object's bytes are fetched once"
    del folder
    assert list(tmp_path.iterdir()) == []


_CHILD = """
import os, tempfile
from connectors.s3.scratch import Scratch
scratch = Scratch()
scratch.new(".csv").write_bytes(b"somebody's data")
os.kill(os.getpid(), 9)
"""


def test_copies_that_a_killed_worker_left_are_removed_by_the_next(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _CHILD], check=False, env=environment, timeout=60)
    (left,) = tmp_path.iterdir()
    assert [p.read_bytes() for p in left.iterdir()] == [b"somebody's data"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = bucket.folder(), bucket.folder()
    for living in (first, second):
        living.draft("a").write_bytes(b"a draft")
    assert not left.exists()
    assert len(list(tmp_path.glob("*/*"))) == 2, "the copies of the living stay"


def test_a_folder_for_copies_that_another_process_took_for_a_dead_ones_is_made_anew(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Many tasks of a cluster begin at once, and each looks for what the dead have left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made: list[str] = []
    real = tempfile.mkdtemp

    def swept_at_once(prefix: str) -> str:
        made.append(real(prefix=prefix))
        if len(made) == 1:
            scratch._sweep(tmp_path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept_at_once)
    bucket.put("lake/a.csv", b"0123456789")
    assert bucket.folder().read("a.csv") == b"0123456789"
    assert len(made) == 2


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("s3://lake/shop/orders/", S3Place("lake", "shop/orders")),
        ("S3A://lake", S3Place("lake")),
        (" s3://lake/a b=c ", S3Place("lake", "a b=c")),
    ],
)
def test_a_location_has_one_spelling(location: str, place: S3Place) -> None:
    assert parse_s3(location) == place
    assert parse_s3(str(place)) == place


@pytest.mark.parametrize(
    "location", ["s3://", "s3://me:secret@lake/a", "s3://lake/../b", "s3://lake/a//b"]
)
def test_a_location_that_is_none_is_refused(location: str) -> None:
    with pytest.raises(StoreError, match="s3://lake/shop/customers") as raised:
        parse_s3(location)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, 'in the option "region"'),
        ({"endpoint_url": "http://minio.example:9000"}, "by https:// only"),
        ({"endpoint_url": "https://me:pw@minio.example"}, "holds a user name"),
        ({"endpoint_url": "https://minio.example/path"}, "without a path"),
        ({"endpoint_url": "minio.example"}, "an address"),
        ({"region": "x", "key_id_env": "SOME_PASSWORD"}, "ends with ACCESS_KEY_ID"),
        ({"region": "x", "key_id_env": "TEST_ACCESS_KEY_ID"}, "two parts"),
        ({"region": "x", "secret_key_env": "NO_SECRET_ACCESS_KEY"}, "is not set"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    s3_server: S3Server, options: dict[str, str], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        Access.of(options, "reader")


def test_each_role_signs_in_with_its_own_key(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WRITER_ACCESS_KEY_ID", "writer")
    (tmp_path / "key").write_text("of the writer\n")
    options = s3_server.options | {
        "writer_key_id_env": "WRITER_ACCESS_KEY_ID",
        "writer_secret_key_file": str(tmp_path / "key"),
    }
    writer, verifier = Access.of(options, "writer"), Access.of(options, "verifier")
    assert (writer.key_id, writer.secret_key) == ("writer", "of the writer")
    assert verifier.key_id == "AKIDTEST"
    assert "of the writer" not in repr(writer)
    assert Access.of({"region": "eu-central-1"}, "reader").host == "s3.eu-central-1.amazonaws.com"


def test_a_folder_in_a_bucket_is_a_folder(bucket: Bucket) -> None:
    held: Folder = bucket.folder()
    assert isinstance(held, S3Folder)
    assert held.is_there()
    assert not S3Folder(S3Place("elsewhere"), Access.of(bucket.server.options, "reader")).is_there()
