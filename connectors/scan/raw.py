"""Distinctive identifiers in bytes of any format, as UTF-8 and UTF-16, in any case."""

import mmap
from collections.abc import Iterable

import polars as pl

from connectors.scan.identifiers import Identifiers
from connectors.scan.record import Record

_CHUNK = 4 << 20
_OVERLAP = 1024  # more than the longest identifier that is cut by a chunk's end
_FEW = 24
_LITTLE = 1 << 23  # texts times bytes: looking for each is done before an automaton is built


class ByteSearch:
    """Whether any of some texts is in bytes, in any case of ASCII letters.

    Few texts, or those in few bytes, are looked for one after the other, many by one automaton
    (Aho-Corasick, in polars), which costs the same for ten thousand but has to see the bytes as a
    text first.
    """

    def __init__(self, texts: Iterable[bytes]) -> None:
        self.texts = sorted({text.lower() for text in texts})  # bytes.lower changes ASCII only

    def found(self, data: bytes) -> bool:
        if len(self.texts) <= _FEW or len(self.texts) * len(data) <= _LITTLE:
            lowered = data.lower()
            return any(text in lowered for text in self.texts)
        patterns = [text.decode("latin-1") for text in self.texts]
        whole = pl.Series([data.decode("latin-1")])
        return bool(whole.str.contains_any(patterns, ascii_case_insensitive=True)[0])


def scan_raw(data: "bytes | mmap.mmap", path: str, record: Record) -> None:
    """Note distinctive identifiers and their cut forms in the bytes.

    Only chunks that hold something at a first look are read slowly. There, bytes are taken as
    Latin-1, which maps each to one character, so that positions and boundaries stay what they are.
    """
    identifiers = record.identifiers.without_control
    search = ByteSearch(_patterns(identifiers))
    if not search.texts:
        return
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK + _OVERLAP]
        if search.found(chunk):
            _scan_chunk(chunk.decode("latin-1"), path, record)


def _patterns(identifiers: Identifiers) -> set[bytes]:
    texts = [*identifiers.fragments, *identifiers.cut_fragments]
    return {t.encode() for t in texts} | {t.encode("utf-16-le") for t in identifiers.fragments}


def _scan_chunk(chunk: str, path: str, record: Record) -> None:
    lowered = chunk.lower()  # Latin-1 letters have one lower-case form of the same length
    identifiers = record.identifiers.without_control
    for identifier in identifiers.distinctive:
        for form in {f.lower() for f in identifier.spellings}:
            for encoding in ("utf-8", "utf-16-le"):
                wide = encoding != "utf-8"
                pattern = form.encode(encoding).decode("latin-1").lower()
                at = lowered.find(pattern)
                while at >= 0:
                    end = at + len(pattern)
                    if at < _CHUNK and (wide or identifier.bounded(chunk, at, end)):
                        record.hits([identifier], path, "raw bytes")
                    at = lowered.find(pattern, at + 1)
    record.cuts(identifiers.cuts_within(chunk), path, "raw bytes")
