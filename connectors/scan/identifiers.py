"""When do bytes name a person? The rule of the scanner.

An identifier is *distinctive* when nothing else is likely to look the same: an e-mail address, or
at least 6 characters, or, for digits only, at least 8. Distinctive identifiers are searched
everywhere: as whole values, inside longer text (with word boundaries, so that "ann@x.org" is not
found in "joann@x.org"), in file names, in raw bytes (UTF-8 and UTF-16), in any case, and cut to
their first 15, 16, 31, 32, 63 or 64 characters, the lengths at which table formats cut statistics.

Any other identifier ("4", "00004", "anna") occurs by chance in sizes, times and UUIDs, so bytes
prove nothing. It is compared as a whole value:

- in the *identity columns* (the store's subject columns, at any depth, under their logical and
  physical names) of Parquet, JSON and CSV, in statistics and dictionary pages of these columns and
  in Hive partition keys; there 4, "4", 4.0 and "00004" are the same number, except that a column
  declared as text is taken at its word ("4" is not "00004");
- as a text of at least 4 characters that is the whole value of any other text column;
- token by token in text that names an identity column, such as `customer_id = 4` in a log.

A cut value is ambiguous: many people may share 16 characters. It counts as a trace unless a
surviving whole value begins the same way; then it tells nothing about the erased person.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

from connectors.people import as_integer, as_uuid, is_email
from connectors.scan.search import ByteSearch

MIN_DISTINCTIVE = 6
MIN_DISTINCTIVE_DIGITS = 8
MIN_WHOLE_TEXT = 4
CUTS = (15, 16, 31, 32, 63, 64)
_SHORTEST_CUT = CUTS[0]
_SHORTEST_PART = 4
_MOST_CASES = 4096
_KEYS = 4096
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_COUNTS = {"nullcount", "null_count", "null_counts", "nullcounts", "distinctcount"}
_TOKEN = re.compile(r"[^\s'\"`,;:=<>!()\[\]{}|&*/\\]+")
_EXPRESSION_ID = re.compile(r"#\d+L?")  # Spark writes columns as customer_id#12
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_CUT_RUN = re.compile(r"[^\s'\"`,;=<>()\[\]{}|\\\x00-\x1f]+")

Path = Sequence[str]


def _longest_ascii(text: str) -> str:
    """The longest part without letters outside ASCII, which fast searches compare as they are."""
    return max(_NOT_ASCII.split(text), key=len)


def _fragments(forms: Iterable[str]) -> list[str]:
    """Texts one of which, in any case of its ASCII letters, is inside every text that holds one of
    the forms in any case."""
    found: set[str] = set()
    for form in {f.lower() for f in forms if f}:
        part = _longest_ascii(form)
        # Too short a part would be everywhere: then every mixture of cases is spelled out.
        found |= {part} if len(part) >= _SHORTEST_PART else _all_cases(form)
    return sorted(found)


def _unhexed(texts: Iterable[str]) -> list[bytes]:
    """The bytes whose hexadecimal forms are among the texts."""
    return [bytes.fromhex(t) for t in texts if _HEXADECIMAL.fullmatch(t)]


def _all_cases(text: str) -> set[str]:
    """The text with each letter outside ASCII in lower and in upper case, in all combinations."""
    options = [{c, c.upper(), c.lower()} if not c.isascii() else {c} for c in text]
    if prod(len(o) for o in options) > _MOST_CASES:
        return {text.lower(), text.upper(), text.title()}
    return {"".join(letters) for letters in product(*options)}


def _is_word(character: str) -> bool:
    """ASCII only: raw bytes read as Latin-1 are full of accented letters that mean nothing."""
    return character.isascii() and character.isalnum()


@dataclass(frozen=True)
class Identifier:
    """One value to look for. `control`: a surviving person's, whose discovery proves the scan."""

    text: str
    control: bool = False

    @cached_property
    def distinctive(self) -> bool:
        if is_email(self.text):
            return True
        least = MIN_DISTINCTIVE_DIGITS if self.text.isdigit() else MIN_DISTINCTIVE
        return len(self.text) >= least

    @cached_property
    def integer(self) -> int | None:
        return as_integer(self.text)

    @cached_property
    def spellings(self) -> frozenset[str]:
        """Whole values that are this identifier; compared after folding when distinctive."""
        forms = {self.text}
        if found := as_uuid(self.text):
            forms |= {str(found), found.hex}
        if self.distinctive:
            # An accented letter is one character or two, and looks the same.
            forms |= {unicodedata.normalize(n, f) for f in forms for n in ("NFC", "NFD")}
            forms |= {form.strip().casefold() for form in forms}
        return frozenset(forms)

    def begins_with(self, prefix: str) -> bool:
        """Whether a cut value may be this identifier's beginning, in any case."""
        return self.text.lower().startswith(prefix.lower())

    def bounded(self, text: str, start: int, end: int) -> bool:
        """Whether text[start:end] stands for itself and is no part of a longer identifier."""
        before, after = text[max(start - 2, 0) : start], text[end : end + 2]
        if _is_word(before[-1:]) or _is_word(after[:1]):
            return False
        if is_email(self.text):
            longer_domain = after[:1] in {".", "-"} and after[1:].isalnum()
            return before[-1:] not in {".", "%", "+", "-", "_"} and not longer_domain
        if self.text.isdigit():  # not the digits of a decimal number
            decimals = before[-1:] == "." and before[:-1].isdigit()
            return not decimals and not (after[:1] == "." and after[1:].isdigit())
        return True


class Cut(NamedTuple):
    """A value that may be the beginning of an identifier."""

    identifier: Identifier
    prefix: str


class Identifiers:
    """Everything one scan looks for."""

    def __init__(
        self,
        values: Iterable[str],
        *,
        identity_columns: Iterable[str] = (),
        unrelated_columns: Iterable[str] = (),
        control: tuple[str, str] | None = None,
        control_columns: Iterable[str] = (),
        cut: bool = True,
    ) -> None:
        """`identity_columns`, `control_columns`: logical and physical names. `control`: a column
        and a surviving person's identifier in it. `cut`: also look for their beginnings."""
        self._values = tuple(dict.fromkeys(values))
        self._identity_columns = tuple(identity_columns)
        self._unrelated_columns = tuple(unrelated_columns)
        self.sought = [Identifier(v) for v in self._values if v.strip()]
        if control is not None:
            self.sought.append(Identifier(control[1], control=True))
        self.control_names = {c.lower() for c in control_columns}
        if control is not None:
            self.control_names.add(control[0].lower())
        names = {c.lower() for c in self._identity_columns} | self.control_names
        self.identity_names = names | {n.rpartition(".")[2] for n in names}
        self.unrelated_names = {c.lower() for c in self._unrelated_columns}
        self._exact: dict[str, list[Identifier]] = {}
        self._folded: dict[str, list[Identifier]] = {}
        self._numbers: dict[int, list[Identifier]] = {}
        for identifier in self.sought:
            target = self._folded if identifier.distinctive else self._exact
            for form in identifier.spellings:
                target.setdefault(form, []).append(identifier)
            if identifier.integer is not None:
                self._numbers.setdefault(identifier.integer, []).append(identifier)
        self.distinctive = [i for i in self.sought if i.distinctive]
        self.cuttable = [i for i in self.sought if cut and len(i.text) > _SHORTEST_CUT]
        self._within = self._pattern([f for i in self.distinctive for f in i.spellings])
        self._naming = self._pattern(self.identity_names)
        # Documents have few different keys, and each again and again.
        self.in_key = lru_cache(_KEYS)(self._in_key)
        self._is_identity = lru_cache(_KEYS)(self._is_identity_column)

    @cached_property
    def without_control(self) -> "Identifiers":
        """Only what must be gone: where finding the survivor would prove nothing."""
        if not self.control_names:
            return self
        return Identifiers(
            self._values,
            identity_columns=self.identity_names,
            unrelated_columns=self._unrelated_columns,
            cut=bool(self.cuttable),
        )

    @staticmethod
    def _pattern(texts: Iterable[str]) -> re.Pattern[str] | None:
        forms = sorted(set(texts), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, forms)), re.IGNORECASE) if forms else None

    def is_identity(self, path: Path) -> bool:
        """Whether the column or key at this path holds identifiers of people."""
        return self._is_identity(tuple(path))

    def _is_identity_column(self, path: tuple[str, ...]) -> bool:
        parts = [p.lower() for p in path]
        if not _COUNTS.isdisjoint(parts):
            return False  # {"nullCount": {"customer_id": 4}} counts, it names nobody
        return not self.identity_names.isdisjoint(parts)

    def is_control_column(self, path: Path) -> bool:
        whole = ".".join(p.lower() for p in path)
        return any(whole == name or whole.endswith(f".{name}") for name in self.control_names)

    @cached_property
    def fragments(self) -> list[str]:
        """Texts one of which, in any case of its ASCII letters, is inside every text that holds a
        distinctive identifier."""
        return _fragments(f for i in self.distinctive for f in i.spellings)

    @cached_property
    def cut_fragments(self) -> list[str]:
        """Beginnings with their ASCII letters in lower case, as the fast searches want them."""
        beginnings = {i.text[:_SHORTEST_CUT] for i in self.cuttable}
        return sorted("".join(c.lower() if c.isascii() else c for c in b) for b in beginnings)

    @cached_property
    def in_bytes(self) -> ByteSearch:
        """What all bytes hold in which a distinctive identifier stands, whole or cut, as UTF-8 or
        UTF-16."""
        narrow = [t.encode() for t in (*self.fragments, *self.cut_fragments)]
        return ByteSearch([*narrow, *(f.encode("utf-16-le") for f in self.fragments)])

    @cached_property
    def text_fragments(self) -> list[str]:
        """What makes a text worth a slow look: a distinctive identifier, whole or cut, or the name
        of an identity column, as in a document or an expression, where short ones count."""
        names = _fragments(self.identity_names) if self._exact or self._numbers else []
        return sorted({*self.fragments, *self.cut_fragments, *names})

    @cached_property
    def in_texts(self) -> ByteSearch:
        """What all bytes hold in which, as UTF-8, a text stands that is worth a slow look."""
        return ByteSearch(t.encode() for t in self.text_fragments)

    @cached_property
    def are_verbatim_in_json(self) -> bool:
        """Whether no other text or number equals one of them, and none of their letters has to be
        escaped in JSON."""
        escaped = re.compile(r'["\\/\x00-\x1f]')
        others = self._exact or self._numbers
        return not others and not any(map(escaped.search, self.text_fragments))

    @cached_property
    def in_binaries(self) -> ByteSearch:
        """As `in_texts`, of values that are no texts: their hexadecimal form is compared, too."""
        texts = [t.encode() for t in self.text_fragments]
        latin = [t.encode("latin-1", "replace") for t in self.fragments]
        return ByteSearch([*texts, *latin, *_unhexed(self._folded)])

    def exact_texts(self, *, identity: bool) -> list[str]:
        """The short identifiers' spellings that count in a text column."""
        return [t for t in self._exact if identity or len(t) >= MIN_WHOLE_TEXT]

    def exact_binaries(self, *, identity: bool) -> list[bytes]:
        """As `exact_texts`, of a column of binaries."""
        texts = self.exact_texts(identity=identity)
        return [*(t.encode() for t in texts), *_unhexed(texts)]

    def numbers(self, *, identity: bool) -> list[int]:
        least = 10 ** (MIN_DISTINCTIVE_DIGITS - 1)
        return [n for n in self._numbers if identity or abs(n) >= least]

    def of_text(self, text: str, path: Path, *, declared: bool) -> list[Identifier]:
        """Identifiers that a whole value is. `declared`: its column's type is known to be text."""
        found = list(self._folded.get(text.strip().casefold(), ()))
        identity = self.is_identity(path)
        if identity or (len(text) >= MIN_WHOLE_TEXT and not self._is_unrelated(path)):
            found += self._exact.get(text, ())
        if identity and not declared and (number := as_integer(text)) is not None:
            found += [i for i in self._numbers.get(number, ()) if i not in found]
        return found

    def _is_unrelated(self, path: Path) -> bool:
        names = self.unrelated_names
        return bool(names) and not names.isdisjoint(p.lower() for p in path)

    def of_number(self, value: int | float | Decimal, path: Path) -> list[Identifier]:
        if value != value or value in (float("inf"), float("-inf")) or value != int(value):
            return []
        number = int(value)
        if number not in self._numbers:
            return []
        least = 10 ** (MIN_DISTINCTIVE_DIGITS - 1)
        if self.is_identity(path) or abs(number) >= least:
            return list(self._numbers[number])
        return []

    def _in_key(self, key: str) -> tuple[Identifier, ...]:
        """Identifiers that the key of a document is, or else holds."""
        return tuple(self.of_text(key, (), declared=True) or self.within(key))

    def within(self, text: str) -> Iterator[Identifier]:
        """Distinctive identifiers inside longer text, each occurrence once."""
        if self._within is None:
            return
        for match in self._within.finditer(text):
            for identifier in self._folded.get(match[0].casefold(), ()):
                if identifier.bounded(text, match.start(), match.end()):
                    yield identifier

    def tokens(self, text: str) -> Iterator[Identifier]:
        """Identifiers that no search inside text finds, where text names an identity column."""
        if not self._exact and not self._numbers:
            return
        if self._naming is None or not self._names_a_column(text):
            return
        for token in _TOKEN.findall(_EXPRESSION_ID.sub(" ", text)):
            found = list(self._exact.get(token, ()))
            if (number := as_integer(token.rstrip("lL"))) is not None:
                found += [i for i in self._numbers.get(number, ()) if i not in found]
            yield from found

    def _names_a_column(self, text: str) -> bool:
        assert self._naming is not None  # noqa: S101 (the caller looked)
        return any(
            not text[max(m.start() - 1, 0) : m.start()].isalnum()
            and not text[m.end() : m.end() + 1].isalnum()
            for m in self._naming.finditer(text)
        )

    def cut(self, value: str) -> Iterator[Cut]:
        """Identifiers that a statistic may be the beginning of.

        Formats cut at 16, 32 or 64 characters and, for the highest value, raise the last one
        (which leaves 15, 31 or 63 of ours) or append one that sorts last.
        """
        for identifier in self.cuttable:
            if len(value) >= len(identifier.text):
                continue
            for prefix in (value, value[:-1]):
                if len(prefix) in CUTS and identifier.begins_with(prefix):
                    yield Cut(identifier, prefix)
                    break

    def cuts_within(self, text: str) -> Iterator[Cut]:
        """Cut identifiers in running text: a word that is nothing but their beginning."""
        lowered = text.lower()
        if len(lowered) != len(text):  # a few letters become two: then places would not fit
            lowered = text
        for identifier in self.cuttable:
            beginning = identifier.text[:_SHORTEST_CUT].lower()
            start = lowered.find(beginning)
            while start >= 0:
                if not _is_word(text[max(start - 1, 0) : start]):
                    run = _CUT_RUN.match(text, start)
                    word = run[0] if run else ""
                    yield from (c for c in self.cut(word) if c.identifier is identifier)
                start = lowered.find(beginning, start + 1)
