"""Odd values, and random changes of JSON and of bytes. Seeded: VESTIGE_TEST_SEED repeats a run."""

import copy
import json
import os
import random
from collections.abc import Iterator
from typing import Any

SEED = int(os.environ.get("VESTIGE_TEST_SEED", "7"))

# A token of JSON that json.dumps would not write; put in as this text, quotes and all replaced.
_TOKENS = ("NaN", "-Infinity", "1e999", "-0", "0.1e1", "1" * 5_000, "01", "+1", '"\\ud800"', "\t")
_MARK = "@@token-{}@@"
_SPECIAL = b' \t\r\n\0"\\{}[]:,-+.eE0123456789abcABC=/\x1f\x7f\x80\xc0\xed\xff'


def dice_for(name: str) -> random.Random:
    return random.Random(f"{SEED} {name}")  # noqa: S311  # which oddity


def odd_value(dice: random.Random) -> Any:
    nested: Any = 1
    for _ in range(dice.choice((3, 63, 64, 65, 200))):
        nested = [nested] if dice.random() < 0.5 else {"a": nested}
    return dice.choice(
        [
            None, True, False, 0, -1, 7, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, -(2**63) - 1,
            1.5, -0.0, 1e308, 5e-324, "", " ", "\0", "\ud800", "\U0001f602", "é", "\u202e",
            "\x1f", "\x85", "a" * 200, "a" * 70_000, "null", "2026-01-01T00:00:00Z", "AAAA",
            [], {}, [[]], [None], {"": ""}, {"a": {}}, {"é": 1}, {"\ud800": 1}, nested,
            _MARK.format(dice.randrange(len(_TOKENS))),
        ]
    )  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for at in range(len(value)):
            yield from places(value[at], (*path, at))


def changed(dice: random.Random, value: Any) -> Any:
    """A copy with one to three things replaced, deleted, doubled, renamed or added."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        found = list(places(value))
        if not found:
            return odd_value(dice)
        *above, last = dice.choice(found)
        inside = value
        for step in above:
            inside = inside[step]
        _change(dice, inside, last)
    return value


def _change(dice: random.Random, inside: Any, last: Any) -> None:
    kind = dice.randrange(6)
    if kind == 0:
        del inside[last]
    elif kind == 1 and isinstance(inside, list):
        inside.insert(last, copy.deepcopy(inside[last]))
    elif kind == 1:
        inside[dice.choice(("surprise", "", "é", "ID", f"{last} "))] = inside.pop(last)
    elif kind == 2 and isinstance(inside[last], str) and inside[last]:
        text = inside[last]
        at = dice.randrange(len(text))
        inside[last] = text[:at] + dice.choice("Aa0=+/ \n\0é") + text[at + 1 :]
    elif kind == 3 and type(inside[last]) is int:
        inside[last] += dice.choice((-1, 1, 2**32, 0.5))
    else:
        inside[last] = odd_value(dice)


def written(dice: random.Random, value: Any) -> bytes:
    """The value as JSON text, laid out in one way or another, with its odd tokens."""
    text = json.dumps(value, ensure_ascii=dice.random() < 0.7, indent=dice.choice((None, None, 1)))
    for number, token in enumerate(_TOKENS):
        text = text.replace(f'"{_MARK.format(number)}"', token)
    return text.encode("utf-8", "surrogatepass")


def damaged(dice: random.Random, data: bytes) -> bytes:
    """The bytes with one to three of them changed, put in or taken out, or cut, or spliced."""
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.randrange(len(data) + 1)
        until = min(len(data), at + dice.choice((1, 1, 1, 2, 16)))
        kind = dice.randrange(6)
        if kind == 0:
            flipped = bytes(byte ^ dice.randrange(1, 256) for byte in data[at:until])
            data = data[:at] + flipped + data[until:]
        elif kind == 1:
            data = data[:at] + bytes([dice.choice(_SPECIAL)]) + data[at:]
        elif kind == 2:
            data = data[:at] + data[until:]
        elif kind == 3:
            data = data[:at]
        elif kind == 4:
            data = data[:at] + data[at:until] * 2 + data[until:]
        else:
            other = dice.randrange(len(data) + 1)
            data = data[:at] + data[min(at, other) : max(at, other)] + data[until:]
    return data
