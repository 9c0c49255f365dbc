"""Whether a bundle holds all entries of a resource in a range of the log.

Every entry says in its `within` which of its resource's entries it is (`nth`, from 1) and which
came before (`previous`, a seq). Read backwards from what is known of the end of the range, that is
a chain that must arrive before its beginning. The end is known from one of two things:

- the heads of the log (audit.ledger.heads) at a size that reaches over the range: they name the
  resource's newest entry, or show that it has none;
- the resource's next entry behind the range, whose `previous` is the range's last.

Entries that were recorded before `within` existed (version 1) are only counted: where the count of
those in the bundle is that of the next entry's `nth`, all are here; otherwise the conclusion
reaches back to the last of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from audit.ledger import canonical
from audit.ledger.bundle import Claim, HeadsProof
from audit.ledger.heads import HEADS_TYPE, head_in

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class IncompleteError(ValueError):
    """The bundle does not show that all entries are in it; the sentence says what is wrong."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is shown: all `entries` of the claim from entry `since` on are here."""

    claim: Claim
    entries: int
    since: int

    @property
    def sentence(self) -> str:
        claim, count = self.claim, self.entries
        name, when = claim.resource[:200], _period(claim)
        if claim.since == claim.until:
            return f"{name} has no entry{when}: the log has none at all there."
        where = f"from entry {self.since} to entry {claim.until - 1}{when}"
        if not count:
            return f"{name} has no entry {where}."
        if count == 1:
            said = f"The only entry of {name} {where} is here."
        else:
            said = f"All {count} entries of {name} {where} are here."
        if self.since == claim.since:
            return said
        return (
            f"{said} Before entry {self.since} entries do not say which of their resource's"
            " entries they are, so that there may be more."
        )


class Read(NamedTuple):
    """An entry whose leaf could be read."""

    time_us: int
    event: dict[str, Any]


class _Place(NamedTuple):
    nth: int
    previous: int | None


def conclusion(claim: Claim, entries: Mapping[int, Read]) -> Conclusion:
    """What the entries of a bundle show of a claim. Raises IncompleteError.

    That each entry is in the log must be checked besides.
    """
    _require_borders(claim, entries)
    mine = {
        seq: _place(seq, entry.event)
        for seq, entry in entries.items()
        if entry.event.get("resource") == claim.resource
    }
    listed = sorted(seq for seq in mine if claim.since <= seq < claim.until)
    if claim.since == claim.until:
        return Conclusion(claim, 0, claim.since)
    count, newest = _end(claim, entries, mine)
    for at in reversed(range(len(listed))):
        seq, place = listed[at], mine[listed[at]]
        if seq != newest:
            _require_known(claim, seq, newest)
        if place is None:
            return Conclusion(claim, len(listed), _counted(claim, listed[: at + 1], mine, count))
        if place.nth != count:
            raise IncompleteError(
                f"Entry {seq} says that it is number {place.nth} of {_name(claim)}, not {count}."
            )
        count, newest = place.nth - 1, place.previous
    if newest is not None and newest >= claim.since:
        raise _missing(claim, newest)
    return Conclusion(claim, len(listed), claim.since)


def statement_faults(statement: Mapping[str, Any], conclusions: Sequence[Conclusion]) -> list[str]:
    """What a statement says to be complete and the bundle does not show, in sentences.

    A statement says it in its member `complete`: an object with the members of a claim but
    `heads`, and the number of `entries`.
    """
    said = statement.get("complete")
    if not isinstance(said, dict):
        return []
    shown = [_said(item) for item in conclusions if item.since == item.claim.since]
    if any(canonical.encode(said) == canonical.encode(item) for item in shown):
        return []
    return ["The statement says that it leaves nothing out; the evidence does not show that."]


def _said(item: Conclusion) -> dict[str, Any]:
    members = item.claim.as_dict()
    del members["heads"]
    return {**members, "entries": item.entries}


def _require_borders(claim: Claim, entries: Mapping[int, Read]) -> None:
    """The log's time never runs backwards: two entries show where a period begins or ends."""
    for time_us, border in ((claim.from_us, claim.since), (claim.before_us, claim.until)):
        if time_us is None:
            continue
        for seq in (border - 1, border):
            if seq < 0:
                continue
            if seq not in entries:
                raise IncompleteError(f"Entry {seq}, at the border of the period, is missing.")
            if (entries[seq].time_us < time_us) is not (seq < border):
                raise IncompleteError(
                    f"Entry {seq} was recorded {_time(entries[seq].time_us)}, on the wrong side of"
                    f" the period's border {_time(time_us)}."
                )


def _end(
    claim: Claim, entries: Mapping[int, Read], mine: Mapping[int, _Place | None]
) -> tuple[int, int | None]:
    """How many entries the resource has before `until`, and which is the newest of them."""
    if claim.heads is not None:
        count, newest = _from_heads(claim, claim.heads, entries)
        if newest is None or newest < claim.until:
            return count, newest
    following = min((seq for seq in mine if seq >= claim.until), default=None)
    place = None if following is None else mine[following]
    if place is None:
        raise IncompleteError(
            f"Nothing shows which is the last entry of {_name(claim)} before entry {claim.until}."
        )
    return place.nth - 1, place.previous


def _from_heads(
    claim: Claim, proof: HeadsProof, entries: Mapping[int, Read]
) -> tuple[int, int | None]:
    event = entries[proof.entry].event if proof.entry in entries else {}
    details = event.get("details")
    details = details if isinstance(details, dict) else {}
    size, root = details.get("size"), details.get("root")
    if event.get("type") != HEADS_TYPE or type(size) is not int or not isinstance(root, str):
        raise IncompleteError(f"Entry {proof.entry} does not commit to the heads of the log.")
    if not claim.until <= size <= proof.entry:
        raise IncompleteError(
            f"Entry {proof.entry} commits to the heads of the first {size} entries, which say"
            f" nothing of the entries up to {claim.until - 1}."
        )
    try:
        head = head_in(claim.resource, proof.bucket, proof.path, _unhex(root))
    except ValueError as error:
        raise IncompleteError(
            f"The heads are not those that entry {proof.entry} commits to: {error}."
        ) from error
    return (0, None) if head is None else (head.nth, head.seq)


def _unhex(text: str) -> bytes:
    data = bytes.fromhex(text)
    if data.hex() != text:
        raise ValueError("the root is not in lower-case hexadecimal")
    return data


def _counted(
    claim: Claim, listed: Sequence[int], mine: Mapping[int, _Place | None], count: int
) -> int:
    """From which entry on all are here, when the last of `listed` does not count itself."""
    counting = next((seq for seq in listed if mine[seq] is not None), None)
    if counting is not None or len(listed) > count:
        raise IncompleteError(
            f"The entries of {_name(claim)} up to entry {listed[-1]} are not the {count} that the"
            " log counts."
        )
    if len(listed) == count:
        return claim.since
    if claim.since == 0:
        raise IncompleteError(
            f"Of the {count} entries of {_name(claim)} up to entry {listed[-1]},"
            f" {count - len(listed)} are missing."
        )
    return listed[-1]


def _require_known(claim: Claim, seq: int, newest: int | None) -> None:
    if newest is not None and newest > seq:
        raise _missing(claim, newest)
    raise IncompleteError(f"Entry {seq} is one more of {_name(claim)} than the log counts.")


def _missing(claim: Claim, seq: int) -> IncompleteError:
    return IncompleteError(f"Entry {seq} of {_name(claim)} is missing.")


def _place(seq: int, event: Mapping[str, Any]) -> _Place | None:
    """None for an entry of version 1. Raises IncompleteError for what is no place."""
    within = event.get("within")
    version = event.get("v", 1)
    if within is None and type(version) is int and version == 1:
        return None
    nth, previous = (
        (within.get("nth"), within.get("previous")) if isinstance(within, dict) else (None, None)
    )
    first = previous is None and nth == 1
    later = type(previous) is int and 0 <= previous < seq and type(nth) is int and nth > 1
    if type(nth) is not int or not (first or later):
        raise IncompleteError(f"Entry {seq} does not say which of its resource's entries it is.")
    return _Place(nth, previous)


def _period(claim: Claim) -> str:
    parts = []
    if claim.from_us is not None:
        parts.append(f"from {_time(claim.from_us)} on")
    if claim.before_us is not None:
        parts.append(f"before {_time(claim.before_us)}")
    return f" (recorded {' and '.join(parts)})" if parts else ""


def _time(time_us: int) -> str:
    try:
        moment = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return f"{time_us} microseconds after 1970"
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _name(claim: Claim) -> str:
    return claim.resource[:200]
