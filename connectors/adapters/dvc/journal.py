"""What an erasure that keeps history has to remember beside git's own objects.

The commit map stays in the repository for good: by it people and pipelines that know a commit by
its old id find what it became. A plan's journal is written before a ref moves, and removed last.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.git import Move
from connectors.folders import sync_folder

FOLDER = ".git/vestige"
_HEADER = "old new\n"
UNFINISHED = ".new"


@dataclass(frozen=True)
class Former:
    """What a ref was that has moved. `value` is what it names now."""

    value: str
    name: str
    commit: str


@dataclass(frozen=True)
class Journal:
    """`moves`: of every ref, those that stay too. `stood`: what refs were, by the names that they
    have now. `ids`: old → new, of commits and annotated tags. `added`: paths of new objects.
    `followed`: the work tree is as its branch says."""

    plan: str
    moves: tuple[Move, ...]
    stood: Mapping[str, Former]
    ids: Mapping[str, str]
    rows: int
    added: tuple[str, ...]
    signatures: int
    bytes: int
    followed: bool = False


class Journals:
    """`root`: the repository's top folder."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER

    def of(self, plan: str) -> Journal | None:
        """Raises OSError, StoreError."""
        location = self._location(plan)
        return _read(location) if location.exists() else None

    def others(self, plan: str) -> Iterator[Journal]:
        """Of plans that were not carried out to their end. Raises OSError, StoreError."""
        for location in sorted(self.folder.glob("*.json")):
            if location != self._location(plan):
                yield _read(location)

    def keep(self, journal: Journal) -> None:
        """Raises StoreError."""
        _replace(self._location(journal.plan), json.dumps(asdict(journal)))

    def drop(self, plan: str) -> None:
        self._location(plan).unlink(missing_ok=True)

    def drop_unfinished(self) -> None:
        """What a kill left of a file that was to be written."""
        for location in self.folder.glob(f"*{UNFINISHED}"):
            location.unlink()

    def _location(self, plan: str) -> Path:
        return self.folder / f"{plan}.json"


class CommitMap:
    """What became of commits and annotated tags, over all erasures: a line for each, "old new".

    `root`: the repository's top folder."""

    def __init__(self, root: Path) -> None:
        self.location = root / FOLDER / "commit-map"

    def read(self) -> dict[str, str]:
        """Old → what it is today. Raises OSError, StoreError for a line that is none."""
        if not self.location.exists():
            return {}
        pairs = [line.split() for line in self.location.read_text().splitlines()[1:]]
        if broken := [n for n, pair in enumerate(pairs, start=2) if len(pair) != 2]:
            raise StoreError(
                f'Line {broken[0]} of {self.location} is no "old new". Restore the file, or remove '
                "the line."
            )
        return {pair[0]: pair[1] for pair in pairs}

    def add(self, ids: Mapping[str, str]) -> None:
        """Adding the same again changes nothing. Raises StoreError."""
        before = self.read()
        after = {**ids, **{old: ids.get(new, new) for old, new in before.items()}}
        if after != before:
            lines = "".join(f"{old} {new}\n" for old, new in sorted(after.items()))
            _replace(self.location, f"{_HEADER}{lines}")


def _read(location: Path) -> Journal:
    try:
        said = json.loads(location.read_text())
        said["moves"] = tuple(Move(*move) for move in said["moves"])
        said["stood"] = {name: Former(**was) for name, was in said["stood"].items()}
        said["added"] = tuple(said["added"])
        return Journal(**said)
    except (ValueError, TypeError, KeyError) as exc:
        raise StoreError(
            f"{location} is no journal of an erasure. Somebody changed it: restore it, or remove "
            "it, then search again."
        ) from exc


def _replace(location: Path, text: str) -> None:
    """Whole or not at all, also after a power cut. Raises StoreError."""
    beside = location.with_suffix(UNFINISHED)
    try:
        location.parent.mkdir(exist_ok=True)
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(location)
        sync_folder(location.parent)
    except OSError as exc:
        raise StoreError(
            f"{location} cannot be written: {exc.strerror}. Check free space and access, then run "
            "the erasure again."
        ) from exc
