"""Identifiers in text: JSON documents, JSON lines, CSV, and anything else that is text."""

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import unquote

from connectors.scan.identifiers import Identifiers
from connectors.scan.record import Record

_MAX_DEPTH = 200
_CSV_SUFFIXES = (".csv", ".tsv", ".csv.tmp")
_BLOCK = 1 << 20
_DELIMITERS = ",;\t|"
_ESCAPED_LETTER = "\\u"
csv.field_size_limit(1 << 24)  # Python's 128 KB are less than some texts are long


def decoded(data: bytes) -> str | None:
    """The text that the bytes are; None when they are no text."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                return None
    if any(c in data for c in _NOT_TEXT):
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


_NOT_TEXT = [bytes([c]) for c in (*range(9), *range(14, 27), 28, 29, 30, 31)]


def scan_text(text: str, path: str, record: Record) -> None:
    """Note every identifier that the text holds."""
    is_csv = path.lower().rstrip("!").removesuffix(".gz").endswith(_CSV_SUFFIXES)
    if not is_csv and not _may_name(text, record.identifiers):
        return
    document = _json(text)
    if document is not None:
        scan_json(document, (), path, record)
        return
    if is_csv:
        _scan_csv(text, path, record)
    search = record.identifiers.without_control.in_texts
    for block in _blocks(text):
        promising = search.found(block.encode(errors="replace"))
        for line in block.splitlines():
            value = _json(line)
            if value is not None:
                scan_json(value, (), path, record)
            elif promising:
                _scan_line(line, path, "text", record)


def _may_name(text: str, identifiers: Identifiers) -> bool:
    """False where neither the text nor any document in it holds an identifier: they have to be as
    they were written, and JSON may write any letter as an escape."""
    return (
        not identifiers.are_verbatim_in_json
        or _ESCAPED_LETTER in text
        or identifiers.in_bytes.found(text.encode(errors="replace"))
    )


def _blocks(text: str) -> Iterator[str]:
    """The text in pieces of whole lines: all lines at once would take many times its size."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _BLOCK) + 1 or len(text)
        yield text[start:end]
        start = end


def _json(text: str) -> Any:
    """The object or list that the text is, else None (a bare word or number is read as text)."""
    stripped = text.strip()
    if not stripped.startswith(("{", "[")):
        return None
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return None


def scan_json(value: Any, keys: tuple[str, ...], path: str, record: Record) -> None:
    """Note identifiers among the keys and values of a decoded JSON value."""
    if isinstance(value, dict):
        _scan_object(value, keys, path, record)
    elif isinstance(value, list):
        for inner in value:
            scan_json(inner, keys, path, record)
    elif isinstance(value, str):
        _scan_string(value, keys, path, record)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        where = f"JSON value of {_named(keys)}"
        record.hits(record.identifiers.of_number(value, keys), path, where, column=keys)


def _scan_object(value: dict[Any, Any], keys: tuple[str, ...], path: str, record: Record) -> None:
    for key, inner in value.items():
        if found := record.identifiers.in_key(str(key)):
            record.hits(found, path, f"JSON key in {_named(keys)}")
        if len(keys) < _MAX_DEPTH:
            scan_json(inner, (*keys, str(key)), path, record)


def _scan_string(value: str, keys: tuple[str, ...], path: str, record: Record) -> None:
    nested = _json(value)
    if nested is not None:
        scan_json(nested, keys, path, record)
        return
    where = f"JSON value of {_named(keys)}"
    whole = record.identifiers.of_text(value, keys, declared=False)
    if whole:
        record.hits(whole, path, where, column=keys)
    else:
        _scan_line(value, path, where, record)
    record.cuts(record.identifiers.cut(value), path, where)


def _named(keys: tuple[str, ...]) -> str:
    return ".".join(keys) or "the document"


def _scan_line(line: str, path: str, where: str, record: Record) -> None:
    identifiers = record.identifiers
    found = list(identifiers.within(line))
    found += [i for i in identifiers.tokens(line) if i not in found]
    record.hits(found, path, where)
    record.cuts(identifiers.cuts_within(line), path, where)


def scan_named_path(named: str, path: str, record: Record) -> None:
    """A path that a file states: of other files, with the values of their partitions in it."""
    for part in unquote(unquote(named)).split("/"):
        key, _, value = part.partition("=")
        found = [*record.identifiers.within(part)]
        found += record.identifiers.of_text(value, [key], declared=False) if value else []
        record.hits(dict.fromkeys(found), path, "path of a file")
        record.cuts(record.identifiers.cuts_within(part), path, "path of a file")


def _scan_csv(text: str, path: str, record: Record) -> None:
    lines = chain.from_iterable(io.StringIO(block, newline="") for block in _blocks(text))
    try:
        for row in csv.DictReader(lines, **_dialect(text, record.identifiers)):
            for name, value in row.items():
                if isinstance(name, str) and isinstance(value, str):
                    keys = (name.strip(),)
                    found = record.identifiers.of_text(value.strip(), keys, declared=False)
                    record.hits(found, path, f"column {name}", column=keys)
    except csv.Error as exc:
        record.fail(path, f"not valid CSV ({exc})")


def _dialect(text: str, identifiers: Identifiers) -> dict[str, Any]:
    """The delimiter and quote under which the header names identity columns, else most columns."""
    header = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    quote = "'" if header.startswith("'") else '"'
    # An unusual delimiter stands beside the name of an identity column.
    beside = [
        character
        for name in identifiers.identity_names
        for found in re.finditer(re.escape(name), header, re.IGNORECASE)
        for character in (header[found.start() - 1 : found.start()], header[found.end() :][:1])
        if character and not character.isalnum() and character not in "_-.'\"\r\n "
    ]
    choices = [{"delimiter": d, "quotechar": quote} for d in dict.fromkeys([*_DELIMITERS, *beside])]

    def fitness(choice: dict[str, Any]) -> tuple[int, int]:
        names = next(csv.reader([header], **choice), [])
        return sum(identifiers.is_identity([n.strip()]) for n in names), len(names)

    return max(choices, key=fitness)
