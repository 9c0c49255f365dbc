"""What a scan has seen so far."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from connectors.adapters.base import Trace
from connectors.scan.identifiers import Cut, Identifier, Identifiers, Path


@dataclass
class Record:
    """Collects traces. Neither `path` nor `where` in them ever holds an identifier."""

    identifiers: Identifiers
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    suspects: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)  # by prefix
    unreadable: dict[str, str] = field(default_factory=dict)
    control_found: bool = False

    def hits(
        self,
        found: Iterable[Identifier],
        path: str,
        where: str,
        *,
        count: int = 1,
        column: Path | None = None,
    ) -> None:
        """Note identifiers found in one place; `column`: the data column or partition key."""
        for identifier in found:
            if not identifier.control:
                self.counts[self.shown(path), self.shown(where)] += count
            elif column is not None and self.identifiers.is_control_column(column):
                self.control_found = True

    def cuts(self, found: Iterable[Cut], path: str, where: str, *, count: int = 1) -> None:
        for identifier, prefix in found:
            if not identifier.control:
                place = (self.shown(path), f"{self.shown(where)}, cut to {len(prefix)} characters")
                self.suspects.setdefault(prefix, Counter())[place] += count

    def fail(self, path: str, reason: str) -> None:
        self.unreadable.setdefault(self.shown(path), self.shown(reason))

    def take(self, other: "Record") -> None:
        """Add what was seen in another file."""
        self.counts.update(other.counts)
        for prefix, places in other.suspects.items():
            self.suspects.setdefault(prefix, Counter()).update(places)
        for path, why in other.unreadable.items():
            self.unreadable.setdefault(path, why)
        self.control_found = self.control_found or other.control_found

    def shown(self, text: str) -> str:
        """The text without any identifier that it holds."""
        for identifier in self.identifiers.sought:
            if identifier.distinctive:
                for form in identifier.spellings:
                    start = text.lower().find(form.lower())
                    while start >= 0:
                        text = f"{text[:start]}*{text[start + len(form) :]}"
                        start = text.lower().find(form.lower(), start + 1)
        return "/".join(self._shown_part(part) for part in text.split("/"))

    def _shown_part(self, part: str) -> str:
        key, equals, _ = part.partition("=")
        return f"{key}=*" if equals and self.identifiers.is_identity([key]) else part

    def traces(self, explained: set[str]) -> tuple[Trace, ...]:
        """The traces; cut values whose prefix a survivor shares are none."""
        total = Counter(self.counts)
        for prefix, places in self.suspects.items():
            if prefix not in explained:
                total.update(places)
        return tuple(Trace(path, where, n) for (path, where), n in sorted(total.items()))
