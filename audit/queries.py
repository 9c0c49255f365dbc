"""Reading the log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit import completeness, keyring, proofs, sealing, sequencer, signer
from audit.completeness import Span
from audit.ledger import bundle, canonical, checkpoint
from audit.ledger.leaf import unpack
from audit.logs import MAIN, LogRef, log_of, origin_of, units
from audit.models import Entry, Log, Pending, PrunedRange, Verification
from audit.pruned import range_of, ranges_between
from audit.verification import heads, parent, places, sealed, signers, stored
from audit.verification.outcome import Outcome
from audit.verification.pair import verify_in_two
from audit.verification.run import Progress, verify_log

_MAX_SEQ = 2**63 - 1  # what the column can hold


class EntryUnknownError(LookupError):
    """The log has no such entry."""


class EntryPrunedError(EntryUnknownError):
    """The entry is past its retention and gone; `range.entry` is the number of what says why."""

    def __init__(self, seq: int, pruned: PrunedRange) -> None:
        super().__init__(
            f"Entry {seq} was pruned with entries {pruned.start} to {pruned.stop - 1}. Entry"
            f" {pruned.entry} says why."
        )
        self.seq, self.range = seq, pruned


class NothingSignedError(RuntimeError):
    """No signed checkpoint covers what was asked for."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed checkpoint: the C2SP note, and what it says."""

    note: str
    size: int
    root: bytes
    signed_at: datetime


def entries(log: LogRef = MAIN) -> QuerySet[Entry]:
    return Entry.objects.filter(log_id=log.id)


def units_that_know(resource: str) -> list[str]:
    """The names of the units' logs that hold entries of this resource."""
    return [log.name for log in units() if entries(log).filter(resource=resource).exists()]


def entry(seq: int, log: LogRef = MAIN) -> Entry:
    """Raises EntryUnknownError; when the entry was pruned, the EntryPrunedError among them."""
    found = entries(log).filter(seq=seq).first() if 0 <= seq <= _MAX_SEQ else None
    if found is None:
        raise _absent(seq, log)
    return found


def _absent(seq: int, log: LogRef) -> EntryUnknownError:
    gone = range_of(log.id, seq) if 0 <= seq <= _MAX_SEQ else None
    return (
        EntryPrunedError(seq, gone) if gone else EntryUnknownError(f"The log has no entry {seq}.")
    )


def entries_for(
    resource: str,
    since: datetime | None = None,
    until: datetime | None = None,
    as_of: int | None = None,
    *,
    log: LogRef = MAIN,
) -> QuerySet[Entry]:
    """The entries of a resource in the order of the log.

    `since` and `until` bound the time of recording, the latter exclusive; `as_of` is an entry
    number: only what was in the log then.
    """
    settle(log)
    found = entries(log).filter(resource=resource)
    if since is not None:
        found = found.filter(recorded_at__gte=since)
    if until is not None:
        found = found.filter(recorded_at__lt=until)
    if as_of is not None:
        found = found.filter(seq__lte=as_of)
    return found.order_by("seq")


def pruned_between(
    since: datetime, until: datetime, as_of: int, log: LogRef = MAIN
) -> list[dict[str, Any]]:
    """The pruned ranges with entries recorded then: see `audit.pruned.ranges_between`."""
    return ranges_between(log.id, since, until, as_of)


def event_of(entry: Entry) -> dict[str, Any]:
    """The event in the entry's leaf: what was hashed, not the columns beside it."""
    event: dict[str, Any] = canonical.decode(unpack(bytes(entry.leaf)).event)
    return event


def unseal(entry: Entry) -> dict[str, Any] | None:
    """The entry's sealed facts; {} if it has none, None if the subject's key was destroyed."""
    event = event_of(entry)
    if "sealed" not in event:
        return {}
    row = sealing.row_of(event["subject"])
    if row is None:
        return None
    return sealing.unseal(
        event["sealed"],
        key=sealing.unwrap(row),
        log=log_of(entry.log_id).name,
        event_id=event["id"],
    )


def head(log: LogRef = MAIN) -> Log | None:
    """The log's head; None before the first entry of the main log."""
    return Log.objects.filter(pk=log.id).first()


def latest_checkpoint(log: LogRef = MAIN) -> Checkpoint | None:
    """The newest signed checkpoint; None before the first."""
    now = head(log)
    if now is None or not now.note or now.note_at is None:
        return None
    said, _ = checkpoint.parse(now.note)
    return Checkpoint(now.note, said.size, said.root, now.note_at)


def verifier_key(log: LogRef = MAIN) -> str:
    """The public key of the log's active signing key, as C2SP vkey text."""
    return verifier_keys(log)[0]


def verifier_keys(log: LogRef = MAIN) -> tuple[str, ...]:
    """The log's public keys: the active one, those that sign beside it, those of the past."""
    return signer.verifier_keys(origin_of(log), log.name)


def settle(log: LogRef = MAIN) -> None:
    """Give what was recorded until now its place, so that readers see what they did before.

    Inside a transaction nothing can be sequenced.
    """
    if not connection.in_atomic_block and Pending.objects.filter(log_id=log.id).exists():
        sequencer.drain(log.id)


def covering_checkpoint(log: LogRef = MAIN) -> Checkpoint:
    """A checkpoint over everything recorded so far: sequences and signs if need be.

    Inside a transaction nothing can be sequenced; there it is the newest there is. Raises
    NothingSignedError when there is none.
    """
    blocks = connection.atomic_blocks
    if not blocks or blocks[-1]._from_testcase:  # type: ignore[attr-defined]
        sequencer.drain(log.id)
        signer.sign_head(keep=True, log=log)
    found = latest_checkpoint(log)
    if found is None:
        raise NothingSignedError("The log has no signed checkpoint yet.")
    return found


def evidence(
    seqs: Iterable[int],
    *,
    purpose: str,
    statement: Mapping[str, Any] | None = None,
    complete: Sequence[Span] = (),
    log: LogRef = MAIN,
) -> dict[str, Any]:
    """The evidence bundle of these entries against the newest checkpoint, ready for JSON.

    `complete`: resources of which it also holds all entries in a range of this log, provably.
    Raises EntryUnknownError and NothingSignedError, and for `complete` HeadsMissingError (record
    the heads and ask again) and NotShownError.
    """
    claims, more = completeness.claims(complete)
    signed = covering_checkpoint(log)
    wanted = sorted(more.union(seqs))
    found = {e.seq: bytes(e.leaf) for e in entries(log).filter(seq__in=wanted)}
    for seq in wanted:
        if seq not in found:
            raise _absent(seq, log)
        if seq >= signed.size:
            raise NothingSignedError(
                f"The newest checkpoint covers {signed.size} entries, not entry {seq}."
                " Ask again outside of the transaction."
            )
    completeness.conclusions(claims, found.values())
    paths = proofs.inclusions(log.id, wanted, signed.size)
    said, _ = checkpoint.parse(signed.note)
    return bundle.build(
        purpose=purpose,
        statement=statement,
        origin=said.origin,
        vkey=signer.verifier_key_of(signed.note, said.origin, log.name),
        checkpoint=signed.note,
        entries=[(seq, found[seq], path) for seq, path in zip(wanted, paths, strict=True)],
        complete=claims,
    )


def actor_names(actors: Iterable[str]) -> dict[str, str]:
    """The display name of each actor that is a user here; others keep their own text."""
    wanted = set(actors)
    ids = {
        int(actor[5:]): actor
        for actor in wanted
        if actor.startswith("user:") and actor[5:].isdecimal() and len(actor) < 24
    }
    names = {actor: actor for actor in wanted}
    for user in get_user_model()._default_manager.filter(pk__in=list(ids)):
        names[ids[user.pk]] = str(user)
    return names


def stored_log_outcome(
    *,
    log: LogRef = MAIN,
    full: bool = False,
    state: bytes = b"",
    end: int | None = None,
    roots_later: bool = False,
    in_two: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Check the stored log against this installation's key, all of it or from a state on.

    `full` also checks the canonical form of every event, the count of each resource's entries, the
    heads that the log commits to, and the subjects' keys. `in_two`: by two processes, for callers
    that have but one thread and no transaction. `end` and `roots_later` as in `verify_log`: for a
    check in parts.
    """
    how: dict[str, Any] = {
        "vkeys": _keys_to_check_by(log),
        "remembered": signer.remembered_note(log.name),
        "full": full,
        "state": state,
        "progress": progress,
    }
    if in_two and not state and end is None:
        outcome = verify_in_two(log.id, **how)
    else:
        outcome = verify_log(log.id, **how, end=end, roots_later=roots_later)
    outcome.findings += signers.findings(log.id, keyring.ring(log.name))
    if log.is_main and end is None:
        outcome.findings += parent.findings()
    if full and outcome.ok and end is None:
        outcome.findings += places.findings(log.id)
        outcome.findings += heads.findings(log.id)
        outcome.findings += sealed.findings(log)
    return outcome


def _keys_to_check_by(log: LogRef) -> tuple[str, ...]:
    """The log's keys under the name that the database gives it, or under that which it should."""
    stored_head = stored.head(log.id)
    expected = str(settings.VESTIGE_ORIGIN)
    try:
        return signer.verifier_keys(stored_head.origin if stored_head else expected, log.name)
    except (checkpoint.InvalidNoteError, UnicodeError):
        return signer.verifier_keys(expected, log.name)


def latest_verification(log: LogRef = MAIN) -> Verification | None:
    """What the newest check of the log that is done found; None before the first."""
    done = Verification.objects.filter(log_id=log.id, finished_at__isnull=False)
    return done.order_by("-finished_at", "-pk").first()


def failed_verification() -> Verification | None:
    """The newest failed check, of whichever log, that still counts: see `failure_of`."""
    failed = Verification.objects.filter(ok=False, finished_at__isnull=False)
    found = (failure_of(pk) for pk in failed.values_list("log_id", flat=True).distinct())
    return max(
        (row for row in found if row is not None),
        key=lambda row: (row.finished_at, row.pk),
        default=None,
    )


def failure_of(log_id: int) -> Verification | None:
    """The newest check that failed, until a later one that looked at as much found no fault."""
    done = Verification.objects.filter(log_id=log_id, finished_at__isnull=False)
    failed = done.filter(ok=False).order_by("-finished_at", "-pk").first()
    if failed is None:
        return None
    later = done.filter(ok=True, finished_at__gt=failed.finished_at)
    if failed.full:
        later = later.filter(full=True)
    return None if later.exists() else failed


def verification(pk: int) -> Verification | None:
    """A check of the log, done or not."""
    return Verification.objects.filter(pk=pk).first()


def verifications_under_way() -> QuerySet[Verification]:
    """Checks of any log that are due or being worked on; those that somebody asked for first."""
    return Verification.objects.filter(finished_at=None).order_by("full", "pk")


def verifications_to_announce() -> QuerySet[Verification]:
    """Failed checks of which nobody was told yet."""
    return Verification.objects.filter(
        ok=False, finished_at__isnull=False, announced_at=None
    ).order_by("pk")


def scrub_is_due(every: timedelta, log: LogRef = MAIN) -> bool:
    """Whether the log is that old and no full check began since, nor is one under way."""
    first = entries(log).order_by("seq").first()
    if first is None:
        return False
    limit = timezone.now() - every
    young = Q(started_at__gte=limit) | Q(finished_at=None)
    fresh = Verification.objects.filter(young, log_id=log.id, full=True)
    return first.recorded_at < limit and not fresh.exists()


def key_is_alive(pseudonym: str) -> bool:
    """Whether the person's key is still there, so that sealed facts can be opened."""
    return sealing.row_of(pseudonym) is not None
