"""A folder in a bucket: the objects whose keys begin with a prefix.

What a file system does by locks, links and renames, a bucket does by conditions: an object is
created only where there is none (`If-None-Match: *`), replaced or removed only while it is what
was read (`If-Match`). Whoever was faster is never overwritten, so no lock is needed.

In a bucket with versions nothing that is replaced or removed is gone. `hidden` lists what is left,
`remove` and `remove_hidden` take it by version, oldest first, so that no older version comes to
light in between.
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from connectors.adapters.base import StoreError, StoreNotFoundError
from connectors.clock import now
from connectors.folders import file_digest
from connectors.formats.formats import suffix_of
from connectors.s3.access import Access, TakenError, UnchangedError
from connectors.s3.bucket import S3Bucket, utc
from connectors.s3.locks import locks
from connectors.s3.place import S3Place
from connectors.s3.scratch import Fetched, Scratch
from connectors.s3.transfer import download, upload
from connectors.storage import ChangedMeanwhileError, FileEntry, Hidden


class S3Folder(S3Bucket):
    """`writer`: the access that an erasure will use, whose permissions a plan looks at; raises
    OptionError where this process does not have its key. Without it, that of reading.

    Methods raise what `connectors.storage.Folder` says, RefusedError among the StoreErrors.
    """

    def __init__(
        self, place: S3Place, access: Access, *, writer: "Callable[[], Access] | None" = None
    ) -> None:
        super().__init__(place, access)
        self._writer = writer
        self._scratch = Scratch()
        self._digests: dict[tuple[str, str], str] = {}  # (path, ETag) → SHA-256
        self._drafts: dict[str, Path] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Without its local copies, and its key (see `Access`)."""
        return S3Folder, (self.root, self.access)

    def is_there(self) -> bool:
        """Whether the bucket is: a prefix without objects is an empty folder."""
        try:
            with self.told():
                self.client.list_objects_v2(Bucket=self.root.bucket, Prefix=self.prefix, MaxKeys=1)
        except StoreNotFoundError:
            return False
        return True

    def entries(self) -> list[FileEntry]:
        return [entry for entry in self.objects() if not _is_folder(entry)]

    def hidden(self) -> list[Hidden]:
        found = [item for item, latest in self.versions(self.prefix) if not latest]
        found += self.uploads(self.prefix)
        return sorted(found, key=lambda item: item.path)

    def folders(self) -> list[str]:
        """What the keys have before their last "/", with every part of it."""
        found: set[str] = set()
        for entry in self.objects():
            parts = entry.path.split("/")[:-1]
            found.update("/".join(parts[: n + 1]) for n in range(len(parts)))
        return sorted(found)

    def names(self, folder: str) -> list[str]:
        prefix = self.root.key(f"{folder}/" if folder else "")
        return sorted(
            item["Key"][len(prefix) :]
            for page in self.pages("list_objects_v2", prefix, Delimiter="/")
            for item in page.get("Contents", ())
            if item["Key"] != prefix
        )

    def modified(self, path: str) -> datetime:
        """Of an object; of the folder itself, which has no time of its own, the present."""
        if not path:
            return now()
        return utc(self.head(path)["LastModified"])

    def size(self, path: str) -> int:
        return int(self.head(path)["ContentLength"])

    def exists(self, path: str) -> bool:
        try:
            self.head(path)
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
                with self.told():
                    etag = download(self.client, location, **self.at(path), **condition)
            except UnchangedError:
                return None
            except BaseException:
                location.unlink(missing_ok=True)  # half a copy is no copy
                raise
            return Fetched(etag, location)

        return self._scratch.reading((path, version), fetch)

    @contextmanager
    def mirror(
        self, below: str, more: Iterable[str] = (), *, writes: bool = False
    ) -> Iterator[Path]:
        """Copies. Libraries with S3 clients of their own would need our key, and follow whatever a
        store answers to other hosts."""
        top = self._scratch.new("-mirror")
        held = [e.path for e in self.entries() if e.path.startswith(f"{below}/")]
        try:
            etags = {path: self._mirrored(path, top) for path in dict.fromkeys([*held, *more])}
            before = {path: _state_of(top / path) for path in held}
            yield top
            if writes:
                self._take_over(top, below, before, etags)
        finally:
            shutil.rmtree(top, ignore_errors=True)

    def _mirrored(self, path: str, top: Path) -> str:
        target = Path(os.path.normpath(top / path))
        if not target.is_relative_to(top):
            raise StoreError(f"An object of {self.root} has a key that leads out of its folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._reading(path) as fetched:
            shutil.copyfile(fetched.location, target)
        return fetched.etag

    def _take_over(
        self,
        top: Path,
        below: str,
        before: Mapping[str, tuple[int, int]],
        etags: Mapping[str, str],
    ) -> None:
        """New files first, then what was replaced, then removals. Where somebody else was faster
        it stays theirs."""
        found = [p for p in (top / below).rglob("*") if p.is_file()]
        after = {p.relative_to(top).as_posix(): p for p in found}
        for path in sorted(after, key=lambda p: (p in before, p)):
            if before.get(path) == _state_of(after[path]):
                continue
            condition = {"IfMatch": etags[path]} if path in before else {"IfNoneMatch": "*"}
            with contextlib.suppress(TakenError, FileNotFoundError), self.told():
                upload(self.client, after[path], self.at(path), condition, {})
        for path in before.keys() - after.keys():
            self.remove(path)

    def read(self, path: str) -> bytes:
        with self.opened(path) as location:
            return location.read_bytes()

    def digest(self, path: str) -> str:
        return self._state(path)[1]

    def _state(self, path: str) -> tuple[str, str]:
        """(ETag, SHA-256) of an object as it is now; read once for each ETag."""
        with self._lock:
            known = {etag: digest for (p, etag), digest in self._digests.items() if p == path}
        if known and (etag := str(self.head(path)["ETag"])) in known:
            return etag, known[etag]
        with self._reading(path) as fetched:
            digest = file_digest(fetched.location)
        with self._lock:
            self._digests[path, fetched.etag] = digest
        return fetched.etag, digest

    def create(self, path: str, body: bytes) -> None:
        try:
            with self.told():
                self.client.put_object(**self.at(path), Body=body, IfNoneMatch="*")
        except TakenError:
            # A retried request may meet what its first attempt wrote.
            if self.read(path) != body:
                raise FileExistsError(17, "the object is there already") from None

    def add(self, source: Path, path: str, aside: str) -> None:
        """First go the parts that an upload which was killed has left: nobody can read them."""
        key = self.root.key(path)
        self.remove_all([item for item in self.uploads(key) if item.path == path])
        try:
            with self.told():
                upload(self.client, source, self.at(path), {"IfNoneMatch": "*"}, {})
        except TakenError:
            raise FileExistsError(17, "the object is there already") from None

    @property
    def shares_drafts(self) -> bool:
        return False

    def draft(self, path: str) -> Path:
        with self._lock:
            if path not in self._drafts:
                self._drafts[path] = self._scratch.new(suffix_of(path))
            return self._drafts[path]

    def publish(self, draft: Path, path: str) -> FileEntry:
        """Upload a draft under a new key."""
        try:
            with self.told():
                upload(self.client, draft, self.at(path), {"IfNoneMatch": "*"}, {})
        except TakenError:
            if self.digest(path) != file_digest(draft):
                raise FileExistsError(17, "the object is there already") from None
        entry = FileEntry(path, draft.stat().st_size, self.modified(path))
        draft.unlink()
        return entry

    def sync(self, path: str) -> None:
        """Nothing to do: an object is durable when it is there."""

    def swap(self, draft: Path, path: str, was: str, *, keeps_time: bool = False) -> None:
        """An object's time is when it was put, whatever `keeps_time` says."""
        etag = self._unchanged(path, was)
        with self.told():
            kept = _attributes(self.client, self.at(path))
        try:
            with self.told():
                upload(self.client, draft, self.at(path), {"IfMatch": etag}, kept)
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
            with self.told():
                self.client.delete_object(**self.at(path), IfMatch=etag)
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
        found = [*(item for item, _ in self.versions(key)), *self.uploads(key)]
        self.remove_all([item for item in found if item.path == path])

    def remove_hidden(self, items: Sequence[Hidden]) -> None:
        self.remove_all(items)

    def remove_empty_folders(self, candidates: Collection[str]) -> int:
        """Buckets know no folders, but some tools write an empty object "name/" for one."""
        removed = 0
        for folder in sorted(candidates, key=lambda f: f.count("/"), reverse=True):
            current = folder
            while current not in ("", "."):
                pages = self.pages("list_objects_v2", self.root.key(f"{current}/"))
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
        found = self.pages("list_objects_v2", self.root.key(f"{stem}{dot}"))
        keys = [self.root.path(item["Key"]) for page in found for item in page.get("Contents", ())]
        return sorted(key for key in keys if key.endswith(f".{end}"))

    def locked(self) -> AbstractContextManager[bool]:
        """Nothing to lock: every change is conditional on what was read."""
        return nullcontext(enter_result=True)

    def hindrances(self, path: str, shown: str) -> Iterable[str]:
        return ()

    def locks(self, shown: Mapping[str, str], *, replaces: bool = True) -> Iterable[str]:
        return locks(self, self._writer, shown, replaces=replaces)


def _is_folder(entry: FileEntry) -> bool:
    """Consoles show an empty object "name/" as a folder; its name is among the folders."""
    return entry.path.endswith("/") and not entry.bytes


def _state_of(location: Path) -> tuple[int, int]:
    """Another one as soon as somebody has replaced the file or written to it."""
    found = location.stat()
    return found.st_ino, found.st_mtime_ns


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
