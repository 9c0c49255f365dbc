"""Distinctive identifiers in bytes of any format, as UTF-8 and UTF-16, in any case."""

import mmap

import polars as pl

from connectors.scan.identifiers import Identifiers
from connectors.scan.record import Record

_CHUNK = 4 << 20
_OVERLAP = 1024  # more than the longest identifier that is cut by a chunk's end


def scan_raw(data: "bytes | mmap.mmap", path: str, record: Record) -> None:
    """Note distinctive identifiers and their cut forms in the bytes.

    A first look goes over everything with one automaton for all identifiers (Aho-Corasick, in
    polars); only chunks that hold something are read slowly. Bytes are taken as Latin-1, which
    maps each to one character, so that positions and boundaries stay what they are.
    """
    identifiers = record.identifiers
    patterns = _patterns(identifiers)
    if not patterns:
        return
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK + _OVERLAP].decode("latin-1")
        if pl.Series([chunk]).str.contains_any(patterns, ascii_case_insensitive=True)[0]:
            _scan_chunk(chunk, path, record)


def _patterns(identifiers: Identifiers) -> list[str]:
    texts = [*identifiers.fragments, *identifiers.cut_fragments]
    spelled = {_as_bytes(t, "utf-8") for t in texts}
    spelled |= {_as_bytes(t, "utf-16-le") for t in identifiers.fragments}
    return sorted(spelled)


def _as_bytes(text: str, encoding: str) -> str:
    return text.encode(encoding).decode("latin-1")


def _scan_chunk(chunk: str, path: str, record: Record) -> None:
    lowered = chunk.lower()  # Latin-1 letters have one lower-case form of the same length
    for identifier in record.identifiers.distinctive:
        for form in {f.lower() for f in identifier.spellings}:
            for encoding in ("utf-8", "utf-16-le"):
                wide = encoding != "utf-8"
                pattern = _as_bytes(form, encoding).lower()
                at = lowered.find(pattern)
                while at >= 0:
                    end = at + len(pattern)
                    if at < _CHUNK and (wide or identifier.bounded(chunk, at, end)):
                        record.hits([identifier], path, "raw bytes")
                    at = lowered.find(pattern, at + 1)
    record.cuts(record.identifiers.cuts_within(chunk), path, "raw bytes")
