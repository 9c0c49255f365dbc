"""A datasheet or model card as it reads now: answers, computed values, states, completeness."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from datasheets.catalog import DATASHEET, MODEL_CARD, Catalogue, Kind, Question, catalogue
from datasheets.guide import DataSheet
from datasheets.models import Answer
from datasheets.queries.content_findings import CONTENT
from datasheets.queries.facts import Facts
from datasheets.queries.findings import Finding
from datasheets.queries.governance_findings import GOVERNANCE
from datasheets.queries.model_findings import MODEL
from datasheets.values import Value, adopted, as_markdown
from lineage.models import Dataset, Version

_FINDERS = {DATASHEET: CONTENT | GOVERNANCE, MODEL_CARD: MODEL}
# What rests on people's knowledge is asked again after a year. A proposal, like the weights.
REVIEW_AFTER = timedelta(days=365)


class Status(StrEnum):
    """How an answer stands now."""

    UNANSWERED = "unanswered"
    DRAFT = "draft"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    NOT_APPLICABLE = "not_applicable"
    UNKNOWN = "unknown"
    STALE = "stale"
    MEASURED = "measured"


COMPLETE = frozenset({Status.CONFIRMED, Status.NOT_APPLICABLE, Status.MEASURED})


@dataclass(frozen=True)
class Entry:
    """One question with what is known of it."""

    question: Question
    answer: Answer | None
    finding: Finding | None
    applies: bool
    at: datetime

    @cached_property
    def stale_because(self) -> str:
        """Why an answer that was given no longer stands; "" if it does."""
        if self.answer is None or self.answer.state == Answer.State.DRAFT:
            return ""
        given = self.answer.confirmed_at or self.answer.answered_at
        if self.question.fill != "auto":
            now = self.finding.digest if self.finding else ""
            if now != self.answer.evidence_digest:
                if not self.answer.evidence_digest:
                    return "It has been measured since, for the first time."
                return "What it rests on has changed since."
        if "review_due" in self.question.stale_when and self.at - given > REVIEW_AFTER:
            return "It is more than a year old: review it."
        return ""

    @cached_property
    def status(self) -> Status:
        if not self.applies:
            return Status.NOT_APPLICABLE
        if self.question.fill == "auto" and self.finding and self.finding.complete:
            return Status.MEASURED
        if self.answer is None:
            return Status.DRAFT if self.finding else Status.UNANSWERED
        if self.stale_because:
            return Status.STALE
        return Status(self.answer.state)

    @property
    def is_measured(self) -> bool:
        """Whether the computed value is the answer; a person's is a note beside it then."""
        return self.status == Status.MEASURED

    @property
    def value(self) -> Value:
        """What the document states, in a form of `datasheets.values`; None: not stated."""
        if self.is_measured:
            return self.finding.value if self.finding else None
        stated = (Answer.State.ANSWERED, Answer.State.CONFIRMED)
        if self.applies and self.answer and self.answer.state in stated:
            return self.answer.value
        return None

    @property
    def answer_markdown(self) -> str:
        """The person's own words; "" if nobody gave any."""
        if self.answer is None or self.answer.value is None:
            return ""
        return as_markdown(self.answer.value)

    @property
    def computed_label(self) -> str:
        """What to call the computed value beside the answer; "" if it need not be shown."""
        if self.finding is None or self.is_measured or not self.applies:
            return ""
        if self.answer and self.answer.value == adopted(self.question, self.finding.value):
            return ""
        return "Computed now" if self.answer else "Computed, not confirmed by anybody"

    @property
    def can_be_confirmed(self) -> bool:
        if self.is_measured or not self.applies:
            return False
        if self.answer is None:
            return self.finding is not None and self.question.fill == "assisted"
        return self.answer.state in (Answer.State.ANSWERED, Answer.State.DRAFT) or (
            self.answer.state == Answer.State.CONFIRMED and bool(self.stale_because)
        )


@dataclass(frozen=True)
class Completeness:
    """By weight, of what applies: done (confirmed, measured, not applicable) out of all."""

    done: int
    weight: int
    answered: int  # weight of what was answered and nobody has confirmed
    stale: int
    counts: Mapping[str, int]  # questions by status

    @property
    def percent(self) -> int:
        """Rounded down: 100 only when nothing is missing."""
        return 100 * self.done // self.weight if self.weight else 0

    @property
    def answered_percent(self) -> int:
        return 100 * self.answered // self.weight if self.weight else 0


@dataclass(frozen=True)
class SectionView:
    key: str
    title: str
    entries: tuple[Entry, ...]

    @property
    def done(self) -> int:
        return sum(1 for e in self.entries if e.status in COMPLETE)

    @property
    def open(self) -> list[Entry]:
        """What nobody stated and nothing was computed for, though it applies."""
        return [e for e in self.entries if e.status == Status.UNANSWERED]

    @property
    def skipped(self) -> list[Entry]:
        return [e for e in self.entries if not e.applies]


@dataclass(frozen=True)
class SheetView:
    """The whole document, as of `at`."""

    kind: Kind
    dataset: Dataset
    current: Version | None
    at: datetime
    entries: Mapping[str, Entry]

    @property
    def catalogue(self) -> Catalogue:
        return catalogue(self.kind)

    @property
    def title(self) -> str:
        return self.dataset.title or self.dataset.name

    @property
    def name(self) -> str:
        return "Datasheet" if self.kind == DATASHEET else "Model card"

    @property
    def sections(self) -> list[SectionView]:
        return [
            SectionView(
                section.key,
                section.title,
                tuple(self.entries[q.id] for q in self.catalogue.in_section(section.key)),
            )
            for section in self.catalogue.sections
        ]

    @cached_property
    def completeness(self) -> Completeness:
        """sum(weight of confirmed, not applicable, measured) / sum(weight of all that applies)."""
        by_status: dict[Status, list[Entry]] = {status: [] for status in Status}
        for entry in self.entries.values():
            by_status[entry.status].append(entry)
        weights = {s: sum(e.question.weight for e in es) for s, es in by_status.items()}
        # Out of scope by another answer: neither done nor missing.
        skipped = sum(e.question.weight for e in self.entries.values() if not e.applies)
        return Completeness(
            done=sum(weights[s] for s in COMPLETE) - skipped,
            weight=sum(weights.values()) - skipped,
            answered=weights[Status.ANSWERED],
            stale=weights[Status.STALE],
            counts={s.value: len(es) for s, es in by_status.items() if es},
        )

    @cached_property
    def guide(self) -> DataSheet:
        """The twenty fields of the guide's DataSheet; None where nothing is stated."""
        fields = self.catalogue.guide_fields
        return DataSheet(**{f: _guide_value(f, self.entries[q]) for f, q in fields.items()})


def sheet_view(dataset: Dataset) -> SheetView:
    """The document of this dataset or model, whether or not anybody answered anything yet."""
    kind = kind_of(dataset)
    facts = Facts(dataset)
    findings = _FINDERS[kind].all_of(facts)
    answers = {
        answer.question_id: answer
        for answer in Answer.objects.filter(sheet__dataset=dataset, sheet__kind=kind)
        .select_related("author", "confirmed_by")
        .order_by("pk")
    }
    return SheetView(
        kind=kind,
        dataset=dataset,
        current=facts.current,
        at=facts.at,
        entries={
            q.id: Entry(
                question=q,
                answer=answers.get(q.id),
                finding=findings.get(q.id),
                applies=_applies(q, answers, findings),
                at=facts.at,
            )
            for q in catalogue(kind).questions.values()
        },
    )


def finding_of(facts: Facts, question_id: str) -> Finding | None:
    """What is computed for one question now."""
    return _FINDERS[kind_of(facts.dataset)].one_of(question_id, facts)


def kind_of(dataset: Dataset) -> Kind:
    return MODEL_CARD if dataset.is_model else DATASHEET


def _said(question_id: str, answers: Mapping[str, Answer]) -> Any:
    """The word of a yes-no or choice answer; None if nobody chose one."""
    found = answers.get(question_id)
    value = found.value if found and found.state != Answer.State.DRAFT else None
    return value.get("answer") if isinstance(value, dict) else None


def _applies(
    question: Question, answers: Mapping[str, Answer], findings: Mapping[str, Finding]
) -> bool:
    """Only an answer that somebody gave takes a question away: unknown is not No.

    A question that somebody answered all the same stays.
    """
    given = answers.get(question.id)
    if given is not None and given.value is not None:
        return True
    condition = question.applies_if
    if condition == "relates_to_people == true":
        return _relates_to_people(answers, findings)
    if condition == "is_sample == true":
        return _said("ds.composition.is_sample", answers) is not False
    if condition == "consent in [all, some]":
        return _said("ds.collection.consent", answers) not in ("none", "not_applicable")
    return True


def _relates_to_people(answers: Mapping[str, Answer], findings: Mapping[str, Finding]) -> bool:
    """No only if somebody said so; where an identifier was found, only with a reason."""
    gate = "dsx.gate.relates_to_people"
    if _said(gate, answers) is not False:
        return True
    value = answers[gate].value or {}
    return gate in findings and not value.get("text")


def _guide_value(name: str, entry: Entry) -> Any:
    """A field of the guide's dataclass, in the type that it declares."""
    value, declared = entry.value, DataSheet.__annotations__[name]
    if value is None:
        return None
    if declared == (bool | None):
        if not isinstance(value, dict):
            return None
        return {True: True, False: False, "all": True, "none": False}.get(value.get("answer"))
    if declared == (int | None):
        return value.get("rows") if isinstance(value, dict) else _whole(value)
    if declared == (str | None):
        return _one_text(value)
    return _texts(value)


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and value.isdecimal() else None


def _one_text(value: Value) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        word = {True: "Yes", False: "No", None: ""}.get(value["answer"], str(value["answer"]))
        return ". ".join(part for part in (word, value["text"]) if part)
    return str(value)


def _texts(value: Value) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    if isinstance(value, dict) and "columns" in value:
        return [": ".join(str(c) for c in row[:2] if c) for row in value["rows"]]
    return [_one_text(value)]
