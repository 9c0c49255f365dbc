"""Answering, confirming, withdrawing; measuring a version; noting what left the house."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from audit.ledger.bundle import statement_digest
from connectors.adapters.base import StoreError
from connectors.queries import open_store
from datasheets import events
from datasheets.catalog import Question, catalogue
from datasheets.models import Answer, Profile, Sheet
from datasheets.queries.facts import Facts
from datasheets.queries.sheets import finding_of, kind_of
from datasheets.values import (
    AnswerError,
    Value,
    adopted,
    answer_digest,
    digest_of,
    parsed,
)
from lineage.models import Dataset, Version

State = Answer.State
MAX_ATTEMPTS = 3
LEASE = timedelta(minutes=15)


class AnswersRefusedError(ValueError):
    """Nothing was written; `faults` names every question whose answer cannot be taken."""

    def __init__(self, faults: list[AnswerError]) -> None:
        super().__init__(" ".join(str(fault) for fault in faults))
        self.faults = faults


@dataclass(frozen=True)
class Given:
    """An answer as somebody gave it. Without a state: answered, or withdrawn if there is no value
    (and no reason)."""

    value: Any = None
    state: str = ""
    reason: str = ""

    @property
    def withdraws(self) -> bool:
        return self.value is None and not self.state and not self.reason


@transaction.atomic
def open_sheet(dataset: Dataset, *, by: User) -> Sheet:
    """The datasheet of a dataset, or the model card of a model; made when it is first asked for."""
    sheet, made = Sheet.objects.get_or_create(dataset=dataset, kind=kind_of(dataset))
    if made:
        record(events.DATASHEET_OPENED, by=by, resource=dataset.node, details={"kind": sheet.kind})
    return sheet


@transaction.atomic
def answer_questions(sheet: Sheet, given: Mapping[str, Given], *, by: User) -> list[Answer]:
    """Take these answers, all or none; those without anything in them withdraw the answer.

    Raises AnswersRefusedError, which names each question that is unknown or wrongly answered.
    """
    questions, faults = _known(sheet, given)
    facts = Facts(sheet.dataset)
    written: dict[str, dict[str, Any]] = {}
    for key, question in questions.items():
        if not given[key].withdraws:
            try:
                written[key] = _fields(facts, question, given[key], by=by)
            except AnswerError as fault:
                faults.append(fault)
    if faults:
        raise AnswersRefusedError(faults)
    withdrawn = [key for key in questions if key not in written]
    if withdrawn:
        _withdraw(sheet, withdrawn, by=by)
    saved = [
        Answer.objects.update_or_create(sheet=sheet, question_id=key, defaults=fields)[0]
        for key, fields in written.items()
    ]
    if saved:
        record(
            events.DATASHEET_ANSWERED,
            by=by,
            resource=sheet.dataset.node,
            details={"kind": sheet.kind, "answers": [_reported(answer) for answer in saved]},
        )
    return saved


def answer_question(
    sheet: Sheet, question_id: str, value: Any, state: str = State.ANSWERED, *, by: User,
    reason: str = "",
) -> Answer:  # fmt: skip
    """Answer one question. Raises AnswersRefusedError."""
    (answer,) = answer_questions(sheet, {question_id: Given(value, state, reason)}, by=by)
    return answer


@transaction.atomic
def confirm_answer(sheet: Sheet, question_id: str, *, by: User) -> Answer:
    """A person stands for the answer, and it is bound to what is measured now.

    Where nobody answered, the computed draft becomes the answer. Raises AnswersRefusedError when
    there is nothing to confirm.
    """
    questions, faults = _known(sheet, [question_id])
    if faults:
        raise AnswersRefusedError(faults)
    question = questions[question_id]
    answer = Answer.objects.select_for_update().filter(sheet=sheet, question_id=question_id).first()
    finding = finding_of(Facts(sheet.dataset), question_id)
    if answer is None and finding is not None and question.fill == "assisted":
        value = adopted(question, finding.value)
        return answer_question(sheet, question_id, value, State.CONFIRMED, by=by)
    if answer is None or answer.value is None:
        raise AnswersRefusedError(
            [AnswerError(question_id, "There is no answer to confirm.", "Answer it first.")]
        )
    answer.state, answer.confirmed_by, answer.confirmed_at = State.CONFIRMED, by, timezone.now()
    answer.evidence_digest = finding.digest if finding else ""
    answer.digest = _digest(answer.question_id, _content(answer), answer.salt)
    answer.save()
    record(
        events.DATASHEET_CONFIRMED,
        by=by,
        resource=sheet.dataset.node,
        details={
            "kind": sheet.kind,
            "question": question_id,
            "sha256": answer.digest,
            "evidence_sha256": answer.evidence_digest,
        },
    )
    return answer


@transaction.atomic
def issue_document(dataset: Dataset, document: Mapping[str, Any], *, by: User) -> str:
    """Bind the document, as JSON, to the log by its digest. Returns the event's id."""
    return record(
        events.DATASHEET_ISSUED,
        by=by,
        resource=dataset.node,
        resource_version=(document["version"] or {}).get("version", ""),
        details={
            "kind": document["kind"],
            "percent": document["completeness"]["percent"],
            "statement_sha256": statement_digest(document),
        },
    )


@transaction.atomic
def note_export(dataset: Dataset, format_name: str, data: bytes, *, by: User) -> None:
    """Record that the document left in this form: by whom, and the digest of what they got."""
    record(
        events.DATASHEET_EXPORTED,
        by=by,
        resource=dataset.node,
        details={
            "kind": kind_of(dataset),
            "format": format_name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        },
    )


@transaction.atomic
def ask_for_profile(version: Version, *, by: User) -> Profile:
    """A profile of this version is due. The row is the queue: the sweep measures what is due."""
    profile, made = Profile.objects.get_or_create(version=version)
    if not made and profile.state == Profile.State.FAILED:
        profile.state, profile.attempts, profile.failure = Profile.State.DUE, 0, ""
        profile.save()
        made = True
    if made:
        record(
            events.PROFILE_ASKED,
            by=by,
            resource=version.dataset.node,
            resource_version=version.version,
        )
    return profile


def measure_profile(profile_id: int, *, by: User) -> bool:
    """Measure one due profile; False if another worker has it or nothing is due.

    Reading the store happens outside any transaction: it may take minutes.
    """
    if not _claim(profile_id):
        return False
    profile = Profile.objects.select_related("version__dataset__connector").get(pk=profile_id)
    connector = profile.version.dataset.connector
    try:
        if connector is None:
            raise StoreError("No store is connected to this dataset any more.")
        body = _plain(open_store(connector, role="reader").profile(profile.version.version))
    except StoreError as exc:
        _failed(profile, str(exc))
        return False
    _measured(profile, body, by=by)
    return True


def _claim(profile_id: int) -> bool:
    """Conditional update: of two workers only one gets the row; a dead worker's lease runs out."""
    now = timezone.now()
    free = Q(claimed_at=None) | Q(claimed_at__lt=now - LEASE)
    return bool(
        Profile.objects.filter(free, pk=profile_id, state=Profile.State.DUE).update(claimed_at=now)
    )


@transaction.atomic
def _measured(profile: Profile, body: dict[str, Any], *, by: User) -> None:
    digest = digest_of(body)
    Profile.objects.filter(pk=profile.pk).update(
        state=Profile.State.DONE, body=body, digest=digest, failure="",
        measured_at=timezone.now(), claimed_at=None,
    )  # fmt: skip
    record(
        events.PROFILE_MEASURED,
        by=by,
        resource=profile.version.dataset.node,
        resource_version=profile.version.version,
        details={
            "sha256": digest,
            "rows": body.get("rows"),
            "columns": len(body["columns"]),
            "duplicates": body.get("duplicates"),
        },
    )


@transaction.atomic
def _failed(profile: Profile, failure: str) -> None:
    attempts = profile.attempts + 1
    given_up = attempts >= MAX_ATTEMPTS
    Profile.objects.filter(pk=profile.pk).update(
        state=Profile.State.FAILED if given_up else Profile.State.DUE,
        attempts=attempts, failure=failure[:500], claimed_at=None,
    )  # fmt: skip


def _plain(profile: Mapping[str, Any]) -> dict[str, Any]:
    """The profile as JSON; what an adapter gives besides (dates, tuples) as text and lists."""
    plain: dict[str, Any] = orjson.loads(orjson.dumps(dict(profile), default=str))
    return plain


def _known(sheet: Sheet, keys: Any) -> tuple[dict[str, Question], list[AnswerError]]:
    known = catalogue(kind_of(sheet.dataset)).questions
    unknown = [
        AnswerError(
            key[:100],
            f"There is no question {key[:100]!r} in a {sheet.get_kind_display().lower()}.",
            "GET the document: it lists every question's id.",
        )
        for key in keys
        if key not in known
    ]
    return {key: known[key] for key in keys if key in known}, unknown


def _fields(facts: Facts, question: Question, given: Given, *, by: User) -> dict[str, Any]:
    """The columns of the answer's row. Raises AnswerError."""
    state, reason = _state(question, given), given.reason.strip()
    now = timezone.now()
    value: Value = None
    if state in Answer.WITH_VALUE:
        value = parsed(question, given.value)
    elif not reason:
        raise AnswerError(
            question.id,
            f"The state {state} needs a reason.",
            'Send "reason": why it is so.',
        )
    if len(reason) > 2000:
        raise AnswerError(question.id, "The reason is longer than 2,000 characters.", "Shorten it.")
    finding = finding_of(facts, question.id)
    salt, confirmed = secrets.token_hex(16), state == State.CONFIRMED
    content = {"state": state, "value": value, "reason": reason}
    return {
        **content,
        "author": by,
        "answered_at": now,
        "confirmed_by": by if confirmed else None,
        "confirmed_at": now if confirmed else None,
        "evidence_digest": finding.digest if finding else "",
        "salt": salt,
        "digest": _digest(question.id, content, salt),
    }


def _state(question: Question, given: Given) -> str:
    if given.state and given.state not in State.values:
        raise AnswerError(
            question.id,
            f"{given.state[:40]!r} is no state of an answer.",
            f"Use one of {', '.join(State.values)}.",
        )
    if not given.state and given.value is None:
        return State.UNKNOWN
    return given.state or State.ANSWERED


def _content(answer: Answer) -> dict[str, Any]:
    return {"state": answer.state, "value": answer.value, "reason": answer.reason}


def _digest(question_id: str, content: Mapping[str, Any], salt: str) -> str:
    return answer_digest(question_id=question_id, salt=salt, **content)


def _reported(answer: Answer) -> dict[str, str]:
    return {"question": answer.question_id, "state": answer.state, "sha256": answer.digest}


def _withdraw(sheet: Sheet, keys: list[str], *, by: User) -> None:
    _, deleted = Answer.objects.filter(sheet=sheet, question_id__in=keys).delete()
    if deleted:
        record(
            events.DATASHEET_ANSWER_WITHDRAWN,
            by=by,
            resource=sheet.dataset.node,
            details={"kind": sheet.kind, "questions": sorted(keys)},
        )
