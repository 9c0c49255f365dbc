"""What was computed for a question, with the evidence that it rests on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from datasheets.queries.facts import Facts
from datasheets.values import Value, as_markdown, digest_of
from lineage.models import REWRITTEN_AS, Version

MAX_ROWS = 60  # a document says "and 12 more"; the whole list is on the pages of lineage


@dataclass(frozen=True)
class Evidence:
    """What somebody can look up: a version, entries of the log. `seq`: the entry to begin with."""

    text: str
    version_id: int | None = None
    seq: int | None = None
    joint: str = "entry"

    @property
    def label(self) -> str:
        return self.text if self.seq is None else f"{self.text}, {self.joint} {self.seq:,}"


@dataclass(frozen=True)
class Finding:
    """A computed value. Its texts are plain, not Markdown.

    `basis` is what the answer of a person is bound to: when it changes, the answer is stale. It
    leaves out what may change without making the answer wrong, such as the number of a run.
    `complete`: whether it answers an automatic question by itself.
    """

    value: Value
    basis: Any
    evidence: tuple[Evidence, ...] = ()
    complete: bool = True
    note: str = ""

    @cached_property
    def digest(self) -> str:
        return digest_of(self.basis)

    @property
    def markdown(self) -> str:
        return as_markdown(self.value, plain=True)


Finder = Callable[[Facts], Finding | None]


@dataclass
class Finders:
    """The finders of one kind of document, by the id of their question."""

    by_question: dict[str, Finder] = field(default_factory=dict)

    def finds(self, question_id: str) -> Callable[[Finder], Finder]:
        def keep(finder: Finder) -> Finder:
            self.by_question[question_id] = finder
            return finder

        return keep

    def __or__(self, other: "Finders") -> "Finders":
        return Finders(self.by_question | other.by_question)

    def all_of(self, facts: Facts) -> Mapping[str, Finding]:
        found = ((key, finder(facts)) for key, finder in self.by_question.items())
        return {key: finding for key, finding in found if finding is not None}

    def one_of(self, question_id: str, facts: Facts) -> Finding | None:
        finder = self.by_question.get(question_id)
        return finder(facts) if finder else None


def current_version_evidence(facts: Facts) -> tuple[Evidence, ...]:
    """The current version, and the log's first entry about it."""
    if facts.current is None:
        return ()
    known = facts.log_of_current
    text = f"{facts.dataset.name}, version {facts.current.version}"
    return (Evidence(text, version_id=facts.current.pk, seq=known.first),)


def log_evidence(facts: Facts) -> tuple[Evidence, ...]:
    """The entries of the dataset or model in the log."""
    log = facts.log
    if log.first is None:
        return ()
    if log.count == 1:
        return (Evidence("In the log", seq=log.first),)
    return (Evidence(f"{log.count:,} entries in the log", seq=log.first, joint="from entry"),)


def version_evidence(versions: Iterable[Version]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(f"{v.dataset.name}, version {v.version}", version_id=v.pk)
        for v in islice(versions, 5)
    )


def table(columns: list[str], rows: Iterable[list[Any]]) -> Value:
    """A table of at most MAX_ROWS rows, the last saying how many were left out."""
    kept = list(rows)
    if len(kept) > MAX_ROWS:
        left = len(kept) - MAX_ROWS
        kept = [*kept[:MAX_ROWS], [f"and {left:,} more", *[None] * (len(columns) - 1)]]
    return {"columns": columns, "rows": kept}


def day(moment: Any) -> str:
    return f"{moment.day} {moment:%b %Y}"


def gone(version: Version) -> str:
    """What became of a version that its store has no more under this name."""
    name = version.facts.get(REWRITTEN_AS)
    return f"{f'rewritten as {name}' if name else 'purged'} on {day(version.purged_at)}"


def share(part: int, whole: int) -> str:
    """A percentage that never rounds something to 0% or to 100%."""
    if not whole or part == 0:
        return "0%"
    if part == whole:
        return "100%"
    percent = 100 * part / whole
    if percent < 0.1:
        return "under 0.1%"
    return "over 99.9%" if percent > 99.9 else f"{percent:.1f}%"


_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def span(seconds: float) -> str:
    for size, unit in _SPANS:
        if seconds >= size:
            return counted(round(seconds / size), unit)
    return "less than a second"


def counted(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
