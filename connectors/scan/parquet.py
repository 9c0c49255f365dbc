"""Every place in a Parquet file where a value can be.

Column values as readers see them; footer statistics; the column index; headers of pages with their
own statistics; dictionary pages (which keep values that no row uses any more); notes in the
footer. Layout: https://parquet.apache.org/docs/file-format/ and parquet.thrift.
"""

import base64
import binascii
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.scan.columns import is_text, scan_column, shares_prefix
from connectors.scan.identifiers import Identifiers, Path
from connectors.scan.physical import BYTES, Element, Value, decoded_bound, plain_values
from connectors.scan.record import Record
from connectors.scan.search import ByteSearch
from connectors.scan.texts import scan_named_path, scan_text
from connectors.scan.thrift import Reader, ThriftError

MAGIC = b"PAR1"
ENCRYPTED = b"PARE"
_BATCH_ROWS = 131_072
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 5: "lz4", 6: "zstd", 7: "lz4_raw"}
_DICTIONARY_PAGE = 2
_BY_DICTIONARY = (2, 8)  # the encodings PLAIN_DICTIONARY and RLE_DICTIONARY
_MAX_DICTIONARY = 1 << 30


class ParquetFormatError(ValueError):
    """The file is not the Parquet file that its ends say it is."""


def is_parquet(head: bytes) -> bool:
    return head.startswith((MAGIC, ENCRYPTED))


def scan_parquet(data: "bytes | mmap.mmap", path: str, record: Record) -> None:
    """Note every identifier in the file.

    Raises ParquetFormatError, pyarrow's errors or OSError when any part of it cannot be decoded.
    """
    footer = _footer(data)
    for key, value in [(n.get(1, b""), n.get(2, b"")) for n in footer.get(5, [])]:
        _scan_note(_text(key), _text(value), path, record)
    summary = _is_summary(data)
    spelled_out = set()
    for column in _chunks(data, footer, path, record, summary=summary):
        column.scan()
        if column.spelled_out:
            spelled_out.add(column.element.path)
    if summary:
        return
    with _opened(data, spelled_out) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            for name, values in zip(batch.schema.names, batch.columns, strict=True):
                for leaf in leaves((name,), values):
                    where = f"column {'.'.join(leaf.path)}"
                    scan_column(leaf.values, leaf.path, path, where, record)


def _chunks(
    data: "bytes | mmap.mmap", footer: dict[int, Any], path: str, record: Record, *, summary: bool
) -> Iterator["_Chunk"]:
    elements, whole = _leaf_elements(footer), memoryview(data)
    for group in footer.get(4, []):
        for element, chunk in zip(elements, group[1], strict=True):
            yield _Chunk(whole, element, chunk, path, record, summary=summary)


def _opened(data: "bytes | mmap.mmap", spelled_out: set[tuple[str, ...]]) -> pq.ParquetFile:
    """For reading values. Texts that are nothing but references to a dictionary stay that, so that
    each is looked at once; to make one of texts that are not would take five times as long."""
    file = pq.ParquetFile(_buffer(data))
    texts = [f.name for f in file.schema_arrow if is_text(f.type) and (f.name,) not in spelled_out]
    if not texts:
        return file
    with file:
        return pq.ParquetFile(_buffer(data), metadata=file.metadata, read_dictionary=texts)


def prefixes_in_use(
    data: "bytes | mmap.mmap", prefixes: set[str], identifiers: Identifiers
) -> set[str]:
    """Those of the prefixes with which a whole value, not a sought one, begins in the file."""
    used: set[str] = set()
    with pq.ParquetFile(_buffer(data)) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                for leaf in leaves((name,), column):
                    used |= shares_prefix(leaf.values, prefixes - used, identifiers)
    return used


def _buffer(data: "bytes | mmap.mmap") -> pa.BufferReader:
    return pa.BufferReader(pa.py_buffer(data))


def _text(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""


def _footer(data: "bytes | mmap.mmap") -> dict[int, Any]:
    if len(data) < 12 or data[:4] != MAGIC or data[-4:] != MAGIC:
        encrypted = data[:4] == ENCRYPTED or data[-4:] == ENCRYPTED
        raise ParquetFormatError(
            "the Parquet file is encrypted" if encrypted else "the Parquet file breaks off"
        )
    size = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - size
    if start < 4:
        raise ParquetFormatError("the Parquet footer is longer than the file")
    try:
        return Reader(memoryview(data[start : start + size])).struct()
    except ThriftError as exc:
        raise ParquetFormatError(f"the Parquet footer is damaged: {exc}") from exc


def _is_summary(data: "bytes | mmap.mmap") -> bool:
    """A footer and nothing else: `_metadata`, which repeats the footers of other files."""
    return int.from_bytes(data[-8:-4], "little") == len(data) - 8 - len(MAGIC)


def _leaf_elements(footer: dict[int, Any]) -> list[Element]:
    """The leaf columns in file order, from the flattened schema tree."""
    schema = footer.get(2) or []
    found: list[Element] = []
    position = 1

    def walk(parents: tuple[str, ...]) -> None:
        nonlocal position
        if position >= len(schema):
            raise ParquetFormatError("the Parquet schema breaks off")
        node = schema[position]
        position += 1
        names = (*parents, _text(node.get(4, b"")))
        children = node.get(5)
        if children:
            for _ in range(children):
                walk(names)
        else:
            decimal = node.get(6) == 5
            found.append(
                Element(names, node.get(1, 0), node.get(7, 0) if decimal else None, node.get(2, 0))
            )

    for _ in range(schema[0].get(5, 0) if schema else 0):
        walk(())
    return found


def _scan_note(key: str, value: str, path: str, record: Record) -> None:
    """A note in the footer; Arrow's own schema is Base64 around a binary."""
    scan_text(f"{key}\n{value}", f"{path}", record)
    if key == "ARROW:schema":
        try:
            value = base64.b64decode(value).decode("latin-1")
        except (binascii.Error, ValueError):
            return
        record.hits(record.identifiers.within(value), path, "footer note")


@dataclass
class _Chunk:
    """One column of one row group."""

    data: memoryview  # of the whole file
    element: Element
    chunk: dict[int, Any]
    path: str
    record: Record
    summary: bool = False  # the pages lie in another file, whose path this one states
    spelled_out: bool = False  # whether values stand in the data pages, not in a dictionary alone

    def scan(self) -> None:
        meta = self.chunk.get(3)
        if meta is None:
            raise ParquetFormatError("a column has no metadata (it may be encrypted)")
        name = ".".join(self.element.path)
        self._bounds(meta.get(12), f"footer statistics of {name}")
        if self.summary:
            scan_named_path(_text(self.chunk.get(1, b"")), self.path, self.record)
            return
        self._column_index()
        self._pages(meta)

    def _bounds(self, statistics: Any, where: str) -> None:
        for field in (1, 2, 5, 6):  # max, min (old and new); the rest are counts
            raw = (statistics or {}).get(field)
            if isinstance(raw, bytes):
                self._bound(raw, where)

    def _bound(self, raw: bytes, where: str) -> None:
        value = decoded_bound(raw, self.element)
        scan_bound(value, self.element.path, self.path, where, self.record)

    def _column_index(self) -> None:
        offset, length = self.chunk.get(6), self.chunk.get(7)
        if offset is None or not length:
            return
        if offset + length > len(self.data):
            raise ParquetFormatError("the column index lies outside the file")
        try:
            index = Reader(self.data[offset : offset + length]).struct()
        except ThriftError as exc:
            raise ParquetFormatError(f"the column index is damaged: {exc}") from exc
        where = f"column index of {'.'.join(self.element.path)}"
        for raw in (*index.get(2, []), *index.get(3, [])):
            if raw:
                self._bound(raw, where)

    def _pages(self, meta: dict[int, Any]) -> None:
        """Walk the pages by their headers; data pages themselves are decoded by pyarrow."""
        starts = [o for o in (meta.get(11), meta.get(9)) if o]
        if not starts:
            return
        position, end = min(starts), min(starts) + meta.get(7, 0)
        if end > len(self.data):
            raise ParquetFormatError("a column lies outside the file")
        values = 0
        while position < end:
            reader = Reader(self.data[:end], position)
            try:
                header = reader.struct()
            except ThriftError as exc:
                raise ParquetFormatError(f"a page header is damaged: {exc}") from exc
            body, position = reader.position, reader.position + header.get(3, 0)
            if header.get(1) == _DICTIONARY_PAGE:
                self._dictionary(self.data[body:position], header, meta.get(4, 0))
            else:
                values += self._data_page(header)
        if values > meta.get(5, 0):
            raise ParquetFormatError("a column has pages that no reader reads")

    def _data_page(self, header: dict[int, Any]) -> int:
        """Looks at the statistics; returns how many values the page has."""
        old, new = header.get(5), header.get(8)
        page, encoding, statistics = (new, 4, 8) if old is None else (old, 2, 5)
        if page is None:
            return 0
        self._bounds(page.get(statistics), f"page statistics of {'.'.join(self.element.path)}")
        if page.get(encoding) not in _BY_DICTIONARY:
            self.spelled_out = True
        return int(page.get(1, 0))

    def _dictionary(self, packed: memoryview, header: dict[int, Any], codec: int) -> None:
        size, element = header.get(2, 0), self.element
        if size > _MAX_DICTIONARY:
            self.spelled_out = True  # Arrow's dictionaries end at 2 GB
        identifiers = self.record.identifiers.without_control
        identity = identifiers.is_identity(element.path)
        if element.is_number and not identifiers.numbers(identity=identity):
            return  # pyarrow unpacks it, too
        raw: memoryview | pa.Buffer = packed
        if codec:
            if codec not in _CODECS:
                raise ParquetFormatError(f"unknown compression {codec}")
            raw = pa.decompress(packed, size, codec=_CODECS[codec])
        if not (element.is_number or _may_hold(raw, element, identifiers, identity=identity)):
            return
        values = plain_values(bytes(raw), header.get(7, {}).get(1, 0), element)
        where = f"dictionary page of column {'.'.join(element.path)}"
        scan_column(values, element.path, self.path, where, self.record)


def _may_hold(
    raw: "memoryview | pa.Buffer", element: Element, identifiers: Identifiers, *, identity: bool
) -> bool:
    """Whether a dictionary page of texts or binaries can hold anything of interest."""
    if identifiers.in_binaries.found(raw):
        return True
    exact = identifiers.exact_binaries(identity=identity)
    if element.physical != BYTES:
        return bool(exact)
    return ByteSearch(len(e).to_bytes(4, "little") + e for e in exact).found(raw)


def scan_bound(value: Value, column: Path, path: str, where: str, record: Record) -> None:
    """A single value, such as a bound of statistics, which may be cut."""
    identifiers = record.identifiers
    if isinstance(value, str):
        found = identifiers.of_text(value, column, declared=True)
        record.hits(found or identifiers.within(value), path, where)
        record.cuts(identifiers.cut(value), path, where)
    elif isinstance(value, int | float | Decimal):
        record.hits(identifiers.of_number(value, column), path, where)
    elif isinstance(value, bytes):
        record.hits(identifiers.of_text(value.hex(), column, declared=True), path, where)


class Leaf(NamedTuple):
    """Values of one leaf column; for maps the keys tell which column each value belongs to."""

    path: tuple[str, ...]
    values: pa.Array


def leaves(path: tuple[str, ...], array: pa.Array) -> Iterator[Leaf]:
    """The flat columns inside a column of any shape."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        yield from leaves(path, array.storage)
    elif pa.types.is_struct(kind):
        for number, field in enumerate(kind):
            yield from leaves((*path, field.name), array.field(number))
    elif pa.types.is_map(kind):
        yield from _map_leaves(path, array)
    elif pa.types.is_nested(kind):
        yield from leaves(path, array.flatten())
    else:
        yield Leaf(path, array)


def _map_leaves(path: tuple[str, ...], array: pa.MapArray) -> Iterator[Leaf]:
    """A map's values, each under its key, as a column of that name would be."""
    keys, items = array.keys, array.items
    yield from leaves(path, keys)
    if not (pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type)):
        yield from leaves(path, items)
        return
    for key in keys.unique().to_pylist():
        yield from leaves((*path, str(key)), items.filter(pa.compute.equal(keys, key)))
