"""A folder in a bucket: the objects whose keys begin with a prefix.

What a file system does by locks, links and renames, a bucket does by conditions: an object is
created only where there is none (`If-None-Match: *`), replaced or removed only while it is what
was read (`If-Match`). Whoever was faster is never overwritten, so no lock is needed.

In a bucket with versions nothing that is replaced or removed is gone. `hidden` lists what is left,
`remove` and `remove_hidden` take it by version, oldest first, so that no older version comes to
light in between.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from connectors.adapters.base import OptionError, StoreError, StoreNotFoundError
from connectors.clock import now
from connectors.folders import ChangedMeanwhileError, FileEntry, Hidden, file_digest
from connectors.formats.formats import suffix_of
from connectors.s3.access import Access, RefusedError, TakenError, UnchangedError, told
from connectors.s3.place import S3Place
from connectors.s3.scratch import Fetched, Scratch
from connectors.s3.transfer import download, upload

_BATCH = 1000  # versions that one request may delete
_MOST_LOCKS = 5  # named in a plan; the others are counted
_PROBE = ".vestige-probe"  # never written


class S3Folder:
    """`writer`: the access that an erasure will use, whose permissions a plan looks at; raises
    OptionError where this process does not have its key. Without it, that of reading.

    Methods raise what `connectors.folders.Folder` says, RefusedError among the StoreErrors.
    """

    def __init__(
        self, place: S3Place, access: Access, *, writer: "Callable[[], Access] | None" = None
    ) -> None:
        self.root = place
        self.access = access
        self.client = access.client()
        self._writer = writer
        self._scratch = Scratch()
        self._digests: dict[tuple[str, str], str] = {}  # (path, ETag) → SHA-256
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        return str(self.root)

    @property
    def storage_options(self) -> dict[str, str] | None:
        return self.access.storage_options()

    def _told(self) -> AbstractContextManager[None]:
        return told(f"The bucket {self.root.bucket} at {self.access.host}")

    def _at(self, path: str) -> dict[str, str]:
        return {"Bucket": self.root.bucket, "Key": self.root.key(path)}

    def _pages(self, operation: str, prefix: str, **more: Any) -> Iterator[Mapping[str, Any]]:
        pages = self.client.get_paginator(operation).paginate(
            Bucket=self.root.bucket, Prefix=prefix, **more
        )
        with self._told():
            yield from pages

    @property
    def _prefix(self) -> str:
        return self.root.key("")

    def is_there(self) -> bool:
        """Whether the bucket is: a prefix without objects is an empty folder."""
        try:
            with self._told():
                self.client.list_objects_v2(Bucket=self.root.bucket, Prefix=self._prefix, MaxKeys=1)
        except StoreNotFoundError:
            return False
        return True

    def entries(self) -> list[FileEntry]:
        return [entry for entry in self._objects() if not _is_folder(entry)]

    def _objects(self) -> list[FileEntry]:
        found = [
            FileEntry(self.root.path(item["Key"]), int(item["Size"]), _utc(item["LastModified"]))
            for page in self._pages("list_objects_v2", self._prefix)
            for item in page.get("Contents", ())
        ]
        return sorted((e for e in found if e.path), key=lambda entry: entry.path)

    def hidden(self) -> list[Hidden]:
        found = [item for item, latest in self._versions(self._prefix) if not latest]
        found += self._uploads(self._prefix)
        return sorted(found, key=lambda item: item.path)

    def _uploads(self, prefix: str) -> Iterator[Hidden]:
        for page in self._pages("list_multipart_uploads", prefix):
            for item in page.get("Uploads", ()):
                path = self.root.path(item["Key"])
                yield Hidden(path, "upload", item["UploadId"], 0, _utc(item["Initiated"]))

    def _versions(self, prefix: str) -> Iterator[tuple[Hidden, bool]]:
        """Everything that has a version id, newest first within a key; whether readers see it."""
        for page in self._pages("list_object_versions", prefix):
            for item in page.get("Versions", ()):
                yield self._hidden("version", item), bool(item["IsLatest"])
            for item in page.get("DeleteMarkers", ()):
                yield self._hidden("marker", item), False

    def _hidden(self, kind: Literal["version", "marker"], item: Mapping[str, Any]) -> Hidden:
        path, size = self.root.path(item["Key"]), int(item.get("Size", 0))
        return Hidden(path, kind, item["VersionId"], size, _utc(item["LastModified"]))

    def folders(self) -> list[str]:
        """What the keys have before their last "/", with every part of it."""
        found: set[str] = set()
        for entry in self._objects():
            parts = entry.path.split("/")[:-1]
            found.update("/".join(parts[: n + 1]) for n in range(len(parts)))
        return sorted(found)

    def names(self, folder: str) -> list[str]:
        prefix = self.root.key(f"{folder}/" if folder else "")
        return sorted(
            item["Key"][len(prefix) :]
            for page in self._pages("list_objects_v2", prefix, Delimiter="/")
            for item in page.get("Contents", ())
            if item["Key"] != prefix
        )

    def modified(self, path: str) -> datetime:
        """Of an object; of the folder itself, which has no time of its own, the present."""
        if not path:
            return now()
        return _utc(self._head(path)["LastModified"])

    def _head(self, path: str) -> Mapping[str, Any]:
        with self._told():
            answer: Mapping[str, Any] = self.client.head_object(**self._at(path))
            return answer

    def exists(self, path: str) -> bool:
        try:
            self._head(path)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def opened(self, path: str, version: str = "") -> Iterator[Path]:
        """A local copy, which is fetched once as long as the object stays what it is."""
        with self._reading(path, version) as fetched:
            yield fetched.location

    def _reading(self, path: str, version: str = "") -> AbstractContextManager[Fetched]:
        def fetch(kept: str) -> Fetched | None:
            if kept and version:
                return None  # an older version never changes
            condition = {"VersionId": version} if version else {}
            condition |= {"IfNoneMatch": kept} if kept else {}
            location = self._scratch.new(suffix_of(path))
            try:
                with self._told():
                    etag = download(self.client, location, **self._at(path), **condition)
            except UnchangedError:
                return None
            return Fetched(etag, location)

        return self._scratch.reading((path, version), fetch)

    def read(self, path: str) -> bytes:
        with self.opened(path) as location:
            return location.read_bytes()

    def digest(self, path: str) -> str:
        return self._state(path)[1]

    def _state(self, path: str) -> tuple[str, str]:
        """(ETag, SHA-256) of an object as it is now; read once for each ETag."""
        with self._lock:
            known = {etag: digest for (p, etag), digest in self._digests.items() if p == path}
        if known and (etag := str(self._head(path)["ETag"])) in known:
            return etag, known[etag]
        with self._reading(path) as fetched:
            digest = file_digest(fetched.location)
        with self._lock:
            self._digests[path, fetched.etag] = digest
        return fetched.etag, digest

    def create(self, path: str, body: bytes) -> None:
        try:
            with self._told():
                self.client.put_object(**self._at(path), Body=body, IfNoneMatch="*")
        except TakenError:
            # A retried request may meet what its first attempt wrote.
            if self.read(path) != body:
                raise FileExistsError(17, "the object is there already") from None

    def draft(self, path: str) -> Path:
        return self._scratch.new(suffix_of(path))

    def publish(self, draft: Path, path: str) -> FileEntry:
        """Upload a draft under a new key."""
        try:
            with self._told():
                upload(self.client, draft, self._at(path), {"IfNoneMatch": "*"}, {})
        except TakenError:
            if self.digest(path) != file_digest(draft):
                raise FileExistsError(17, "the object is there already") from None
        entry = FileEntry(path, draft.stat().st_size, self.modified(path))
        draft.unlink()
        return entry

    def swap(self, draft: Path, path: str, was: str) -> None:
        etag = self._unchanged(path, was)
        with self._told():
            kept = _attributes(self.client, self._at(path))
        try:
            with self._told():
                upload(self.client, draft, self._at(path), {"IfMatch": etag}, kept)
        except (TakenError, FileNotFoundError):
            try:
                mine = self.digest(path) == file_digest(draft)
            except FileNotFoundError:
                mine = False
            if not mine:
                raise ChangedMeanwhileError from None
        draft.unlink()

    def take_away(self, path: str, was: str, aside: str) -> None:
        """Remove the current object; in a bucket with versions it can still be brought back."""
        etag = self._unchanged(path, was)
        try:
            with self._told():
                self.client.delete_object(**self._at(path), IfMatch=etag)
        except TakenError:
            raise ChangedMeanwhileError from None
        except FileNotFoundError:
            return

    def _unchanged(self, path: str, was: str) -> str:
        try:
            etag, digest = self._state(path)
        except FileNotFoundError:
            raise ChangedMeanwhileError from None
        if digest != was:
            raise ChangedMeanwhileError
        return etag

    def remove(self, path: str) -> None:
        """Remove every version and marker of an object, and uploads of it that are open."""
        key = self.root.key(path)
        found = [*(item for item, _ in self._versions(key)), *self._uploads(key)]
        self._remove_all([item for item in found if item.path == path])

    def remove_hidden(self, items: Sequence[Hidden]) -> None:
        self._remove_all(items)

    def _remove_all(self, items: Sequence[Hidden]) -> None:
        """Oldest first: an older version must not become what readers see, not even for long."""
        for item in items:
            if item.kind == "upload":
                with self._told_unless_gone():
                    self.client.abort_multipart_upload(**self._at(item.path), UploadId=item.id)
        listed = [i for i in reversed(items) if i.kind != "upload"]
        versions = sorted(listed, key=lambda i: (i.kind == "marker", i.modified))
        for start in range(0, len(versions), _BATCH):
            doomed = [
                {"Key": self.root.key(item.path), "VersionId": item.id}
                for item in versions[start : start + _BATCH]
            ]
            with self._told():
                answer = self.client.delete_objects(
                    Bucket=self.root.bucket, Delete={"Objects": doomed, "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise RefusedError(
                    f"The bucket {self.root.bucket} kept {len(errors)} versions of objects that "
                    f"were to be removed ({errors[0].get('Code', 'no code')}). Permit "
                    "s3:DeleteObjectVersion, or wait until Object Lock lets go; then run the same "
                    "step again."
                )

    @contextmanager
    def _told_unless_gone(self) -> Iterator[None]:
        try:
            with self._told():
                yield
        except FileNotFoundError:
            return

    def remove_empty_folders(self, candidates: Collection[str]) -> int:
        """Buckets know no folders, but some tools write an empty object "name/" for one."""
        removed = 0
        for folder in sorted(candidates, key=lambda f: f.count("/"), reverse=True):
            current = folder
            while current not in ("", "."):
                pages = self._pages("list_objects_v2", self.root.key(f"{current}/"))
                keys = [i["Key"] for page in islice(pages, 1) for i in page.get("Contents", ())]
                if any(key != self.root.key(f"{current}/") for key in keys):
                    break
                if keys:
                    self.remove(f"{current}/")
                    removed += 1
                current = current.rpartition("/")[0]
        return removed

    def append(self, path: str, line: bytes) -> None:
        """Each line is an object of its own, with the next number; raises FileExistsError when
        somebody else has written that number."""
        self.create(_numbered(path, len(self._lines(path))), line)

    def lines(self, path: str) -> list[bytes]:
        return [self.read(name) for name in self._lines(path)]

    def _lines(self, path: str) -> list[str]:
        stem, dot, end = path.rpartition(".")
        found = self._pages("list_objects_v2", self.root.key(f"{stem}{dot}"))
        keys = [self.root.path(item["Key"]) for page in found for item in page.get("Contents", ())]
        return sorted(key for key in keys if key.endswith(f".{end}"))

    def locked(self) -> AbstractContextManager[bool]:
        """Nothing to lock: every change is conditional on what was read."""
        return nullcontext(enter_result=True)

    def hindrances(self, path: str, shown: str) -> Iterable[str]:
        return ()

    def locks(self, shown: Mapping[str, str]) -> Iterator[str]:
        """A key that may not erase, and versions under Object Lock."""
        yield from self._missing_permissions()
        if not self._has_object_lock():
            return
        locked = []
        for item, _ in self._versions(self._prefix):
            if item.kind == "version" and item.path in shown and (why := self._lock_on(item)):
                locked.append(f"{shown[item.path]} ({why})")
        for sentence in dict.fromkeys(locked[:_MOST_LOCKS]):
            yield (
                f"Object Lock keeps a version of {sentence}: it cannot be removed for good. Wait "
                "until then, or have whoever may do so lift it."
            )
        if len(locked) > _MOST_LOCKS:
            yield f"Object Lock keeps {len(locked) - _MOST_LOCKS} more versions."

    def _missing_permissions(self) -> Iterator[str]:
        """Asks for what changes nothing: a version that does not exist is removed, and an object
        that does not exist is replaced on the condition that it is what it is not."""
        try:
            client = self._writer().client() if self._writer else self.client
        except OptionError:
            return  # the key is with the worker alone, so nobody here can say what it may do
        probe = self._at(_PROBE)
        for action, call, more in (
            ("s3:DeleteObjectVersion", client.delete_object, {"VersionId": "null"}),
            ("s3:PutObject", client.put_object, {"Body": b"", "IfMatch": '"0"'}),
        ):
            try:
                with self._told():
                    call(**probe, **more)
            except (FileNotFoundError, TakenError):
                continue
            except RefusedError:
                yield (
                    f"The key that erases may not do {action} in the bucket {self.root.bucket}. "
                    "Have its policy extended, or name another key in the options "
                    '"writer_key_id_env" and "writer_secret_key_env".'
                )

    def _has_object_lock(self) -> bool:
        try:
            with self._told():
                answer = self.client.get_object_lock_configuration(Bucket=self.root.bucket)
        except RefusedError:
            return True  # then each version is asked
        except StoreError:
            return False  # the bucket was made without, or the store knows no such thing
        found = answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled")
        return bool(found == "Enabled")

    def _lock_on(self, item: Hidden) -> str:
        with self._told():
            head = self.client.head_object(**self._at(item.path), VersionId=item.id)
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            return "a legal hold"
        until = head.get("ObjectLockRetainUntilDate")
        if head.get("ObjectLockMode") and until and until > now():
            return f"{head['ObjectLockMode'].lower()} retention until {until:%Y-%m-%d}"
        return ""


def _is_folder(entry: FileEntry) -> bool:
    """Consoles show an empty object "name/" as a folder; its name is among the folders."""
    return entry.path.endswith("/") and not entry.bytes


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _numbered(path: str, number: int) -> str:
    stem, dot, end = path.rpartition(".")
    return f"{stem}{dot}{number:08d}.{end}"


_KEPT = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType",
    "Metadata", "StorageClass", "ServerSideEncryption", "SSEKMSKeyId",
)  # fmt: skip


def _attributes(client: Any, at: Mapping[str, str]) -> dict[str, Any]:
    """What the new object takes over from the old one."""
    head = client.head_object(**at)
    kept = {name: head[name] for name in _KEPT if head.get(name)}
    if head.get("TagCount"):
        tags = client.get_object_tagging(**at)["TagSet"]
        kept["Tagging"] = urlencode({tag["Key"]: tag["Value"] for tag in tags})
    return kept
