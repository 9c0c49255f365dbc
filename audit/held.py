"""Who outside holds the log's checkpoints: what the pages and the REST interface show of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.db.models import Min, QuerySet
from django.utils import timezone

from audit.ledger.checkpoint import InvalidNoteError
from audit.ledger.cosignature import answered, cosignatures, with_cosignatures
from audit.ledger.policy import Policy
from audit.models import MAIN_LOG, Anchor, AnchorAttempt, Checkpoint, Log
from audit.places import Place, PlacesError, places, witness_policy

_LATE_AFTER = 3  # intervals
_LOOK_BACK = 1_000  # cosignatures, for one checkpoint that enough witnesses have cosigned


@dataclass(frozen=True, slots=True)
class Held:
    """One place outside: what it holds, and how the last try went."""

    kind: str
    name: str
    place: Place | None  # None: it is not asked any more
    newest: Anchor | None
    attempt: AnchorAttempt | None
    waiting_since: datetime | None  # when the first checkpoint was kept that it does not hold
    size: int  # of the log, now

    @property
    def kind_name(self) -> str:
        return str(Anchor.Kind(self.kind).label) if self.kind in Anchor.Kind else self.kind

    @property
    def fault(self) -> str:
        if self._ahead and not (self.attempt and self.attempt.grave):
            return "It holds a checkpoint over more entries than the log has. Entries were removed."
        return self.attempt.fault if self.attempt else ""

    @property
    def grave(self) -> bool:
        """It holds a tree that this log does not contain."""
        return self._ahead or bool(self.attempt and self.attempt.grave)

    @property
    def _asked(self) -> bool:
        """Copies are published by their own settings."""
        return self.place is not None or self.kind == Anchor.Kind.PUBLICATION

    @property
    def _ahead(self) -> bool:
        return self.newest is not None and self.newest.size > self.size

    @property
    def tried_at(self) -> datetime | None:
        return self.attempt.tried_at if self.attempt else None

    @property
    def late(self) -> bool:
        """Entries wait for it since three intervals."""
        if self.place is None or self.waiting_since is None:
            return False
        return timezone.now() - self.waiting_since > _LATE_AFTER * self.place.interval

    @property
    def state(self) -> str:
        """The kind of its tag: bad, warn, ok, or nothing said."""
        if self.grave:
            return "bad"
        if self.fault or self.late:
            return "warn"
        if not self._asked:
            return "quiet"
        return "ok" if self.newest else ""

    @property
    def word(self) -> str:
        if self.grave:
            return "contradicts this log"
        if self.late:
            return "late"
        if self.fault:
            return "last try failed"
        if not self._asked:
            return "not asked any more"
        return "holds it" if self.newest else "not asked yet"


@dataclass(frozen=True, slots=True)
class HeldOutside:
    """All places, and what is wrong with the settings if anything is."""

    places: list[Held]
    quorum: str
    fault: str

    @property
    def kind(self) -> str:
        """The worst that is to be said: bad, warn, ok; "" where nothing holds the log outside."""
        states = {held.state for held in self.places}
        if "bad" in states:
            return "bad"
        if self.fault or "warn" in states:
            return "warn"
        return "ok" if "ok" in states else ""

    @property
    def newest(self) -> Anchor | None:
        anchors = [held.newest for held in self.places if held.newest and not held.grave]
        return max(anchors, key=lambda anchor: (anchor.size, anchor.made_at), default=None)


def held_outside(log_id: int = MAIN_LOG) -> HeldOutside:
    """Every place that is configured, and every other that holds something."""
    configured, quorum, fault = _configured()
    attempts = {(row.kind, row.name): row for row in AnchorAttempt.objects.filter(log_id=log_id)}
    by_place = {(place.kind, place.name): place for place in configured}
    names = [*by_place, *sorted(set(attempts) - set(by_place))]
    held = {
        (kind, name): anchors(log_id).filter(kind=kind, name=name).first() for kind, name in names
    }
    log = Log.objects.filter(pk=log_id).first()  # after what is held: it may grow meanwhile
    found = []
    for (kind, name), newest in held.items():
        found.append(
            Held(
                kind,
                name,
                by_place.get((kind, name)),
                newest,
                attempts.get((kind, name)),
                _waiting_since(log, newest.size if newest else 0),
                log.size if log else 0,
            )
        )
    return HeldOutside(found, quorum, fault)


def anchors(log_id: int = MAIN_LOG) -> QuerySet[Anchor]:
    """What is held of this log, newest first."""
    return Anchor.objects.filter(log_id=log_id).order_by("-size", "-made_at")


def witnessed_note(log_id: int = MAIN_LOG) -> str:
    """The newest checkpoint that enough witnesses have cosigned, with their lines behind it.

    Enough is what the configured quorum asks for, and one where it asks for none. Empty when no
    checkpoint has them. Lines that do not hold, or that no configured key has signed, are left out.
    """
    try:
        policy = witness_policy()
    except PlacesError:
        return ""
    recent = anchors(log_id).filter(kind=Anchor.Kind.WITNESS)[:_LOOK_BACK]
    for note, given in groupby(recent, key=lambda anchor: anchor.note):
        witnessed = _cosigned(note, given, policy)
        keys = [found.key for found in cosignatures(witnessed, policy.keys)]
        if keys and policy.satisfied_by(keys):
            return witnessed
    return ""


def _cosigned(note: str, given: Iterable[Anchor], policy: Policy) -> str:
    lines: list[str] = []
    for anchor in given:
        try:
            found = answered(note, bytes(anchor.proof).decode(), policy.keys)
        except (InvalidNoteError, UnicodeDecodeError):
            continue
        lines += [cosignature.line for cosignature in found]
    return with_cosignatures(note, lines)


def _configured() -> tuple[list[Place], str, str]:
    try:
        policy = witness_policy()
        return places(), policy.asked_for() if policy.witnesses else "", ""
    except PlacesError as exc:
        return [], "", str(exc)


def _waiting_since(log: Log | None, size: int) -> datetime | None:
    """Since when a signed checkpoint over more entries than these is there."""
    if log is None or log.note_size <= size:
        return None
    kept = Checkpoint.objects.filter(log_id=log.pk, size__gt=size).aggregate(at=Min("signed_at"))
    return kept["at"] or log.note_at
