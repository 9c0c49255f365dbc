"""CSV and its relatives: a header, and rows that are ranges of bytes."""

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from connectors.adapters.base import StoreError
from connectors.formats.formats import Values
from connectors.formats.lines import (
    Encoding,
    Range,
    TextLines,
    encoding_of,
    open_lines,
)
from connectors.formats.textfile import TextFile

_DELIMITERS = ",;\t|"
_QUOTES = "\"'"
# A text may be long; without any bound, one stray quote would read the rest of the file as one.
csv.field_size_limit(1 << 24)


@dataclass(frozen=True)
class Dialect:
    """What options say about CSV files; what is empty is found out from each file's header."""

    delimiter: str = ""
    quote: str = ""
    escape: str = ""
    encoding: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Dialect":
        """Raises ValueError for a value that is no such thing."""
        given = {name: str(options.get(name, "")) for name in cls.__dataclass_fields__}
        for name in ("delimiter", "quote", "escape"):
            if len(given[name]) > 1:
                raise ValueError(f'"{name}" is one character, not "{given[name]}"')
        return cls(**given)


class DelimitedFile(TextFile):
    """`wanted`: names of columns one of which the header is expected to have."""

    def __init__(
        self, location: Path, name: str, dialect: Dialect, wanted: Sequence[str] = ()
    ) -> None:
        super().__init__(location, name)
        self.dialect = dialect
        self.wanted = {w.split(".")[0] for w in wanted} | set(wanted)

    def _at(self, location: Path) -> "DelimitedFile":
        # Read as the source is, also where too little is left to find it out again.
        other = DelimitedFile(location, self.name, self.dialect, tuple(self.wanted))
        other.__dict__.update(_encoding=self._encoding, _format=self._format)
        return other

    @cached_property
    def _encoding(self) -> Encoding:
        return encoding_of(self.location, self.dialect.encoding)

    def _opened(self) -> AbstractContextManager[TextLines]:
        return open_lines(self.location, self._encoding, newline="")

    @cached_property
    def _format(self) -> dict[str, Any]:
        """The arguments of `csv.reader`."""
        with self._faults_named(), self._opened() as opened:
            lines = list(itertools.islice(opened, 50))
        first = lines[0] if lines else ""
        quote = self.dialect.quote or (first[0] if first[:1] in [*_QUOTES] else '"')
        fixed: dict[str, Any] = {"quotechar": quote, "strict": True}
        if self.dialect.escape:
            fixed |= {"escapechar": self.dialect.escape, "doublequote": False}
        if self.dialect.delimiter:
            return fixed | {"delimiter": self.dialect.delimiter}
        choices = [fixed | {"delimiter": d} for d in self._likely_delimiters()]
        return max(choices, key=lambda choice: self._fitness(lines, choice))

    def _likely_delimiters(self) -> str:
        tabs_first = ".tsv" in self.location.name.lower()
        return "\t" + _DELIMITERS.replace("\t", "") if tabs_first else _DELIMITERS

    def _fitness(self, lines: Sequence[str], arguments: Mapping[str, Any]) -> tuple[int, int]:
        """How well a delimiter fits: wanted columns in the header, then the number of columns."""
        try:
            header = next(csv.reader(lines, **arguments), [])
        except csv.Error:
            return (0, 0)
        names = [h.strip() for h in header]
        return sum(n in self.wanted for n in names), len(names)

    @cached_property
    def _header(self) -> tuple[str, ...]:
        with self._faults_named(), self._opened() as lines:
            try:
                header = next(csv.reader(lines, **self._format), None)
            except csv.Error as exc:
                raise self._broken(lines, str(exc)) from exc
        if header is None:
            return ()  # an empty file holds nobody
        names = tuple(name.strip() for name in header)
        if not any(names):
            raise StoreError(
                f"The file {self.name} has no header. Its first line must name its columns."
            )
        return names

    def columns(self) -> Sequence[tuple[str, str]]:
        return [(name, "string") for name in dict.fromkeys(self._header)]

    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[Range, Values]]:
        header = self._header
        # A name that stands twice means both columns.
        places = [[i for i, name in enumerate(header) if name == column] for column in columns]
        width = len(header)
        with self._opened() as lines:
            reader = csv.reader(lines, **self._format)
            try:
                next(reader, None)
                start = lines.end
                for row in reader:
                    if len(row) == width:
                        yield (
                            (start, lines.end),
                            tuple([[row[i].strip() for i in p if row[i]] for p in places]),
                        )
                    elif row:  # an empty line is no row
                        why = f"it has {len(row)} fields, and the header {width}"
                        raise self._broken(lines, why)
                    start = lines.end
            except csv.Error as exc:
                raise self._broken(lines, str(exc)) from exc
