"""How much of a table one person's erasure rewrites, and how much it would if the table were
ordered by the identifier.

Whole files are rewritten, so what counts is how many files a person's rows are spread over. Files
say the lowest and the highest identifier in them: where these ranges overlap, any identifier may
stand in many files. The share is estimated from the ranges alone, without reading rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

# Ordering is advised where an erasure rewrites at least this share, and would at most half of it.
_WORTH_SHARE, _WORTH_GAIN = 0.1, 0.5
_FEWEST_FILES = 4


class Range(NamedTuple):
    """The lowest and the highest identifier in a file of so many bytes."""

    lowest: Any
    highest: Any
    bytes: int


@runtime_checkable
class HasRanges(Protocol):
    """A store whose files say the ranges of their columns."""

    def ranges(self, columns: Iterable[str]) -> Mapping[str, Sequence[Range]]:
        """By column, of the files of the newest version; none where one of them does not say.
        Raises StoreError."""
        ...


@dataclass(frozen=True)
class Advice:
    """Shares of the bytes of the newest version, 0 to 1, that one erasure rewrites."""

    column: str
    now: float
    ordered: float

    @property
    def pays(self) -> bool:
        return self.now >= _WORTH_SHARE and self.ordered <= _WORTH_GAIN * self.now


def advice(column: str, ranges: Sequence[Range]) -> Advice | None:
    """None where there are too few files to tell."""
    total = sum(item.bytes for item in ranges)
    if len(ranges) < _FEWEST_FILES or not total:
        return None
    seen = [(value, item.bytes) for item in ranges for value in (item.lowest, item.highest)]
    hit = sum(
        weight * sum(item.bytes for item in ranges if item.lowest <= value <= item.highest)
        for value, weight in seen
    )
    return Advice(
        column,
        now=hit / (2 * total * total),
        # In order, an identifier stands in one file.
        ordered=sum(item.bytes**2 for item in ranges) / total**2,
    )
