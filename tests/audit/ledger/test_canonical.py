import enum
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audit.ledger import canonical

VECTORS = Path(__file__).parents[2] / "data" / "ledger_vectors" / "jcs"

# RFC 8785, appendix B: IEEE 754 bits and the number as it must be written.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}

TEXT = st.text(st.characters(codec="utf-8"))
SAFE_INTEGERS = st.integers(-canonical.MAX_INT, canonical.MAX_INT)


def nested(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=30
    )


EVENTS = nested(
    st.none() | st.booleans() | SAFE_INTEGERS | TEXT, st.text(st.characters(codec="ascii"))
)
ANY_JSON = nested(
    st.none()
    | st.booleans()
    | SAFE_INTEGERS
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    TEXT,
)


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize("name", sorted(path.name for path in (VECTORS / "input").iterdir()))
def test_published_canonicalization_vectors_are_met(name: str) -> None:
    value = canonical.decode((VECTORS / "input" / name).read_bytes())

    assert canonical.encode(value) == (VECTORS / "output" / name).read_bytes().rstrip(b"\n")


@pytest.mark.parametrize(("bits", "written"), NUMBERS.items())
def test_floats_are_written_as_the_rfc_appendix_says(bits: str, written: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))

    assert canonical.encode([number]) == f"[{written}]".encode()


@settings(deadline=None)
@given(EVENTS)
@example({"\x7f": "\x00\x1f\x7f\u2028\U0001f602", "a": [-0, True, None]})
def test_the_fast_path_writes_the_same_bytes_as_the_reference_library(event: Any) -> None:
    canonical.check(event)

    assert canonical.encode_strict(event) == canonical.encode(event) == rfc8785.dumps(event)


@settings(deadline=None)
@given(ANY_JSON)
@example({"\ue000": 1, "\U0001f602": 2})
def test_any_json_is_written_as_the_reference_library_does(value: Any) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)


@settings(deadline=None)
@given(EVENTS)
def test_an_event_survives_encoding_and_decoding(event: Any) -> None:
    assert canonical.decode(canonical.encode(event)) == event


@pytest.mark.parametrize(
    ("value", "path", "word"),
    [
        ({"details": {"rows": 2**53}}, "details.rows", "2**53"),
        ({"details": {"rows": -(2**53)}}, "details.rows", "2**53"),
        ({"details": {"share": 0.5}}, "details.share", "floating"),
        ({"details": {"share": math.nan}}, "details.share", "floating"),
        ({"items": [1, {"größe": 2}]}, "items[1].größe", "ASCII"),
        ({"items": ["\ud800"]}, "items[0]", "surrogate"),
        ({1: 2}, "1", "string"),
        ({"when": object()}, "when", "object"),
        ({"raw": b"x"}, "raw", "bytes"),
        ({"bag": {1, 2}}, "bag", "set"),
        (0.5, "", "floating"),
    ],
)
def test_a_broken_restriction_names_the_place_and_the_reason(
    value: Any, path: str, word: str
) -> None:
    with pytest.raises(canonical.CanonicalError) as caught:
        canonical.check(value)
    assert caught.value.path == path
    assert word in caught.value.reason

    with pytest.raises(canonical.CanonicalError) as caught:
        canonical.encode_strict(value)
    assert caught.value.path == path


def test_sixty_four_levels_are_accepted_and_sixty_five_are_refused() -> None:
    deep: Any = []
    for _ in range(63):
        deep = [deep]
    canonical.check(deep)
    assert canonical.encode_strict(deep) == canonical.encode(deep) == b"[" * 64 + b"]" * 64
    assert canonical.encode([*deep, 0.5]) == b"[" * 64 + b"]" * 63 + b",0.5]"

    for refuse in (canonical.check, canonical.encode, canonical.encode_strict):
        with pytest.raises(canonical.CanonicalError, match="64 levels"):
            refuse({"a": deep})


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 2**53, "\ud800", {"\udfff": 1}, {2: 1}, object()]
)
def test_what_no_canonical_form_exists_for_is_refused_without_the_restriction_too(
    value: Any,
) -> None:
    with pytest.raises(canonical.CanonicalError):
        canonical.encode(value)


def test_text_of_a_text_choice_is_written_as_its_value() -> None:
    assert canonical.encode_strict({"state": Colour.RED, "pair": ("a", 1)}) == (
        b'{"pair":["a",1],"state":"red"}'
    )


@pytest.mark.parametrize("data", [b"", b"{", b"[NaN]", b"\xff", b'["\\ud800"]', b"[" * 100_000])
def test_bytes_that_hold_no_json_are_refused(data: bytes) -> None:
    with pytest.raises(canonical.CanonicalError, match="not valid JSON"):
        canonical.decode(data)
