"""What the entries of a whole log say of each other: the count of every resource's entries, and
the heads that the log commits to.

It takes one who reads all entries to find out whether the log counted rightly, and on that rests
what a single file can prove to be complete (audit.ledger.completeness). Memory grows with the
number of resources, by about 250 bytes each.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from audit.ledger import canonical
from audit.ledger.canonical import CanonicalError
from audit.ledger.heads import HEADS_TYPE, GatheredHeads, Head, key_of
from audit.ledger.leaf import HEADER

_MARK = f'"type":"{HEADS_TYPE}"'.encode()


class Commitment(NamedTuple):
    """That entry `seq` commits to the heads of the first `size` entries."""

    seq: int
    size: int
    details: dict[str, Any]


class Counting:
    """Counts along as entries are read in order, from the first on."""

    def __init__(self) -> None:
        self._waiting: list[Commitment] = []
        self._heads = GatheredHeads()
        self.size = self.gone = self.compared = self.uncounted = 0

    def expect(self, commitments: Iterable[Commitment]) -> None:
        """What the log says somewhere of its heads (`commitments_in`); before all else."""
        self._waiting = sorted(commitments, key=lambda item: item.size, reverse=True)

    def take(self, leaf: bytes) -> Iterator[tuple[int, str]]:
        """(seq, why) for what is wrong with the next entry, or with a commitment to those before.

        The leaf must have been verified before.
        """
        yield from self._compare()
        seq, event = self.size, leaf[HEADER.size :]
        try:
            value = canonical.decode(event)
            if not isinstance(value, dict) or canonical.encode_strict(value) != event:
                raise CanonicalError("", "it is no object in canonical form")
        except CanonicalError as error:
            yield seq, f"its event cannot be taken: {error}"
            value = {}
        if fault := self._count(seq, value):
            yield seq, fault
        self.size += 1

    def skip(self, count: int) -> None:
        """Entries that are gone or not shown: what they counted cannot be known."""
        if count:
            self.size += count
            self.gone = self.size

    def _count(self, seq: int, event: dict[str, Any]) -> str:
        resource = event.get("resource", "")
        if not isinstance(resource, str):
            return "it does not name its resource"
        key = key_of(resource)
        count, newest = self._heads.place_of(key) or (0, None)
        within = event.get("within")
        nth: Any = count + 1
        fault = ""
        if isinstance(within, dict):
            nth, previous = within.get("nth"), within.get("previous")
            if not self._follows(nth, previous, count, newest):
                fault = (
                    f"it says that it is entry {nth!r} of its resource, behind {previous!r}, and is"
                    f" {count + 1}, behind {newest!r}"
                )
                nth = count + 1
        elif event.get("v", 1) == 1:
            self.uncounted += 1
        else:
            fault = "it does not say which of its resource's entries it is"
        self._heads.put(Head(key, nth, seq))
        return fault

    def _follows(self, nth: Any, previous: Any, count: int, newest: int | None) -> bool:
        if (nth, previous) == (count + 1, newest):
            return type(nth) is int
        # Some that are gone may lie between: those were counted before they went.
        after = -1 if newest is None else newest
        return (
            type(nth) is int
            and type(previous) is int
            and count + 1 < nth <= previous + 2
            and after < previous < self.gone
        )

    def _compare(self) -> Iterator[tuple[int, str]]:
        while self._waiting and self._waiting[-1].size <= self.size:
            seq, size, details = self._waiting.pop()
            if size < self.size:
                if not 0 <= size < self.gone:
                    yield seq, "it does not say of how many entries its heads are"
            elif not self.gone:
                self.compared += 1
                if details != self._heads.details(size):
                    yield seq, f"the heads of the first {size} entries are not those it names"


def commitments_in(numbered: Iterable[tuple[int, bytes]]) -> Iterator[Commitment]:
    """The commitments to heads among leaves, given with their numbers."""
    for seq, leaf in numbered:
        if _MARK not in leaf:
            continue
        try:
            event = canonical.decode(leaf[HEADER.size :])
        except CanonicalError:
            continue  # `take` says so
        if isinstance(event, dict) and event.get("type") == HEADS_TYPE:
            details = event.get("details")
            details = details if isinstance(details, dict) else {}
            size = details.get("size")
            # One that reaches behind itself is compared with nothing, and is wrong.
            known = type(size) is int and 0 <= size <= seq
            yield Commitment(seq, size if known else -1, details)  # type: ignore[arg-type]
