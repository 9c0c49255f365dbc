"""What DVC calls an object: where its bytes lie in the cache and in every remote.

DVC 3 keeps them as `files/md5/ab/cdef…`. DVC 2 kept them as `ab/cdef…`, by an MD5 for which the
line ends of text files are made Unix's first. A folder is an object of its own, `….dir`, that lists
its files. Both layouts may stand side by side.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from connectors.adapters.base import StoreError

_DATA = re.compile(r"(?:files/md5/)?[0-9a-f]{2}/[0-9a-f]{30}(?:\.dir)?")
_RUN = re.compile(r"runs/[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{64}")
_CHUNK = 1 << 20  # as DVC reads: whether line ends change is decided for each chunk
_SAMPLE = 512
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"
_MOST_OTHERS = 0.30


@dataclass(frozen=True, order=True)
class ObjectName:
    md5: str  # with ".dir" for a folder
    legacy: bool = False  # named as DVC 2 did

    @property
    def path(self) -> str:
        """Where it lies, from the top of the cache or of a remote."""
        return f"{'' if self.legacy else 'files/md5/'}{self.md5[:2]}/{self.md5[2:]}"

    @property
    def is_folder(self) -> bool:
        return self.md5.endswith(".dir")

    @classmethod
    def at(cls, path: str) -> "ObjectName | None":
        """The object whose path this is; None for any other file."""
        if not _DATA.fullmatch(path):
            return None
        legacy = not path.startswith("files/")
        return cls(path.removeprefix("files/md5/").replace("/", "", 1), legacy)


def is_run(path: str) -> bool:
    """Whether a path is an entry of the run cache: what a stage read and wrote once."""
    return bool(_RUN.fullmatch(path))


@dataclass(frozen=True)
class Member:
    """A file of a folder object. `path`: within the folder."""

    path: str
    name: ObjectName


def members_of(name: ObjectName, body: bytes) -> list[Member]:
    """Raises StoreError when the bytes are no listing."""
    try:
        return [
            Member(str(row["relpath"]), ObjectName(str(row["md5"]), name.legacy))
            for row in json.loads(body)
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise StoreError(
            f"The object {name.path} is no listing of a folder. Fetch it again (dvc fetch)."
        ) from exc


def listing(members: list[Member]) -> bytes:
    """The bytes of a folder object, as DVC writes them."""
    rows = [{"md5": m.name.md5, "relpath": m.path} for m in members]
    return json.dumps(sorted(rows, key=lambda row: row["relpath"]), sort_keys=True).encode()


def listing_name(body: bytes, *, legacy: bool) -> ObjectName:
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return ObjectName(f"{digest}.dir", legacy)


def name_of(location: Path, *, legacy: bool) -> ObjectName:
    """The name that a file's content has. Raises OSError."""
    digest = hashlib.md5(usedforsecurity=False)
    with location.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk.replace(b"\r\n", b"\n") if legacy and _is_text(chunk) else chunk)
    return ObjectName(digest.hexdigest(), legacy)


def _is_text(chunk: bytes) -> bool:
    """As DVC 2 guessed."""
    sample = chunk[:_SAMPLE]
    return b"\0" not in sample and len(sample.translate(None, _TEXT)) <= _MOST_OTHERS * len(sample)
