"""Distinctive identifiers in bytes of any format, as UTF-8 and UTF-16, in any case."""

import mmap

from connectors.scan.record import Record

_CHUNK = 4 << 20
_OVERLAP = 1024  # more than the longest identifier that is cut by a chunk's end


def scan_raw(data: "bytes | mmap.mmap", path: str, record: Record) -> None:
    """Note distinctive identifiers and their cut forms in the bytes.

    Only chunks that hold something at a first look are read slowly. There, bytes are taken as
    Latin-1, which maps each to one character, so that positions and boundaries stay what they are.
    """
    search = record.identifiers.without_control.in_bytes
    if not search.found(data):
        return
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK + _OVERLAP]
        if search.found(chunk):
            _scan_chunk(chunk.decode("latin-1"), path, record)


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
