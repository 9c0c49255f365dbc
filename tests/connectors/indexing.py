"""Subject indexes of stores of any kind, and searches with and without them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from connectors.adapters.base import Findings, Needles, TakesIndex
from connectors.index import SubjectIndex, prune
from connectors.index import build as build_index

KEY = bytes(range(32))


class Indexable(TakesIndex, Protocol):
    def find_subject(self, needles: Needles) -> Findings: ...


def index_at(folder: Path) -> SubjectIndex:
    return SubjectIndex(folder / "index", KEY)


def build(opened: TakesIndex, index: SubjectIndex) -> int:
    with index.building() as ours:
        assert ours
        hashed = build_index(opened, index)
        index.finish()
    return hashed


def both_ways(
    opened: Indexable, index: SubjectIndex, needles: Mapping[str, Sequence[str]]
) -> tuple[Findings, Findings]:
    """What is found without the index and with it; the same but for the method and the effort."""
    opened.index = None
    plain = opened.find_subject(needles)
    opened.index = index
    found = opened.find_subject(needles)
    assert (found.objects, found.rows_by_version) == (plain.objects, plain.rows_by_version)
    assert found.linked == plain.linked, needles
    assert found.files_searched == plain.files_searched, "the others were looked up"
    assert plain.method.startswith(("each physical file read once", "each object read once"))
    return plain, found


def bytes_in(folder: Path) -> Iterator[bytes]:
    return (p.read_bytes() for p in folder.rglob("*") if p.is_file())


def hashes_of(index: SubjectIndex, needles: Mapping[str, Sequence[str]]) -> list[bytes]:
    found = [index.hashes(column, "String", values) for column, values in needles.items()]
    return [number.to_bytes(8, "little") for numbers in found for number in numbers]


def assert_forgets(
    opened: Indexable,
    index: SubjectIndex,
    person: Mapping[str, Sequence[str]],
    somebody: Mapping[str, Sequence[str]],
    erase: Callable[[], object],
) -> Findings:
    """That the index of a store loses a person's hashes as soon as they are erased, and keeps
    somebody else's; returns what is found of the person then."""

    def held(needles: Mapping[str, Sequence[str]]) -> list[bool]:
        bodies = list(bytes_in(index.folder))
        return [any(number in body for body in bodies) for number in hashes_of(index, needles)]

    build(opened, index)
    assert all([*held(person), *held(somebody)])
    opened.index = index
    erase()
    prune(opened, index)
    assert not any(held(person))
    build(opened, index)
    assert not any(held(person))
    assert all(held(somebody))
    _, found = both_ways(opened, index, person)
    assert found.method.startswith("by index of ")
    return found
