"""That a person's data went into a training or a prediction: recorded, read and forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from audit.subjects import SubjectError, SubjectRef, lookup, normalise
from lineage.events import PREDICTION_EXPLAINED, USAGE_ERASED, USAGE_READ, USAGE_RECORDED
from lineage.models import Usage, Version
from lineage.queries import (
    Node,
    NodeError,
    NodeUnknownError,
    newest_version,
    resolve,
    version_in_use,
)

MAX_PREDICTION_ID = 255


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


@transaction.atomic
def record_usage(records: Sequence[NewUsage], *, by: User) -> list[Usage]:
    """Keep and log each record. All or nothing: raises UsageRefusedError."""
    now = timezone.now()
    nodes: dict[tuple[str, str], Node | str] = {}
    faults: list[UsageFault] = []
    rows: list[Usage] = []
    for index, new in enumerate(records):
        found = _fault_of(index, new)
        data = _resolved(new.data_id, "dataset", nodes)
        model = _resolved(new.model_id, "model", nodes) if new.model_id else None
        if isinstance(data, str):
            found.append(UsageFault(index, "data_id", data, "Send its lineage first, or sync it."))
        if isinstance(model, str):
            found.append(UsageFault(index, "model_id", model, "Send its lineage first."))
        if found or isinstance(data, str) or isinstance(model, str):
            faults += found
            continue
        rows.append(_usage(new, data, model, now, by=by))
    if faults:
        raise UsageRefusedError(faults)
    return Usage.objects.bulk_create(rows, batch_size=500)


def _fault_of(index: int, new: NewUsage) -> list[UsageFault]:
    try:
        normalise(new.subject)
    except SubjectError as exc:
        return [UsageFault(index, f"subject.{exc.field}", str(exc))]
    if len(new.prediction_id) > MAX_PREDICTION_ID:
        return [
            UsageFault(
                index, "prediction_id", f"At most {MAX_PREDICTION_ID} characters fit.",
                "Send a shorter id.",
            )
        ]  # fmt: skip
    return []


def _resolved(text: str, kind: str, seen: dict[tuple[str, str], Node | str]) -> Node | str:
    """The node, or the sentence that says why there is none."""
    if (kind, text) not in seen:
        try:
            node = resolve(text, default_kind=kind)
        except (NodeError, NodeUnknownError) as exc:
            seen[kind, text] = str(exc)
        else:
            fits = node.dataset is not None and node.dataset.kind == kind
            seen[kind, text] = node if fits else f"{text} is no {kind}."
    return seen[kind, text]


def _usage(new: NewUsage, data: Node, model: Node | None, now: datetime, *, by: User) -> Usage:
    at = new.occurred_at or now
    data_version = _version(data, at)
    model_version = _version(model, at) if model else None
    assert data.dataset is not None  # noqa: S101  # _resolved has looked
    model_node = model.dataset.node if model and model.dataset else ""
    details = {"data_id": data.dataset.node, "model_id": model_node}
    if model_version is not None:
        details["model_version"] = model_version.version
    subject = normalise(new.subject)
    # A prediction's id may be made of the person's, so it is sealed with the person's key.
    sealed = {"prediction_id": new.prediction_id} if new.prediction_id else None
    event_id = record(
        USAGE_RECORDED,
        by=by,
        resource=data.dataset.node,
        resource_version=data_version.version if data_version else "",
        details={key: value for key, value in details.items() if value},
        subject=subject,
        sealed=sealed,
        occurred_at=new.occurred_at,
    )
    return Usage(
        subject_lookup=lookup(subject),
        subject_type=subject.type,
        data_id=data.dataset.node,
        model_id=model_node,
        prediction_id=new.prediction_id,
        dataset_version=data_version,
        model_version=model_version,
        occurred_at=at,
        event_id=event_id,
    )


def _version(node: Node, at: datetime) -> Version | None:
    if node.version is not None:
        return node.version
    assert node.dataset is not None  # noqa: S101  # _resolved has looked
    if node.dataset.is_model and (used := version_in_use(node.dataset)):
        return used
    return newest_version(node.dataset, at) or newest_version(node.dataset)


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
