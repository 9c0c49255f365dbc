"""That a person's data went into a training or a prediction: recorded, read and forgotten."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit.actions import append_declared, record
from audit.intake import EventRefusedError, NewEvent, new_id, time_text
from audit.subjects import SubjectError, SubjectRef, lookup, normalise
from lineage.events import PREDICTION_EXPLAINED, USAGE_ERASED, USAGE_READ, USAGE_RECORDED
from lineage.models import Dataset, Usage, Version
from lineage.queries import (
    Node,
    NodeError,
    NodeUnknownError,
    newest_version,
    resolve,
    version_in_use,
)

_PREDICTION_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,255}")


@dataclass(frozen=True)
class NewUsage:
    """`data_id` "dataset:NAMESPACE:NAME[@VERSION]", `model_id` "model:NAME[@VERSION]" or empty.

    Without a version, the data's newest at `occurred_at` and the model's version in use count.
    """

    subject: SubjectRef
    data_id: str
    model_id: str = ""
    prediction_id: str = ""
    occurred_at: datetime | None = None


@dataclass(frozen=True)
class UsageFault:
    index: int
    field: str
    reason: str
    fix: str = ""


class UsageRefusedError(ValueError):
    """At least one record names something unknown, so none was taken; `faults` says where."""

    def __init__(self, faults: Sequence[UsageFault]) -> None:
        super().__init__(f"Record {faults[0].index}, {faults[0].field}: {faults[0].reason}")
        self.faults = list(faults)


def record_usage(records: Sequence[NewUsage], *, by: User) -> list[Usage]:
    """Log each record and keep it for search. All or nothing: raises UsageRefusedError.

    The log comes first and commits (group commit: this is a hot door), so this cannot be a part of
    the caller's transaction. A crash in between leaves entries without rows, and the sender, who
    got no answer, sends again.
    """
    now = timezone.now()
    seen = _Seen()
    faults: list[UsageFault] = []
    resolved: list[_Resolved] = []
    for index, new in enumerate(records):
        found, one = _resolve(index, new, seen, now)
        faults += found
        resolved += [one] if one else []
    if faults:
        raise UsageRefusedError(faults)
    if not resolved:
        return []
    events = [_event(one, by) for one in resolved]
    try:
        append_declared(USAGE_RECORDED, events, by=by)
    except EventRefusedError as exc:
        raise UsageRefusedError(
            [UsageFault(f.index, f.field, f.reason, f.fix) for f in exc.faults]
        ) from exc
    rows = [_row(one, event.id) for one, event in zip(resolved, events, strict=True)]
    return Usage.objects.bulk_create(rows, batch_size=500)


@dataclass(frozen=True)
class _Resolved:
    new: NewUsage
    subject: SubjectRef
    data: Dataset
    data_version: Version | None
    model: Dataset | None
    model_version: Version | None
    at: datetime


class _Seen:
    """What this request has looked up already: most of its records name the same few things."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[str, str], Node | str] = {}
        self.versions: dict[tuple[str, str, datetime], Version | None] = {}


def _resolve(
    index: int, new: NewUsage, seen: _Seen, now: datetime
) -> tuple[list[UsageFault], _Resolved | None]:
    faults = _fault_of(index, new)
    data = _node(new.data_id, "dataset", seen)
    model = _node(new.model_id, "model", seen) if new.model_id else None
    if isinstance(data, str):
        faults.append(UsageFault(index, "data_id", data, "Send its lineage first, or sync it."))
    if isinstance(model, str):
        faults.append(UsageFault(index, "model_id", model, "Send its lineage first."))
    if faults or isinstance(data, str) or isinstance(model, str) or data.dataset is None:
        return faults, None
    at = new.occurred_at or now
    return [], _Resolved(
        new=new,
        subject=normalise(new.subject),
        data=data.dataset,
        data_version=_version(data, new.data_id, at, seen),
        model=model.dataset if model else None,
        model_version=_version(model, new.model_id, at, seen) if model else None,
        at=at,
    )


def _fault_of(index: int, new: NewUsage) -> list[UsageFault]:
    try:
        normalise(new.subject)
    except SubjectError as exc:
        return [UsageFault(index, f"subject.{exc.field}", str(exc))]
    if not _PREDICTION_ID.fullmatch(new.prediction_id):
        reason = "At most 255 characters without control characters fit."
        return [UsageFault(index, "prediction_id", reason, "Send another id.")]
    return []


def _node(text: str, kind: str, seen: _Seen) -> Node | str:
    """The node, or the sentence that says why there is none."""
    if (kind, text) not in seen.nodes:
        try:
            node = resolve(text, default_kind=kind)
        except (NodeError, NodeUnknownError) as exc:
            seen.nodes[kind, text] = str(exc)
        else:
            fits = node.dataset is not None and node.dataset.kind == kind
            seen.nodes[kind, text] = node if fits else f"{text} is no {kind}."
    return seen.nodes[kind, text]


def _event(one: _Resolved, by: User) -> NewEvent:
    details = {
        "data_id": one.data.node,
        "model_id": one.model.node if one.model else "",
        "model_version": one.model_version.version if one.model_version else "",
    }
    return NewEvent(
        # Random: an id made of the content would tell whose entry it is after they were forgotten.
        id=new_id(),
        type=USAGE_RECORDED.name,
        actor=by.actor,
        resource=one.data.node,
        resource_version=one.data_version.version if one.data_version else "",
        occurred_at=time_text(one.new.occurred_at) if one.new.occurred_at else "",
        details={key: value for key, value in details.items() if value},
        subject=one.subject,
        # A prediction's id may be made of the person's, so it is sealed with the person's key.
        sealed={"prediction_id": one.new.prediction_id} if one.new.prediction_id else {},
    )


def _row(one: _Resolved, event_id: str) -> Usage:
    return Usage(
        subject_lookup=lookup(one.subject),
        subject_type=one.subject.type,
        data_id=one.data.node,
        model_id=one.model.node if one.model else "",
        prediction_id=one.new.prediction_id,
        dataset_version=one.data_version,
        model_version=one.model_version,
        occurred_at=one.at,
        event_id=event_id,
    )


def _version(node: Node, text: str, at: datetime, seen: _Seen) -> Version | None:
    if node.version is not None:
        return node.version
    assert node.dataset is not None  # noqa: S101  # _node has looked
    key = (node.dataset.kind, text, at)
    if key not in seen.versions:
        used = version_in_use(node.dataset) if node.dataset.is_model else None
        newest = used or newest_version(node.dataset, at) or newest_version(node.dataset)
        seen.versions[key] = newest
    return seen.versions[key]


@transaction.atomic
def note_usage_read(subject: SubjectRef, records: int, *, by: User) -> None:
    """Somebody looked at what was done with a person's data; that is recorded too."""
    record(
        USAGE_READ, by=by, resource="usage:records", details={"records": records}, subject=subject
    )


@transaction.atomic
def note_explained(usages: Sequence[Usage], *, by: User) -> None:
    """Somebody had a prediction explained. Its own id may be personal, so the log names rows."""
    record(
        PREDICTION_EXPLAINED, by=by, resource=usages[-1].model_id or "usage:records",
        details={"usage": [usage.pk for usage in usages]},
    )  # fmt: skip


@transaction.atomic
def forget_usage(lookups: Sequence[str], *, by: User, because: str = "") -> int:
    """Cut the person out of their usage records: who, and which prediction, is emptied.

    What remains (that some person's data of that type went into that version) is no personal data.
    Returns how many records there were. Forgetting again changes nothing.
    """
    count = Usage.objects.filter(subject_lookup__in=[text for text in lookups if text]).update(
        subject_lookup="", prediction_id="", erased_at=timezone.now()
    )
    if count:
        details = {"records": count} | ({"because": because} if because else {})
        record(USAGE_ERASED, by=by, resource="usage:records", details=details)
    return count
