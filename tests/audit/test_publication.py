"""The log as static files in a folder or bucket, and as an export that outlives kill -9."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from moto.server import ThreadedMotoServer

from accounts.models import User
from audit.actions import append, claim_anchoring, publish_due, publish_now, sequence
from audit.ledger.files import FolderFiles
from audit.ledger.folder import FolderVerdict, verify_folder
from audit.ledger.tiles import TILE_WIDTH, parse_tile_path
from audit.models import MAIN_LOG, Anchor, AnchorAttempt, Entry
from audit.proofs import DamagedLogError
from audit.publication import PublicationRefusedError, Published, publish
from audit.queries import event_of, latest_checkpoint, verifier_key
from audit.targets import FolderTarget, TargetError, target_of
from audit.tasks import publish_checkpoints
from tests.audit.builders import as_database_owner, event, log_with, sql
from tests.builders import Api

pytestmark = pytest.mark.django_db


def grown(by: User, count: int) -> None:
    append([event(number) for number in range(count)], by=by)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def published(folder: Path, *, entries: bool = True, **how: Any) -> Published:
    return publish(FolderTarget(folder), entries=entries, **how)


def verified(folder: Path, **how: Any) -> FolderVerdict:
    verdict = verify_folder(FolderFiles(folder), trusted_vkey=verifier_key(), **how)
    assert verdict.valid, verdict.faults
    return verdict


def test_a_published_folder_verifies_with_nothing_but_the_key(tmp_path: Path) -> None:
    log_with(700)
    made = published(tmp_path)
    assert verified(tmp_path).checked == made.size == 700
    assert made.files == len(files_of(tmp_path)) == 3 + 4 + 2  # bundles, tiles, note and key


def test_without_entries_no_leaf_leaves(tmp_path: Path) -> None:
    log_with(300)
    published(tmp_path, entries=False)
    assert not (tmp_path / "tile" / "entries").exists()
    leaf = bytes(Entry.objects.get(seq=299).leaf)
    assert not any(leaf[60:] in data for data in files_of(tmp_path).values())
    assert "shows no entries" in " ".join(verified(tmp_path).notes)


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    by = log_with(700)
    published(tmp_path)
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in files_of(tmp_path)}
    assert published(tmp_path).files == 0
    grown(by, 100)
    # The last bundle and the last tile fill, one of each begins; one tile above, note and key.
    assert published(tmp_path).files == 2 + 2 + 1 + 2
    kept = [
        path
        for path, changed in before.items()
        if (tmp_path / path).exists() and (tmp_path / path).stat().st_mtime_ns == changed
    ]
    assert len(kept) == 5
    assert verified(tmp_path).checked == 800


def test_partial_tiles_stay_until_the_full_one_serves_for_them(tmp_path: Path) -> None:
    by = log_with(300)
    published(tmp_path)
    grown(by, 100)
    published(tmp_path)
    assert {"tile/0/001.p/44", "tile/0/001.p/144"} <= files_of(tmp_path).keys()
    verified(tmp_path)
    grown(by, 200)
    published(tmp_path)
    assert {path for path in files_of(tmp_path) if ".p/" in path} == {
        "tile/entries/002.p/88",
        "tile/0/002.p/88",
        "tile/1/000.p/1",  # a tile that is still not full keeps its beginnings
        "tile/1/000.p/2",
    }
    verified(tmp_path)


def test_entries_that_are_published_later_are_made_up_for(tmp_path: Path) -> None:
    by = log_with(700)
    published(tmp_path, entries=False)
    grown(by, 50)
    published(tmp_path)
    assert verified(tmp_path).checked == 750


class Killed(BaseException):
    """Nothing in the product catches this."""


class FragilePlace(FolderTarget):
    """Dies at the write with this number, after or before the file has got its name."""

    def __init__(self, root: Path, at: int, *, drafted: bool) -> None:
        super().__init__(root)
        self._left, self._drafted = at, drafted

    def write(self, path: str, data: bytes) -> None:
        self._left -= 1
        if self._left < 0:
            if self._drafted:
                (self._root / ".incoming").write_bytes(data[: len(data) // 2])
            raise Killed
        super().write(path, data)


@pytest.mark.parametrize("whole", [False, True])
def test_killed_between_any_two_files_and_run_again_it_leaves_the_same(
    tmp_path: Path,
    whole: bool,  # noqa: FBT001
) -> None:
    by = log_with(600)
    published(tmp_path / "right")
    for at in range(40):
        published(tmp_path / str(at))
    grown(by, 200)
    published(tmp_path / "right", whole=whole)
    right = files_of(tmp_path / "right")
    kills = 0
    for at in range(40):
        folder = tmp_path / str(at)
        try:
            publish(FragilePlace(folder, at, drafted=at % 2 == 0), entries=True, whole=whole)
        except Killed:
            kills += 1
            # A reader finds the earlier checkpoint, and everything under it.
            assert verified(folder).checked in (600, 800)
        published(folder, whole=whole)
        assert files_of(folder) == right
    assert kills >= 7


def test_a_reader_never_sees_a_checkpoint_whose_tiles_are_not_there(tmp_path: Path) -> None:
    by = log_with(500)
    seen: list[str] = []

    class Watched(FolderTarget):
        def write(self, path: str, data: bytes) -> None:
            if self.read("checkpoint"):
                verified(tmp_path)
            super().write(path, data)
            seen.append(path)

    for _ in range(3):
        publish(Watched(tmp_path), entries=True)
        assert seen[-1] == "checkpoint"
        grown(by, 150)


def test_two_publications_into_one_folder_keep_apart(tmp_path: Path) -> None:
    log_with(10)
    with FolderTarget(tmp_path).held():
        draft = tmp_path / ".incoming"
        draft.write_text("what the first is about to put into its place")
        with pytest.raises(TargetError, match="Another process"):
            published(tmp_path)
        assert draft.exists()
    assert not draft.exists()
    published(tmp_path)


# What contradicts the log is not overwritten


def test_a_copy_that_contradicts_the_log_is_left_as_evidence(tmp_path: Path) -> None:
    log_with(300)
    published(tmp_path)
    note = (tmp_path / "checkpoint").read_text()
    for wrong, reason in (
        (note.replace("\n300\n", "\n301\n"), "entries were removed here"),
        (note.replace("\n300\n", "\n299\n"), "another tree of 299"),
        (note.replace("vestige.local/log\n300", "other.example/log\n300"), "another log"),
        ("rubbish", "is no checkpoint"),
    ):
        (tmp_path / "checkpoint").write_text(wrong)
        with pytest.raises(PublicationRefusedError, match=reason):
            published(tmp_path)
        assert (tmp_path / "checkpoint").read_text() == wrong


def test_what_was_changed_in_the_database_is_not_published(tmp_path: Path) -> None:
    log_with(300)
    with as_database_owner():
        sql("UPDATE audit_entry SET leaf = leaf_hash WHERE seq = 270")
        with pytest.raises(DamagedLogError, match="256 to"):
            published(tmp_path)
        sql("UPDATE audit_tile SET hashes = leaf_hash FROM audit_entry WHERE seq = 3")
        with pytest.raises(DamagedLogError):
            published(tmp_path, entries=False)
    assert not (tmp_path / "checkpoint").exists()


# By setting and sweep


def test_the_sweep_publishes_where_the_setting_says_and_keeps_that_it_did(
    tmp_path: Path, settings: Any
) -> None:
    by = log_with(300)
    publish_checkpoints()
    assert not AnchorAttempt.objects.exists()
    settings.VESTIGE_PUBLISH = str(tmp_path / "public")
    publish_checkpoints()
    anchor = Anchor.objects.get(kind="publication", name=settings.VESTIGE_PUBLISH)
    signed = latest_checkpoint()
    assert signed is not None
    assert (anchor.size, bytes(anchor.root), anchor.note) == (300, signed.root, signed.note)
    assert verified(tmp_path / "public").checked == 0
    grown(by, 10)
    assert publish_due() is None  # it is not time yet
    AnchorAttempt.objects.update(tried_at=timezone.now() - timedelta(seconds=301))
    settings.VESTIGE_PUBLISH_ENTRIES = True
    publish_checkpoints()
    assert list(Anchor.objects.order_by("size").values_list("size", flat=True)) == [300, 310]
    assert verified(tmp_path / "public").checked == 310


def test_a_publication_under_way_is_left_alone(tmp_path: Path, settings: Any) -> None:
    log_with(10)
    settings.VESTIGE_PUBLISH = str(tmp_path)
    lease = timedelta(minutes=1)
    assert claim_anchoring(MAIN_LOG, "publication", settings.VESTIGE_PUBLISH, lease=lease)
    assert publish_now() is None
    assert not (tmp_path / "checkpoint").exists()
    AnchorAttempt.objects.update(claimed_until=timezone.now())  # its worker is dead
    assert publish_now() is not None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("relative/folder", "is no place"),
        ("s3://", "names no bucket"),
        ("/proc/nowhere", "cannot be used"),
    ],
)
def test_a_place_that_cannot_be_used_is_a_fault_that_shows(
    settings: Any, address: str, reason: str
) -> None:
    log_with(10)
    settings.VESTIGE_PUBLISH = address
    publish_checkpoints()
    attempt = AnchorAttempt.objects.get(name=address)
    assert reason in attempt.fault
    assert attempt.claimed_until is None
    assert publish_due() is None  # not at once again
    AnchorAttempt.objects.update(tried_at=timezone.now() - timedelta(seconds=61))
    publish_checkpoints()
    assert AnchorAttempt.objects.filter(tried_at__gt=attempt.tried_at).exists()
    with pytest.raises(CommandError, match=reason):
        call_command("publish_log")


def test_the_command_publishes_now(tmp_path: Path, settings: Any, capsys: Any) -> None:
    log_with(10)
    with pytest.raises(CommandError, match="VESTIGE_PUBLISH"):
        call_command("publish_log")
    settings.VESTIGE_PUBLISH = str(tmp_path)
    call_command("publish_log")
    assert "covers 10 entries; 3 files were written" in capsys.readouterr().out
    verified(tmp_path)


# A bucket


@pytest.fixture
def bucket(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    host, port = server.get_host_and_port()
    settings.VESTIGE_S3_ENDPOINT = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=settings.VESTIGE_S3_ENDPOINT)
    client.create_bucket(Bucket="log")
    yield client
    client.close()
    server.stop()


@pytest.mark.enable_socket
def test_a_bucket_holds_what_a_folder_would_hold(
    bucket: Any, settings: Any, tmp_path: Path
) -> None:
    by = log_with(300)
    settings.VESTIGE_PUBLISH, settings.VESTIGE_PUBLISH_ENTRIES = "s3://log/audit/main", True
    for more in (100, 200, 0):
        publish_now()
        published(tmp_path)
        if more:
            grown(by, more)
    found = bucket.list_objects_v2(Bucket="log")["Contents"]
    held = {
        item["Key"].removeprefix("audit/main/"): bucket.get_object(Bucket="log", Key=item["Key"])
        for item in found
    }
    assert {path: answer["Body"].read() for path, answer in held.items()} == files_of(tmp_path)
    assert held["checkpoint"]["ContentType"].startswith("text/plain")
    assert held["checkpoint"]["CacheControl"] == "no-cache"
    assert "immutable" in held["tile/0/000"]["CacheControl"]
    assert publish(target_of("s3://log/audit/main"), entries=True).files == 0


@pytest.mark.enable_socket
def test_a_bucket_that_is_not_there_is_a_fault_without_secrets(bucket: Any, settings: Any) -> None:
    log_with(10)
    settings.VESTIGE_PUBLISH = "s3://elsewhere/log"
    publish_checkpoints()
    fault = AnchorAttempt.objects.get().fault
    assert "the store answers NoSuchBucket" in fault
    settings.VESTIGE_PUBLISH, settings.VESTIGE_S3_ENDPOINT = "s3://log", "http://127.0.0.1:9"
    publish_checkpoints()
    assert "EndpointConnectionError" in AnchorAttempt.objects.get(name="s3://log").fault


# Exports


def test_an_export_is_recorded_and_verifies(tmp_path: Path, capsys: Any) -> None:
    log_with(700)
    call_command("export_log", str(tmp_path / "export"))
    assert "verify" in capsys.readouterr().out
    assert verified(tmp_path / "export").checked == 700
    sequence()
    exported = event_of(Entry.objects.get(type="log.exported"))
    assert exported["actor"] == "vestige:operator"
    assert exported["details"] == {"format": "tiles", "filters": {}, "entries": 700, "size": 700}
    # Run again it adds what is new: the record of the export before.
    call_command("export_log", str(tmp_path / "export"))
    assert verified(tmp_path / "export").checked == 701


def test_an_export_since_an_entry_leaves_earlier_bundles_out(tmp_path: Path) -> None:
    log_with(700)
    call_command("export_log", str(tmp_path), since=600)
    verdict = verify_folder(FolderFiles(tmp_path), since=600)
    assert verdict.valid
    assert verdict.checked == 700 - 512
    assert not verify_folder(FolderFiles(tmp_path)).valid
    with pytest.raises(CommandError, match="there is none from 9000 on"):
        call_command("export_log", str(tmp_path), since=9000)
    sequence()
    exported = event_of(Entry.objects.get(type="log.exported"))
    assert exported["details"]["filters"] == {"since": "512"}
    assert exported["details"]["entries"] == 188


def test_an_export_mends_files_that_are_cut_or_lost(tmp_path: Path) -> None:
    log_with(700)
    published(tmp_path, whole=True)
    right = files_of(tmp_path)
    (tmp_path / "tile" / "entries" / "000").write_bytes(right["tile/entries/000"][:999])
    (tmp_path / "tile" / "entries" / "001").unlink()
    (tmp_path / "tile" / "0" / "000").write_bytes(b"")
    assert published(tmp_path, whole=True).files == 3 + 2
    assert files_of(tmp_path) == right


# Over HTTP


def test_hash_tiles_are_public_or_only_for_readers(
    client: Client, api: Api, auditor: User, settings: Any
) -> None:
    log_with(300)
    answer = client.get("/log/tile/0/000")
    assert answer.status_code == 200
    assert "public" in answer["Cache-Control"]
    settings.VESTIGE_PUBLIC_TILES = False
    assert client.get("/log/tile/0/000").status_code == 401
    assert client.get("/log/checkpoint").status_code == 200
    read = api(auditor).get("/log/tile/0/000")
    assert read.content == answer.content
    assert "private" in read["Cache-Control"]


def test_the_files_are_those_that_the_doors_serve(tmp_path: Path, api: Api, auditor: User) -> None:
    log_with(600)
    published(tmp_path)
    for path, data in files_of(tmp_path).items():
        assert api(auditor).get(f"/log/{path}").content == data, path
        if path.startswith("tile/"):
            assert 1 <= parse_tile_path(path)[2] <= TILE_WIDTH
