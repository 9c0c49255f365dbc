"""Values as Parquet stores them before any logical type is applied."""

import struct
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa

_INT32, _INT64, _INT96, _FLOAT, _DOUBLE, BYTES, _FIXED = range(1, 8)
_NUMBERS = {
    _INT32: ("<i", pa.int32()),
    _INT64: ("<q", pa.int64()),
    _FLOAT: ("<f", pa.float32()),
    _DOUBLE: ("<d", pa.float64()),
}

Value = str | bytes | int | float | Decimal | None


class Element(NamedTuple):
    """A leaf of the file's schema."""

    path: tuple[str, ...]
    physical: int  # parquet.thrift, enum Type
    scale: int | None  # of decimals
    length: int  # of fixed-length bytes

    @property
    def is_number(self) -> bool:
        return self.physical in _NUMBERS or self.scale is not None


def decoded_bound(raw: bytes, element: Element) -> Value:
    """A lowest or highest value from statistics; None for types that name nobody."""
    if element.scale is not None and element.physical in (BYTES, _FIXED):
        return Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-element.scale)
    if element.physical in _NUMBERS:
        code = _NUMBERS[element.physical][0]
        if len(raw) != struct.calcsize(code):
            return None
        number: int | float = struct.unpack(code, raw)[0]
        return Decimal(number).scaleb(-element.scale) if element.scale else number
    if element.physical in (BYTES, _FIXED):
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw
    return None


def plain_values(raw: bytes, count: int, element: Element) -> pa.Array:
    """The values of a dictionary page (encoding PLAIN). Raises ValueError when they break off."""
    if element.physical in _NUMBERS:
        code, kind = _NUMBERS[element.physical]
        size = struct.calcsize(code) * count
        if len(raw) < size:
            raise ValueError("a dictionary page breaks off")
        numbers = pa.Array.from_buffers(kind, count, [None, pa.py_buffer(raw[:size])])
        if element.scale:
            return pa.array([Decimal(n).scaleb(-element.scale) for n in numbers.to_pylist()])
        return numbers
    if element.physical == BYTES:
        parts = _prefixed(raw, count)
    elif element.physical == _FIXED and element.length:
        size = element.length
        parts = [raw[i : i + size] for i in range(0, count * size, size)]
    else:
        return pa.nulls(0)
    if element.scale is not None:
        numbers = [int.from_bytes(part, "big", signed=True) for part in parts]
        return pa.array([Decimal(n).scaleb(-element.scale) for n in numbers])
    return _as_text(parts)


def _prefixed(raw: bytes, count: int) -> list[bytes]:
    values, position = [], 0
    for _ in range(count):
        size = int.from_bytes(raw[position : position + 4], "little")
        start = position + 4
        if start + size > len(raw):
            raise ValueError("a dictionary page breaks off")
        values.append(raw[start : start + size])
        position = start + size
    return values


def _as_text(values: list[bytes]) -> pa.Array:
    try:
        return pa.array([v.decode() for v in values], pa.string())
    except UnicodeDecodeError:
        return pa.array(values, pa.binary())
