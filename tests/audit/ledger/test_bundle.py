import json
from typing import Any

import pytest

from audit.ledger import bundle, canonical
from tests.audit.ledger.builders import CERTIFICATE, certificate_bundle, log_of


def test_a_bundle_reads_back_as_it_was_written() -> None:
    written = certificate_bundle()

    assert bundle.loads(bundle.dumps(written)) == written
    assert bundle.loads(bundle.dumps(written).decode()) == written
    parsed = bundle.parse(written)
    assert [entry.seq for entry in parsed.entries] == [4, 9, 10]
    assert parsed.statement == CERTIFICATE
    assert parsed.intact


def test_entries_are_written_in_order_whatever_order_they_came_in() -> None:
    written = log_of(9).bundle([7, 2, 5])

    assert [entry["seq"] for entry in written["entries"]] == [2, 5, 7]


def test_a_statement_with_decimals_and_large_doubles_survives() -> None:
    statement = {"share": 0.25, "large": 1e18, "larger": 1e300, "small": -5e-324, "größe": "ä"}
    written = log_of(1).bundle([0], statement=statement)

    read = bundle.loads(bundle.dumps(written))

    assert read["statement"] == statement
    assert bundle.parse(read).intact
    assert bundle.statement_digest(read["statement"]) == bundle.statement_digest(statement)


def test_a_bundle_without_entries_or_with_one_twice_is_not_built() -> None:
    log = log_of(3)
    with pytest.raises(bundle.BundleError, match="at least one"):
        log.bundle([])
    with pytest.raises(bundle.BundleError, match="each once"):
        log.bundle([1, 1])


def test_a_statement_that_is_no_json_is_not_built() -> None:
    with pytest.raises(bundle.BundleError, match=r"statement\.when"):
        log_of(1).bundle([0], statement={"when": object()})


def test_a_changed_bundle_is_no_longer_intact() -> None:
    changed = {**certificate_bundle(), "purpose": "report"}
    assert not bundle.parse(changed).intact


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in certificate_bundle().items() if key != name}


def with_entry(**members: object) -> dict[str, Any]:
    written = certificate_bundle()
    written["entries"][1] |= members
    return written


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "the bundle must be a JSON object, it is null"),
        ([], "the bundle must be a JSON object, it is of type list"),
        ({}, "lacks checkpoint, digest, entries, format, log, purpose, statement"),
        (without("log"), "the bundle lacks log"),
        ({**certificate_bundle(), "extra": 1}, "does not know: 'extra'"),
        ({**certificate_bundle(), "format": "vestige-evidence/3"}, "format must be"),
        ({**certificate_bundle(), "format": 1}, "format must be"),
        ({**certificate_bundle(), "purpose": ""}, "purpose must be a text, it is empty"),
        ({**certificate_bundle(), "statement": "text"}, "statement must be an object or null"),
        ({**certificate_bundle(), "statement": [1]}, "statement must be an object or null"),
        ({**certificate_bundle(), "log": "x"}, "log must be a JSON object"),
        ({**certificate_bundle(), "log": {"origin": "x"}}, "log lacks vkey"),
        ({**certificate_bundle(), "checkpoint": 1}, "checkpoint must be a text"),
        ({**certificate_bundle(), "entries": {}}, "entries must be a list"),
        ({**certificate_bundle(), "entries": [1]}, r"entries\[0\] must be a JSON object"),
        (with_entry(seq="9"), r"entries\[1\]\.seq must be a whole number"),
        (with_entry(seq=True), r"entries\[1\]\.seq"),
        (with_entry(seq=-1), r"entries\[1\]\.seq"),
        (with_entry(seq=3), "ascending order"),
        (with_entry(leaf=7), r"entries\[1\]\.leaf must be bytes in base64"),
        (with_entry(leaf=""), r"entries\[1\]\.leaf"),
        (with_entry(leaf="AAA"), r"entries\[1\]\.leaf"),
        (with_entry(leaf="AA=="), None),
        (with_entry(leaf="AB=="), r"entries\[1\]\.leaf"),
        (with_entry(leaf="ÄÖ=="), r"entries\[1\]\.leaf"),
        (with_entry(proof=None), r"entries\[1\]\.proof must be a list"),
        (with_entry(proof=["AA==", 1]), r"entries\[1\]\.proof\[1\]"),
        (with_entry(extra=1), r"entries\[1\] has members"),
        ({**certificate_bundle(), "statement": {"a": "\ud800"}}, "surrogate"),
        ({**certificate_bundle(), "statement": {"a": 2**60}}, "no canonical form"),
    ],
)
def test_a_fault_in_a_bundle_is_named_with_its_place(value: Any, words: str | None) -> None:
    if words is None:
        assert not bundle.parse(value).intact
    else:
        with pytest.raises(bundle.BundleError, match=words):
            bundle.parse(value)


TEXT = bundle.dumps(certificate_bundle()).decode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "no UTF-8"),
        (TEXT.encode("utf-16"), "no UTF-8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "not valid JSON"),
        (TEXT[:-1], "not valid JSON"),
        (TEXT + "x", "not valid JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ("[" * 900 + "]" * 900, "must be a JSON object"),
        ("9" * 6000, "a double cannot carry"),
        ("-" + "9" * 20, "a double cannot carry"),
        ("9007199254740993", "a double cannot carry"),
        ('{"a":1e999}', "lacks"),
        ("NaN", "NaN"),
        ('{"a":-Infinity}', "-Infinity"),
        (TEXT.replace('"purpose":"c', '"purpose":"x","purpose":"c', 1), "repeats a key"),
        ("null", "must be a JSON object"),
    ],
)
def test_text_that_holds_no_bundle_is_refused_and_crashes_nothing(
    data: bytes | str, words: str
) -> None:
    with pytest.raises(bundle.BundleError, match=words):
        bundle.loads(data)


def test_a_bundle_may_be_laid_out_for_reading() -> None:
    laid_out = json.dumps(certificate_bundle(), indent=4, ensure_ascii=True)

    assert bundle.loads(laid_out) == certificate_bundle()


def test_only_a_bundle_can_be_written() -> None:
    with pytest.raises(bundle.BundleError):
        bundle.dumps({"format": bundle.FORMAT})


def test_the_statement_digest_is_that_of_its_canonical_form() -> None:
    assert bundle.statement_digest({"b": 1, "a": "ä"}) == (
        "507aab815f2bdfce1c740c0b1ae7b1c874f56b9aa5b9ab109a07b57365148233"
    )
    with pytest.raises(canonical.CanonicalError):
        bundle.statement_digest({"a": object()})
