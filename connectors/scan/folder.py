"""Scanning a folder: every file and every name."""

import contextlib
import hashlib
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import polars as pl

from connectors.adapters.base import Progress, ScanReport, StoreError
from connectors.clock import now
from connectors.scan.content import (
    Bytes,
    UnknownFormatError,
    reason,
    scan_content,
    scan_name,
    scan_path,
)
from connectors.scan.identifiers import Identifiers
from connectors.scan.parquet import is_parquet, prefixes_in_use
from connectors.scan.record import Record
from connectors.storage import FileEntry, Folder, Hidden

METHOD = (
    "every file below the folder, and every older version that its bucket keeps, read as it is, "
    "without the table's log or an index: Parquet pages, dictionaries, statistics and notes, Avro "
    "records, JSON, CSV, text, and packed files decoded, documents where bytes leave a doubt; all "
    "bytes and names searched"
)

_AT_ONCE = 2  # files
_HEAD = 8  # bytes, by which formats are known
OPEN_UPLOAD = (
    "it is an upload in progress, whose parts nobody can read. Have it completed or aborted"
)


class _Scanned(NamedTuple):
    record: Record
    digest: str = ""  # of a file that could be opened
    bytes: int = 0
    is_parquet: bool = False


class FolderScan:
    """One scan of one folder."""

    def __init__(
        self,
        folder: Folder,
        identifiers: Identifiers,
        metadata_folders: tuple[str, ...] = (),
        *,
        belongs: Callable[[str], bool] = lambda _: True,
        named: Callable[[str, Path], str] = lambda path, _: path,
        opaque: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`metadata_folders`: where finding the control person would prove nothing about data.

        `belongs`: whether a file is this store's. `named`: how reports call a file, given where its
        bytes are: a name that ends as its format's names do, for a store that names its files
        otherwise. `opaque`: files that may be
        in formats that nobody decodes, since they are known to name nobody or are read elsewhere.
        """
        self.folder = folder
        self.record = Record(identifiers)
        self.metadata_folders = metadata_folders
        self.belongs = belongs
        self.named = named
        self.opaque = opaque
        self.digests: dict[str, str] = {}
        self.parquet: list[str] = []  # paths of what readers see
        self.bytes = 0

    def run(self, progress: Progress, *, with_control: bool) -> ScanReport:
        """Raises StoreError when the place does not answer: half a scan says nothing."""
        started = now()
        entries = [e for e in self.folder.entries() if self.belongs(e.path)]
        hidden = [item for item in self.folder.hidden() if self.belongs(item.path)]
        for name in self.folder.folders():
            scan_name(name, self.record)
        self._scan_all([*entries, *hidden], progress)
        explained = self._explained()
        lines = "".join(f"{path}\n{digest}\n" for path, digest in sorted(self.digests.items()))
        unreadable = sorted(self.record.unreadable.items())
        return ScanReport(
            files=len(entries) + sum(item.kind == "version" for item in hidden),
            bytes=self.bytes,
            traces=self.record.traces(explained),
            unreadable=tuple(f"{path}: {why}" for path, why in unreadable),
            control_found=self.record.control_found if with_control else None,
            digest=hashlib.sha256(lines.encode()).hexdigest(),
            started_at=started,
            finished_at=now(),
            method=METHOD,
        )

    def _scan_all(self, items: "list[FileEntry | Hidden]", progress: Progress) -> None:
        """Some files at a time: most of the work is done outside of Python's lock."""
        with ThreadPoolExecutor(_AT_ONCE, "scan") as pool:
            try:
                for number, file in enumerate(pool.map(self._scan, items)):
                    self.record.take(file.record)
                    self.bytes += file.bytes
                    if file.digest:
                        self.digests[_label(items[number])] = file.digest
                    if file.is_parquet:
                        self.parquet.append(items[number].path)
                    progress("scan", number + 1, len(items), self.bytes)
            except BaseException:
                pool.shutdown(cancel_futures=True)  # nobody waits for the rest
                raise

    def _scan(self, item: "FileEntry | Hidden") -> "_Scanned":
        record, label = Record(self.record.identifiers), _label(item)
        scanned = _Scanned(record)
        if isinstance(item, Hidden):
            scan_path(item.path, record, item.mark)  # its folders may be there no more
        else:
            scan_name(item.path, record)
        if isinstance(item, FileEntry) and item.link:
            record.fail(label, "it is a symbolic link, whose target is not in the folder")
        elif isinstance(item, Hidden) and item.kind == "upload":
            record.fail(label, OPEN_UPLOAD)
        elif not (isinstance(item, Hidden) and item.kind == "marker"):
            scanned = self._scan_bytes(item, label, record)
        if isinstance(item, Hidden) or self._is_metadata(item.path):
            record.control_found = False
            scanned = scanned._replace(is_parquet=False)  # it is no survivor's data
        return scanned

    def _scan_bytes(self, item: "FileEntry | Hidden", label: str, record: Record) -> "_Scanned":
        scanned = _Scanned(record)
        try:
            version = item.id if isinstance(item, Hidden) else ""
            with (
                self.folder.opened(item.path, version) as location,
                location.open("rb") as file,
            ):
                data: Bytes = b""
                if item.bytes:
                    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                digest = hashlib.sha256(data).hexdigest()
                scanned = _Scanned(record, digest, len(data), is_parquet(data[:_HEAD]))
                self._content(data, item, location, record)
        except StoreError:
            raise
        # Whatever damage raises, a panic inside polars too: the file was not read.
        except (Exception, pl.exceptions.PanicException) as exc:  # noqa: BLE001
            record.fail(label, reason(exc))
        return scanned

    def _content(
        self, data: Bytes, item: "FileEntry | Hidden", location: Path, record: Record
    ) -> None:
        name = self.named(item.path, location)
        try:
            scan_content(data, f"{item.mark}{name}" if isinstance(item, Hidden) else name, record)
        except UnknownFormatError:
            if not self.opaque(item.path):
                raise

    def _is_metadata(self, path: str) -> bool:
        return path.startswith(self.metadata_folders) if self.metadata_folders else False

    def _explained(self) -> set[str]:
        """Prefixes of suspects with which a survivor's value in the data begins, too."""
        prefixes = set(self.record.suspects)
        explained: set[str] = set()
        for path in self.parquet:
            if not prefixes - explained:
                break
            with contextlib.suppress(Exception):  # named as unreadable already
                data = self.folder.read(path)
                explained |= prefixes_in_use(data, prefixes - explained, self.record.identifiers)
        return explained


def _label(item: "FileEntry | Hidden") -> str:
    """How reports call it."""
    return item.label if isinstance(item, Hidden) else item.path
