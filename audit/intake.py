"""From an event as it is sent to the bytes that the log will hold, and what search needs of them.

The bytes: canonical JSON with "v", "id", "type", "actor", "by" (who was authenticated), and where
they are not empty "resource", "resource_version", "occurred_at", "parent_id", "details",
"subject" (a pseudonym), "sealed" ({"nonce", "ciphertext"}). When the event gets its place in the
log, the sequencer adds "within": {"nth", "previous"}, the place among the entries of its resource.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import gt
from typing import Any

import msgspec
from django.conf import settings

from audit import sealing
from audit.events import ReservedEventTypeError, UnknownEventTypeError, require_outside
from audit.ledger import canonical
from audit.models import MAIN_NAME
from audit.subjects import SubjectError, SubjectRef, normalise

VERSION = 2
_VERSION_1, _VERSION_2 = b'"v":1}', b'"v":2}'
_ID = re.compile(r"[!-~]{1,128}")
_LIMITS = {"actor": 256, "resource": 512, "resource_version": 256, "parent_id": 128}
_LEAST_LIMIT = min(_LIMITS.values())


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one event of a request: where, why, and what to do."""

    index: int
    field: str
    reason: str
    fix: str = ""


class EventRefusedError(ValueError):
    """At least one event of the request cannot be taken, so none was."""

    status = 422

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        super().__init__(f"Event {first.index}, {first.field}: {first.reason} {first.fix}".strip())
        self.faults = list(faults)


class EventTooLargeError(EventRefusedError):
    """An event has more bytes than VESTIGE_MAX_EVENT_BYTES."""

    status = 413


class RepeatedEventError(EventRefusedError):
    """The event id was used before, for other content."""

    status = 409


class NewEvent(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """An event on its way in. Empty members are left out of the log.

    Here and in the rows made of it `gc=False`: ten thousand events at once would keep the garbage
    collector busier than the hashing, and none of them can be part of a cycle.
    """

    type: str
    actor: str
    resource: str
    id: str = ""
    resource_version: str = ""
    occurred_at: str = ""
    parent_id: str = ""
    details: dict[str, Any] = {}  # msgspec copies it
    subject: SubjectRef | None = None
    sealed: dict[str, Any] = {}


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An event ready to be sequenced: its canonical bytes and its columns, in storage's order."""

    event_id: str
    event: bytes
    type: str
    actor: str
    by: str
    resource: str
    resource_version: str
    occurred_at: datetime | None
    parent_id: str
    subject: str
    given: bool  # the sender chose the id, so it may be a repetition

    def prepared(self) -> "Prepared":
        return self


class Unprepared(msgspec.Struct, frozen=True, gc=False):
    """An event that is prepared when its turn comes: what `prepare` needs for it."""

    event: NewEvent
    by: str
    index: int
    keys: Mapping[SubjectRef, sealing.LiveKey]
    log: str

    @property
    def event_id(self) -> str:
        return self.event.id

    @property
    def given(self) -> bool:
        return bool(self.event.id)

    @property
    def resource(self) -> str:
        return self.event.resource

    def prepared(self) -> Prepared:
        """Raises EventRefusedError or EventTooLargeError."""
        return prepare(self.event, by=self.by, index=self.index, keys=self.keys, log=self.log)


Event = Prepared | Unprepared


def new_id() -> str:
    """A UUIDv7 (RFC 9562): random, and in the order of time, which keeps indexes compact."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds. `moment` must be aware."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def parse_time(text: str) -> datetime:
    """The moment in UTC. Raises ValueError for what is no RFC 3339 time with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or text[10:11] not in "Tt":
        raise ValueError("no zone")
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("out of range") from exc


def prepare(
    event: NewEvent,
    *,
    by: str,
    index: int,
    keys: Mapping[SubjectRef, sealing.LiveKey],
    log: str = MAIN_NAME,
) -> Prepared:
    """Check an event and write its bytes. Raises EventRefusedError or EventTooLargeError.

    `keys` holds the key of its subject, by normalised reference; `log` is that which it goes to.
    """
    fault = _fault_of(event)
    if fault:
        raise EventRefusedError([Fault(index, *fault)])
    body: dict[str, Any] = {
        "v": VERSION,
        "id": event.id or new_id(),
        "type": event.type,
        "actor": event.actor,
        "by": by,
        "resource": event.resource,
    }
    occurred_at = None
    if event.occurred_at:
        occurred_at = _occurred_at(event.occurred_at, index)
        written = event.occurred_at
        is_canonical = len(written) == 27 and written[19] == "." and written[26] == "Z"
        body["occurred_at"] = written if is_canonical else time_text(occurred_at)
    if event.resource_version:
        body["resource_version"] = event.resource_version
    if event.parent_id:
        body["parent_id"] = event.parent_id
    if event.details:
        body["details"] = event.details
    subject = _seal(event, body, index, keys, log) if event.subject else ""
    try:
        encoded = canonical.encode_strict(body)
    except canonical.CanonicalError as exc:
        raise EventRefusedError([_canonical_fault(index, exc)]) from exc
    limit = settings.VESTIGE_MAX_EVENT_BYTES
    if len(encoded) > limit:
        raise EventTooLargeError(
            [
                Fault(
                    index,
                    "details",
                    f"The event has {len(encoded):,} bytes, at most {limit:,} fit.",
                    "Send a digest and keep the rest elsewhere.",
                )
            ]
        )
    return Prepared(
        body["id"],
        encoded,
        event.type,
        event.actor,
        by,
        event.resource,
        event.resource_version,
        occurred_at,
        event.parent_id,
        subject,
        bool(event.id),
    )


def from_bytes(encoded: bytes) -> Prepared:
    """What search needs of an event whose bytes are written already."""
    if encoded.endswith(_VERSION_1):  # it waited while the installation was upgraded
        encoded = encoded[: -len(_VERSION_1)] + _VERSION_2
    body = canonical.decode(encoded)
    occurred_at = body.get("occurred_at")
    return Prepared(
        body["id"],
        encoded,
        body["type"],
        body["actor"],
        body["by"],
        body.get("resource", ""),
        body.get("resource_version", ""),
        parse_time(occurred_at) if occurred_at else None,
        body.get("parent_id", ""),
        body.get("subject", ""),
        given=True,
    )


def same_content(first: bytes, second: bytes) -> bool:
    """Whether two events say the same; who delivered them (`by`) may differ, as keys rotate."""
    if first == second:
        return True
    one, other = canonical.decode(first), canonical.decode(second)
    for name in ("by", "v", "within"):  # who and what brought it here, and where it stands
        one.pop(name, None)
        other.pop(name, None)
    return bool(one == other)


def _occurred_at(text: str, index: int) -> datetime:
    try:
        return parse_time(text)
    except ValueError as exc:
        raise EventRefusedError(
            [
                Fault(
                    index,
                    "occurred_at",
                    "This is no RFC 3339 time with a zone.",
                    "Send it as in 2026-01-31T12:00:00Z.",
                )
            ]
        ) from exc


def subject_fault(event: NewEvent) -> tuple[str, str, str] | None:
    """(field, reason, fix) when the subject names nobody. Never repeats the identifier."""
    if event.subject is None:
        if event.sealed:
            return "sealed", "Sealed facts need a subject.", "Add `subject`."
        return None
    try:
        normalise(event.subject)
    except SubjectError as exc:
        return f"subject.{exc.field}", str(exc), ""
    return None


def require_outside_type(event: NewEvent, index: int) -> None:
    """Raises EventRefusedError when outsiders may not send this type, or would vouch for us."""
    if "statement_sha256" in event.details:
        # By this fact an entry commits to a document. Sent from outside, it would let a pipeline
        # vouch for a certificate that nobody issued.
        raise EventRefusedError(
            [
                Fault(
                    index,
                    "details.statement_sha256",
                    "Only Vestige itself commits to statements.",
                    "Give the digest another name.",
                )
            ]
        )
    try:
        require_outside(event.type)
    except (UnknownEventTypeError, ReservedEventTypeError) as exc:
        raise EventRefusedError([Fault(index, "type", str(exc))]) from exc


def _fault_of(event: NewEvent) -> tuple[str, str, str] | None:
    if event.id and not _ID.fullmatch(event.id):
        return "id", "An id has 1 to 128 visible ASCII characters.", "A UUID is a good id."
    if not event.actor:
        return "actor", "Who did it is missing.", "Name the person or service, as in service:etl."
    if not event.resource:
        return "resource", "What it happened to is missing.", "As in dataset:sales:orders."
    texts = event.actor, event.resource, event.resource_version, event.parent_id
    together = "".join(texts)
    if not together.isprintable() or (len(together) > _LEAST_LIMIT and _is_any_long(texts)):
        return _text_fault(texts)
    return subject_fault(event)


def _is_any_long(texts: Sequence[str]) -> bool:
    return any(map(gt, map(len, texts), _LIMITS.values()))


def _text_fault(texts: Sequence[str]) -> tuple[str, str, str]:
    name, limit = next(
        (name, limit)
        for text, (name, limit) in zip(texts, _LIMITS.items(), strict=True)
        if len(text) > limit or not text.isprintable()
    )
    return name, f"At most {limit} visible characters fit here.", "Send an identifier."


def _seal(
    event: NewEvent,
    body: dict[str, Any],
    index: int,
    keys: Mapping[SubjectRef, sealing.LiveKey],
    log: str,
) -> str:
    assert event.subject is not None  # noqa: S101  # the caller has looked
    key = keys[normalise(event.subject)]
    body["subject"] = key.pseudonym
    if event.sealed:
        try:
            body["sealed"] = sealing.seal(event.sealed, key=key, log=log, event_id=body["id"])
        except canonical.CanonicalError as exc:
            raise EventRefusedError([_canonical_fault(index, exc, "sealed")]) from exc
    return key.pseudonym


def _canonical_fault(index: int, exc: canonical.CanonicalError, inside: str = "") -> Fault:
    path = f"{inside}.{exc.path}" if inside and exc.path else inside or exc.path or "event"
    reason, _, fix = exc.reason.partition("; ")
    if reason.startswith("is "):
        reason = f"{path.rpartition('.')[2]} {reason}"
    return Fault(index, path, f"{_sentence(reason)}.", f"{_sentence(fix)}." if fix else "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
