"""How an answer is written down, read and printed.

A question has one of four shapes, and its value one JSON form:

    text    "Markdown", or ["several", "of them"]
    list    ["Markdown", …]
    yes_no  {"answer": true | false | null, "text": "Markdown"}; null says neither yes nor no
    choice  {"answer": "one of the options" | null, "text": "Markdown"}

What is computed has the same forms, and two more: {"rows": 48211} (counts by name) and
{"columns": ["…"], "rows": [["…"]]} (a table); its texts are plain, not Markdown.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from audit.ledger import canonical
from datasheets.catalog import Question

Value = Any  # one of the JSON forms above

MAX_CHARACTERS = 20_000
MAX_ITEMS = 500
_MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_LEADING_SIGNS = re.compile(r"^(\s*)([-+=]|\d+[.)])(?=\s|$)", re.MULTILINE)
_BEGINS_PLAIN = re.compile(r"(?![-+*]\s|\d+[.)]\s|[#>|`~]|\s)")  # a paragraph, no list or table
_WORDS = {True: "Yes", False: "No"}


class AnswerError(ValueError):
    """The answer to a question cannot be taken; says which, what is wrong, and what fits."""

    def __init__(self, question_id: str, reason: str, fix: str = "") -> None:
        super().__init__(f"{question_id}: {reason} {fix}".strip())
        self.question_id, self.reason, self.fix = question_id, reason, fix


def parsed(question: Question, given: Any) -> Value:
    """The JSON form of what was given: a bare text, list or true/false is taken too.

    Raises AnswerError.
    """
    value = {"text": _text_value, "list": _list_value, "yes_no": _yes_no, "choice": _choice}[
        question.shape
    ](question, given)
    if not is_stated(value):
        raise AnswerError(
            question.id,
            "The answer is empty.",
            "Write one, or give the state unknown or not_applicable with a reason.",
        )
    return value


def _text(question: Question, given: Any) -> str:
    if not isinstance(given, str):
        raise AnswerError(
            question.id, f"This takes a text, not {_name_of(given)}.", 'Send "value": "…".'
        )
    if len(given) > MAX_CHARACTERS:
        raise AnswerError(
            question.id,
            f"The text has {len(given):,} characters.",
            f"Shorten it to {MAX_CHARACTERS:,} or link to a document.",
        )
    if "\0" in given:
        raise AnswerError(question.id, "The text holds a NUL character.", "Remove it.")
    return given.replace("\r\n", "\n").strip()


def _items(question: Question, given: Sequence[Any]) -> list[str]:
    if len(given) > MAX_ITEMS:
        raise AnswerError(
            question.id, f"The list has {len(given):,} items.", f"Send at most {MAX_ITEMS}."
        )
    return [text for item in given if (text := _text(question, item))]


def _text_value(question: Question, given: Any) -> Value:
    if isinstance(given, list):
        return _items(question, given)
    if isinstance(given, int | float) and not isinstance(given, bool):
        return str(given)
    return _text(question, given)


def _list_value(question: Question, given: Any) -> Value:
    return _items(question, given if isinstance(given, list) else [given])


def _yes_no(question: Question, given: Any) -> Value:
    if given is None or isinstance(given, bool):
        return {"answer": given, "text": ""}
    if isinstance(given, str):
        return {"answer": None, "text": _text(question, given)}
    answer, text = _parts(question, given)
    if answer is not None and not isinstance(answer, bool):
        raise AnswerError(question.id, f'"answer" is {answer!r}.', "Use true, false or null.")
    return {"answer": answer, "text": text}


def _choice(question: Question, given: Any) -> Value:
    if isinstance(given, str):
        known = given in question.options
        return {
            "answer": given if known else None,
            "text": "" if known else _text(question, given),
        }
    answer, text = _parts(question, given)
    if answer is not None and answer not in question.options:
        raise AnswerError(
            question.id, f'"answer" is {answer!r}.', f"Use one of {', '.join(question.options)}."
        )
    return {"answer": answer, "text": text}


def _parts(question: Question, given: Any) -> tuple[Any, str]:
    if not isinstance(given, Mapping) or not set(given) <= {"answer", "text"}:
        raise AnswerError(
            question.id,
            f"This takes an answer and a text, not {_name_of(given)}.",
            'Send "value": {"answer": …, "text": "…"}.',
        )
    return given.get("answer"), _text(question, given.get("text") or "")


def _name_of(given: Any) -> str:
    names: dict[type, str] = {
        dict: "an object", list: "a list", bool: "true or false", int: "a number",
        float: "a number", type(None): "nothing",
    }  # fmt: skip
    return names.get(type(given), "this")


def is_stated(value: Value) -> bool:
    """Whether the value says anything."""
    if isinstance(value, Mapping) and "answer" in value:
        return value["answer"] is not None or bool(value["text"])
    return value not in (None, "", [], {})


def escaped(text: str) -> str:
    """Plain text as Markdown that shows it as it is."""
    safe = _MARKDOWN_SIGNS.sub(r"\\\1", text)
    return _LEADING_SIGNS.sub(lambda m: f"{m[1]}{m[2][:-1]}\\{m[2][-1]}", safe)


def as_markdown(value: Value, *, plain: bool = False) -> str:
    """The value for people. `plain`: its texts are not Markdown (computed values)."""
    written = escaped if plain else str
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(f"- {_indented(written(str(item)))}" for item in value)
    if not isinstance(value, Mapping):
        return written(str(value))
    if "columns" in value:
        return _table(value["columns"], value["rows"])
    if "answer" in value:
        head = _WORDS.get(value["answer"], value["answer"])
        word = f"**{str(head).replace('_', ' ').capitalize()}.**" if head is not None else ""
        text = written(value["text"])
        return (" " if _BEGINS_PLAIN.match(text) else "\n\n").join(p for p in (word, text) if p)
    counts = [f"{_number(n)} {escaped(str(name))}" for name, n in value.items()]
    return counts[0] if len(counts) == 1 else "\n".join(f"- {text}" for text in counts)


def adopted(question: Question, computed: Value) -> Value:
    """A computed value as a person's answer: its plain texts become Markdown."""
    if question.shape == "list":
        if isinstance(computed, list):
            return [escaped(str(item)) for item in computed]
        return [as_markdown(computed, plain=True)]
    if isinstance(computed, dict) and "answer" in computed and question.shape != "text":
        return {"answer": computed["answer"], "text": escaped(computed["text"])}
    written = as_markdown(computed, plain=True)
    return written if question.shape == "text" else {"answer": None, "text": written}


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _number(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole else escaped(str(value))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        shown = ["" if c is None else _number(c).replace("\n", " ") for c in cells]
        return f"| {' | '.join(shown)} |"

    numeric = [
        any(row[i] is not None for row in rows) and all(_counts(row[i]) for row in rows)
        for i in range(len(columns))
    ]
    rule = f"| {' | '.join('---:' if n else '---' for n in numeric)} |"
    return "\n".join([line(columns), rule, *(line(row) for row in rows)])


def _counts(cell: Any) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def digest_of(facts: Any) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical.encode(facts)).hexdigest()


def answer_digest(*, question_id: str, state: str, value: Value, reason: str, salt: str) -> str:
    """How the log names an answer. Whoever has the answer and its salt can compute it again."""
    return digest_of(
        {"question": question_id, "state": state, "value": value, "reason": reason, "salt": salt}
    )
