"""Reading what is left, as somebody else: the databases' plain drivers, no index, no WHERE.

Every row of every table that the verifier may read is compared, then the bytes on disk where they
can be reached. What could not be read is said in the report's method, or fails the scan.
"""

import hashlib
import mmap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from connectors.adapters.base import Progress, ScanReport
from connectors.clock import now
from connectors.scan.columns import scan_column
from connectors.scan.identifiers import (
    MIN_DISTINCTIVE,
    MIN_DISTINCTIVE_DIGITS,
    Identifier,
    Identifiers,
)
from connectors.scan.record import Record

Bytes = bytes | mmap.mmap
_BATCH = 5000
_CHUNK = 4 << 20
_OVERLAP = 4096
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")
_LARGEST = 1 << 63
SHORT = (
    f"identifiers shorter than {MIN_DISTINCTIVE} characters or {MIN_DISTINCTIVE_DIGITS} digits "
    "occur in bytes by chance and were compared as whole values of rows only"
)


@dataclass
class Reading:
    """One scan: what was read, and what it says."""

    identifiers: Identifiers
    table: str  # the one that must hold the control person
    progress: Progress
    record: Record = field(init=False)
    digests: dict[str, str] = field(default_factory=dict)
    inside: set[str] = field(default_factory=set)  # identifiers within longer values
    bytes: int = 0
    method: list[str] = field(default_factory=list)
    started_at: datetime = field(default_factory=now)

    def __post_init__(self) -> None:
        self.record = Record(self.identifiers)

    def attempt(self, name: str, read: Callable[[], None]) -> None:
        """Read one thing; whatever the reason that it cannot be, the scan fails and names it."""
        try:
            read()
        except Exception as exc:  # noqa: BLE001 (whatever a driver raises: it was not read)
            self.record.fail(name, f"it cannot be read ({type(exc).__name__})")

    def rows(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Compare every value of a table."""
        control_before = self.record.control_found
        digest = hashlib.sha256()
        for batch in _batches(rows):
            for row in batch:
                body = repr(tuple(row)).encode("utf-8", "surrogateescape")
                digest.update(body)
                self.bytes += len(body)
            for column, values in zip(columns, zip(*batch, strict=True), strict=True):
                self._values(name, column, values)
        self.digests[name] = digest.hexdigest()
        if name != self.table:  # elsewhere the control person proves nothing
            self.record.control_found = control_before

    def _values(self, name: str, column: str, values: Iterable[Any]) -> None:
        """By type: SQLite keeps values of any type in any column."""
        kinds: dict[pa.DataType, list[Any]] = defaultdict(list)
        path = (column,)
        where = f"column {column}"
        for value in values:
            if isinstance(value, Decimal):
                found = self.identifiers.of_number(value, path) if value.is_finite() else []
                self.record.hits(found, name, where, column=path)
            elif value is not None:
                kind, plain = _typed(value)
                kinds[kind].append(plain)
        for kind, alike in kinds.items():
            if kind == pa.string():
                joined = "\x00".join(alike).lower()
                self.inside |= {i.text for i, form in self._forms() if form in joined}
            scan_column(pa.array(alike, kind), path, name, where, self.record)

    def samples(self, name: str, column: str, values: Iterable[str]) -> None:
        """Values that statistics keep, written as text whatever their type."""
        for value in values:
            found = list(self.identifiers.of_text(value, (column,), declared=False))
            found = found or list(self.identifiers.within(value))
            self.record.hits(found, name, f"statistics of column {column}")

    def _forms(self) -> list[tuple[Identifier, str]]:
        sought = [i for i in self.identifiers.distinctive if not i.control]
        return [(i, form) for i in sought for form in sorted({f.lower() for f in i.spellings})]

    def raw(self, name: str, data: Bytes) -> None:
        """Search bytes for the identifiers that can be told from chance.

        Databases put values side by side, so what stands next to one says nothing, and every
        occurrence counts. The exception: an identifier that is part of a longer value of somebody
        else ("ann@x.org" of "joann@x.org"), which rows have shown, is in these bytes for certain.
        """
        self.digests[name] = hashlib.sha256(data).hexdigest()
        self.bytes += len(data)
        patterns = [
            (identifier, encoded.lower())
            for identifier, form in self._forms()
            if identifier.text not in self.inside
            for encoded in {form.encode(e) for e in _ENCODINGS} | {form.upper().encode()}
        ]
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK + _OVERLAP].lower()
            for identifier, pattern in patterns:
                at = chunk.find(pattern)
                while 0 <= at < _CHUNK:
                    self.record.hits([identifier], name, "raw bytes")
                    at = chunk.find(pattern, at + 1)

    def report(self, *, with_control: bool) -> ScanReport:
        lines = "".join(f"{name}\n{digest}\n" for name, digest in sorted(self.digests.items()))
        unreadable = sorted(self.record.unreadable.items())
        return ScanReport(
            files=len(self.digests),
            bytes=self.bytes,
            # In a live table no longer value explains a cut one: a cut identifier counts.
            traces=self.record.traces(set()),
            unreadable=tuple(f"{name}: {why}" for name, why in unreadable),
            control_found=self.record.control_found if with_control else None,
            digest=hashlib.sha256(lines.encode()).hexdigest(),
            started_at=self.started_at,
            finished_at=now(),
            method="; ".join(self._method()),
        )

    def _method(self) -> list[str]:
        if not self.inside:
            return self.method
        return [
            *self.method,
            f"{len(self.inside)} identifiers are part of other people's longer values, so their "
            "bytes prove nothing and were not searched for",
        ]


def _typed(value: Any) -> tuple[pa.DataType, Any]:
    if isinstance(value, bytes | bytearray | memoryview):
        return pa.binary(), bytes(value)
    if isinstance(value, float):
        return pa.float64(), value
    if isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value < _LARGEST:
        return pa.int64(), value
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are no valid text
        return pa.binary(), text.encode("utf-8", "surrogateescape")
    return pa.string(), text


def _batches(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    batch: list[Sequence[Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
