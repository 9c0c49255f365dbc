"""The questions of one section as a form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.forms.boundfield import BoundField

from datasheets.actions import Given
from datasheets.catalog import Question
from datasheets.models import Answer
from datasheets.queries.sheets import Entry, SectionView
from datasheets.values import MAX_CHARACTERS, AnswerError

State = Answer.State
_YES_NO = [("", "Not said"), ("yes", "Yes"), ("no", "No")]
_BOOLEANS = {"yes": True, "no": False}
_STATES = [
    ("", "No answer"),
    (State.DRAFT, "Draft"),
    (State.ANSWERED, "Answered"),
    (State.CONFIRMED, "Answered, and I confirm it"),
    (State.UNKNOWN, "Unknown, because …"),
    (State.NOT_APPLICABLE, "Does not apply, because …"),
]


@dataclass(frozen=True)
class Group:
    """One question's fields, for the template."""

    entry: Entry
    fields: tuple[BoundField, ...]
    seen: BoundField

    @property
    def has_errors(self) -> bool:
        return any(field.errors for field in self.fields)


class SectionForm(forms.Form):
    """Only what was changed here is saved; what somebody else changed meanwhile is refused."""

    def __init__(self, section: SectionView, *args: Any, **kwargs: Any) -> None:
        self.section = section
        super().__init__(*args, **kwargs)
        for entry in section.entries:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        question, answer = entry.question, entry.answer
        said, text = _shown(question, answer.value if answer else None)
        key = question.id
        if question.shape in ("yes_no", "choice"):
            self.fields[f"{key}:answer"] = forms.ChoiceField(
                label="In a word", choices=_choices(question), required=False, initial=said
            )
        self.fields[f"{key}:text"] = forms.CharField(
            label="Note" if entry.is_measured else "Answer",
            help_text="One item a line." if question.shape == "list" else "Markdown.",
            required=False,
            max_length=MAX_CHARACTERS,
            initial=text or (answer.reason if answer else ""),
            widget=forms.Textarea(attrs={"rows": 3}),
        )
        self.fields[f"{key}:state"] = forms.ChoiceField(
            label="State", choices=_STATES, required=False, initial=answer.state if answer else ""
        )
        self.fields[f"{key}:seen"] = forms.CharField(
            required=False,
            initial=answer.digest if answer else "",
            widget=forms.HiddenInput,
        )

    @property
    def groups(self) -> list[Group]:
        return [
            Group(
                entry,
                tuple(
                    self[name]
                    for part in ("answer", "text", "state")
                    if (name := f"{entry.question.id}:{part}") in self.fields
                ),
                self[f"{entry.question.id}:seen"],
            )
            for entry in self.section.entries
        ]

    def clean(self) -> dict[str, Any]:
        super().clean()
        data: dict[str, Any] = self.cleaned_data
        for entry in self.section.entries:
            key = entry.question.id
            if self._changed(key) and data.get(f"{key}:seen", "") != _digest(entry):
                self.add_error(
                    f"{key}:text",
                    "Somebody else has answered this meanwhile. Load the page again, then change"
                    " their answer if you must.",
                )
        return data

    def _changed(self, key: str) -> bool:
        return any(f"{key}:{part}" in self.changed_data for part in ("answer", "text", "state"))

    def given(self) -> Mapping[str, Given]:
        """The answers that were changed here, by question."""
        return {
            entry.question.id: self._given(entry.question)
            for entry in self.section.entries
            if self._changed(entry.question.id)
        }

    def _given(self, question: Question) -> Given:
        data, key = self.cleaned_data, question.id
        text, said = data[f"{key}:text"], data.get(f"{key}:answer", "")
        state = data[f"{key}:state"]
        if state in Answer.WITH_REASON:
            return Given(state=state, reason=text)
        emptied = not text and not said and not state
        taken_back = not state and f"{key}:state" in self.changed_data
        if emptied or taken_back:
            return Given()
        return Given(value=_value(question, said, text), state=state or State.ANSWERED)

    def add_fault(self, fault: AnswerError) -> None:
        name = f"{fault.question_id}:text"
        self.add_error(name if name in self.fields else None, f"{fault.reason} {fault.fix}".strip())


def _digest(entry: Entry) -> str:
    return entry.answer.digest if entry.answer else ""


def _choices(question: Question) -> list[tuple[str, str]]:
    if question.shape == "yes_no":
        return _YES_NO
    return [("", "Not said"), *((o, o.replace("_", " ").capitalize()) for o in question.options)]


def _shown(question: Question, value: Any) -> tuple[str, str]:
    """(word, text) of a stored value, as the form's fields hold them."""
    if isinstance(value, dict):
        word = value["answer"]
        said = {True: "yes", False: "no", None: ""}.get(word)
        return str(word) if said is None else said, value["text"]
    if isinstance(value, list):
        return "", "\n".join(" ".join(item.splitlines()) for item in value)
    return "", value or ""


def _value(question: Question, said: str, text: str) -> Any:
    if question.shape == "list":
        return [line for line in text.splitlines() if line.strip()]
    if question.shape == "yes_no":
        return {"answer": _BOOLEANS.get(said), "text": text}
    if question.shape == "choice":
        return {"answer": said or None, "text": text}
    return text
