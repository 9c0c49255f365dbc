"""Canonical JSON: RFC 8785 (JCS).

`encode` is the whole of RFC 8785 (nested at most MAX_DEPTH levels). Events obey a narrower rule,
the restriction, which `check` enforces: JSON types only, ASCII keys, whole numbers within
±(2**53 - 1), no floats (a decimal travels as a string), no lone surrogates. Under the restriction
sorting keys by byte and by UTF-16 code unit is the same and every number has one spelling, so
that orjson writes what RFC 8785 asks for, at many times the speed of the reference library.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any

import orjson
import rfc8785

MAX_DEPTH = 64
MAX_INT = 2**53 - 1


class CanonicalError(ValueError):
    """The value has no canonical form, or breaks the restriction on events.

    `path` names the place ("details.rows", "items[3]", "" for the whole value), `reason` says
    what is wrong there and what to do about it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


def encode(obj: object) -> bytes:
    """RFC 8785 bytes of any JSON value. Raises CanonicalError."""
    return _encode(obj, restricted=False)


def encode_strict(obj: object) -> bytes:
    """RFC 8785 bytes of an event: `check` and `encode` in one walk. Raises CanonicalError."""
    return _encode(obj, restricted=True)


def check(obj: object) -> None:
    """Raise CanonicalError at the first place where the restriction on events is broken."""
    for path, reason in _faults(obj, "", 0, restricted=True):
        raise CanonicalError(path, reason)


def decode(data: bytes) -> Any:
    """The JSON value in UTF-8 bytes. Raises CanonicalError when they hold none.

    Of a repeated key the last value counts; to know that bytes are canonical, encode it again.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CanonicalError("", f"not valid JSON: {error}") from error


def _encode(obj: object, *, restricted: bool) -> bytes:
    if _is_restricted(obj):
        try:
            return orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            pass  # a lone surrogate, which the walk below locates
    for path, reason in _faults(obj, "", 0, restricted=restricted):
        raise CanonicalError(path, reason)
    return rfc8785.dumps(obj)  # type: ignore[arg-type]  # a JSON value, as just checked


def _is_restricted(value: Any, depth: int = 0) -> bool:
    """The restriction, except lone surrogates (orjson finds those). Written for speed."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return -MAX_INT <= value <= MAX_INT  # type: ignore[no-any-return]
    if kind is dict:
        return depth < MAX_DEPTH and _is_restricted_object(value, depth + 1)
    if kind is list or kind is tuple:
        return depth < MAX_DEPTH and all(
            type(item) is str or _is_restricted(item, depth + 1) for item in value
        )
    return isinstance(value, str)


def _is_restricted_object(value: dict[Any, Any], depth: int) -> bool:
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            return False
        kind = type(item)
        if kind is str or (kind is int and -MAX_INT <= item <= MAX_INT):
            continue  # most of them are, and need no call
        if not _is_restricted(item, depth):
            return False
    return True


def _faults(value: object, path: str, depth: int, *, restricted: bool) -> Iterator[tuple[str, str]]:
    """Every (path, reason) by which a value is no event (restricted) or no JSON (otherwise)."""
    if depth >= MAX_DEPTH and isinstance(value, dict | list | tuple):
        yield path, f"is nested more than {MAX_DEPTH} levels deep; flatten it"
    elif isinstance(value, dict):
        for key, item in value.items():
            place = f"{path}.{key}" if path else str(key)
            reason = _key_fault(key, restricted=restricted)
            if reason:
                yield place.encode("utf-8", "backslashreplace").decode(), reason
            else:
                yield from _faults(item, place, depth + 1, restricted=restricted)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _faults(item, f"{path}[{number}]", depth + 1, restricted=restricted)
    else:
        reason = _scalar_fault(value, restricted=restricted)
        if reason:
            yield path, reason


def _key_fault(key: object, *, restricted: bool) -> str:
    if type(key) is not str:
        return f"a key must be a string, this one is {type(key).__name__}"
    if restricted and not key.isascii():
        return "a key must be ASCII; put other text into the value"
    return "" if _is_utf8(key) else "a key holds a lone surrogate, which UTF-8 cannot carry"


def _scalar_fault(value: object, *, restricted: bool) -> str:
    if value is None or type(value) is bool:
        return ""
    if isinstance(value, str):
        return "" if _is_utf8(value) else "holds a lone surrogate, which UTF-8 cannot carry"
    if type(value) is int:
        safe = -MAX_INT <= value <= MAX_INT
        return "" if safe else "is a whole number beyond ±(2**53 - 1); send it as a string"
    if type(value) is float:
        if restricted:
            return "is a floating-point number; send a decimal as a string"
        return "" if isfinite(value) else "is not a finite number, so JSON cannot carry it"
    return f"is of type {type(value).__name__}, which is no JSON type"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
