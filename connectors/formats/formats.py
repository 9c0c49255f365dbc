"""Which files hold rows, and what every format can do with one."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from connectors.formats.person import FileMatch, Person
from connectors.index import Terms

Kind = Literal["parquet", "csv", "jsonl"]
Values = tuple[Sequence[Any], ...]

_SUFFIXES: Mapping[str, Kind] = {
    ".parquet": "parquet",
    ".parq": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_LONGEST_FIRST_ROW = 1 << 20
UNPACKING_ERRORS = (OSError, EOFError, zlib.error)


class RowFile(Protocol):
    """One file with rows. Every method raises StoreError, which names the file and the line."""

    def columns(self) -> Sequence[tuple[str, str]]:
        """(column, type), without reading all of the file: of JSON Lines, of its first rows."""
        ...

    def count(self) -> int:
        """How many rows the file has; a format that cannot know reads them all."""
        ...

    def search(self, person: Person) -> FileMatch: ...

    def rewrite(self, target: Path, person: Person) -> FileMatch:
        """Write the file without the person's rows into `target`, and prove that the others are
        there, unchanged. Returns what the source held. Raises OSError too, ResidueError."""
        ...

    def terms(self, columns: Sequence[str]) -> Iterator[Terms]:
        """Of some rows at a time, what `search` compares in these columns; nothing of a column that
        the file does not have. Raises polars' errors, too."""
        ...

    def rows(self, columns: Sequence[str]) -> Iterator[Values]:
        """For each row the values of these columns: none where it has no such column, and several
        where JSON holds a list."""
        ...


def is_packed(path: str) -> bool:
    return path.lower().endswith(".gz")


class Located(Protocol):
    """Where the bytes of a path are: in a folder, or in a store that names them otherwise."""

    def opened(self, path: str) -> AbstractContextManager[Path]:
        """A local file with them, for as long as it is needed."""
        ...


def format_of(path: str, location: Path) -> Kind | None:
    """By the name; `.json` holds rows where its first line is an object of its own."""
    if _is_json(path):
        return "jsonl" if _begins_with_a_row(location) else None
    return _format_by_name(path)


def format_in(folder: Located, path: str) -> Kind | None:
    """As `format_of`, of a file that is opened only where its name does not tell."""
    if not _is_json(path):
        return _format_by_name(path)
    with folder.opened(path) as location:
        return format_of(path, location)


def _is_json(path: str) -> bool:
    return path.lower().removesuffix(".gz").endswith(".json")


def _format_by_name(path: str) -> Kind | None:
    name = path.lower().removesuffix(".gz")
    for suffix, kind in _SUFFIXES.items():
        if name.endswith(suffix):
            return None if kind == "parquet" and is_packed(path) else kind
    return None


def suffix_of(path: str) -> str:
    """The end of a file's name that says how to read it; it never names anybody."""
    name = path.lower()
    packed = ".gz" if is_packed(name) else ""
    ends = [s for s in (*_SUFFIXES, ".json") if name.removesuffix(".gz").endswith(s)]
    return f"{ends[0]}{packed}" if ends else packed


def _begins_with_a_row(location: Path) -> bool:
    try:
        with open_bytes(location) as stream:
            return isinstance(json.loads(stream.readline(_LONGEST_FIRST_ROW)), dict)
    except (*UNPACKING_ERRORS, ValueError, RecursionError):
        return False


def open_bytes(location: Path) -> "IO[bytes] | gzip.GzipFile":
    """The file's content, unpacked."""
    return gzip.open(location, "rb") if is_packed(location.name) else location.open("rb")
