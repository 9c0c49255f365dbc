"""JSON Lines: an object a line, and rows that are ranges of bytes."""

import itertools
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from connectors.formats.formats import Values
from connectors.formats.lines import Encoding, Range, encoding_of, open_lines
from connectors.formats.textfile import TextFile

_SAMPLED_ROWS = 1000


class JsonLinesFile(TextFile):
    def _at(self, location: Path) -> "JsonLinesFile":
        return JsonLinesFile(location, self.name)

    @cached_property
    def _encoding(self) -> Encoding:
        return encoding_of(self.location, "utf-8")

    def columns(self) -> Sequence[tuple[str, str]]:
        """Of the first thousand rows: a key that comes later is found all the same."""
        kinds: dict[str, set[str]] = {}
        with self._faults_named():
            for _, row in itertools.islice(self._objects(), _SAMPLED_ROWS):
                for key, value in row.items():
                    kinds.setdefault(key, set()).add(_kind(value))
        return [(key, "|".join(sorted(found - {"null"})) or "null") for key, found in kinds.items()]

    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[Range, Values]]:
        for place, row in self._objects():
            yield place, tuple(list(values_at(row, column)) for column in columns)

    def _objects(self) -> Iterator[tuple[Range, dict[str, Any]]]:
        with open_lines(self.location, self._encoding, newline="\n") as lines:
            start = lines.end
            for line in lines:
                if line.strip():
                    try:
                        row = json.loads(line)
                    except (ValueError, RecursionError) as exc:
                        # Its message would quote what the line says.
                        raise self._broken(lines, "it is not JSON") from exc
                    if not isinstance(row, dict):
                        raise self._broken(lines, "it is no JSON object")
                    yield (start, lines.end), row
                start = lines.end


def values_at(value: Any, path: str) -> Iterator[Any]:
    """The values that a path names ("email", "account.email"), in each element of lists."""
    if isinstance(value, list):
        for item in value:
            yield from values_at(item, path)
    elif isinstance(value, dict):
        if path in value:
            yield from _flat(value[path])
            return
        first, dot, rest = path.partition(".")
        if dot and first in value:
            yield from values_at(value[first], rest)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    elif value is not None:
        yield value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "long"), (float, "double"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "array" if isinstance(value, list) else "struct"
