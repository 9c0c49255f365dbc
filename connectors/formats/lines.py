"""Text files by line, with the byte at which each line ends, and copying without some of them.

Nothing is ever written again that was decoded: the rows that stay are copied as the bytes they are.
"""

import codecs
import gzip
import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from connectors.adapters.base import StoreError
from connectors.formats.formats import is_packed, open_bytes

_SAMPLE = 1 << 20
_CHUNK = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
Range = tuple[int, int]


@dataclass(frozen=True)
class Encoding:
    name: str
    mark: bytes = b""  # the byte order mark with which the file begins


def encoding_of(location: Path, given: str = "") -> Encoding:
    """The encoding by its mark, else as given, else UTF-8, else Latin-1, which reads any byte.

    Raises StoreError for an encoding that does not exist.
    """
    with open_bytes(location) as stream:
        sample = stream.read(_SAMPLE)
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return Encoding(name, mark)
    if given:
        try:
            return Encoding(codecs.lookup(given).name)
        except LookupError as exc:
            raise StoreError(f'There is no encoding "{given}". Correct the option.') from exc
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return Encoding("iso8859-1")
    return Encoding("utf-8")


class TextLines:
    """A text file's lines. `end`: the byte, unpacked, at which the last one ended."""

    def __init__(
        self, stream: "IO[bytes] | gzip.GzipFile", encoding: Encoding, *, newline: str
    ) -> None:
        stream.read(len(encoding.mark))
        self.end = len(encoding.mark)
        self.number = 0
        self._text = io.TextIOWrapper(stream, encoding=encoding.name, newline=newline)
        self._encoding = encoding.name
        self._narrow = not encoding.name.startswith(("utf-16", "utf-32"))

    def close(self) -> None:
        self._text.detach()

    def __iter__(self) -> "TextLines":
        return self

    def __next__(self) -> str:
        line = next(self._text)
        plain = self._narrow and line.isascii()
        self.end += len(line) if plain else len(line.encode(self._encoding))
        self.number += 1
        return line


@contextmanager
def open_lines(location: Path, encoding: Encoding, *, newline: str) -> Iterator[TextLines]:
    """`newline`: "\\n" to end lines there only, "" also at carriage returns, as CSV wants."""
    with open_bytes(location) as stream:
        lines = TextLines(stream, encoding, newline=newline)
        try:
            yield lines
        finally:
            lines.close()


def add_range(ranges: list[Range], start: int, end: int) -> None:
    """Note the bytes of one more row; rows next to each other become one range."""
    if ranges and ranges[-1][1] == start:
        ranges[-1] = (ranges[-1][0], end)
    else:
        ranges.append((start, end))


def copy_without(source: Path, target: Path, ranges: Sequence[Range]) -> str:
    """Copy the file without some ranges of its unpacked bytes; the SHA-256 of what was kept.

    Raises OSError.
    """
    digest = hashlib.sha256()
    with open_bytes(source) as stream, _writer(target, packed=is_packed(source.name)) as out:
        position = 0
        for start, end in ranges:
            for chunk in _chunks(stream, start - position):
                digest.update(chunk)
                out.write(chunk)
            for _ in _chunks(stream, end - start):
                pass
            position = end
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def _chunks(stream: "IO[bytes] | gzip.GzipFile", size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := stream.read(min(_CHUNK, size))):
        size -= len(chunk)
        yield chunk


@contextmanager
def _writer(target: Path, *, packed: bool) -> Iterator["IO[bytes] | gzip.GzipFile"]:
    with target.open("wb") as file:
        if not packed:
            yield file
            return
        # No name and no time in the header: the name may be a person's.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped:
            yield zipped


def content_digest(location: Path) -> str:
    """The SHA-256 of a file's unpacked content. Raises OSError."""
    digest = hashlib.sha256()
    with open_bytes(location) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
