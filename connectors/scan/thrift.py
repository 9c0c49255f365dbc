"""Reading Thrift's compact protocol, in which Parquet keeps its footers and page headers.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. Only
reading, and without a schema: a struct becomes {field id: value}.
"""

import struct
from typing import Any

_MAX_ITEMS = 50_000_000
_MAX_DEPTH = 64
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


class ThriftError(ValueError):
    """The bytes are no Thrift struct."""


class Reader:
    def __init__(self, data: "bytes | memoryview", position: int = 0) -> None:
        self.data = data
        self.position = position

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The struct at the position; raises ThriftError when the bytes break off."""
        if depth > _MAX_DEPTH:
            raise ThriftError("structs are nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            header = self._byte()
            kind = header & 0x0F
            if kind == 0:
                return fields
            delta = header >> 4
            number = number + delta if delta else self._signed()
            fields[number] = self._value(kind, depth, inside_list=False)

    def _value(self, kind: int, depth: int, *, inside_list: bool) -> Any:
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if inside_list else kind == _TRUE
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind == _BINARY:
            return bytes(self._take(self._unsigned()))
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        return self._rare_value(kind, depth)

    def _rare_value(self, kind: int, depth: int) -> Any:
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return struct.unpack("<d", self._take(8))[0]
        if kind == _MAP:
            return self._map(depth)
        raise ThriftError(f"unknown type {kind}")

    def _list(self, depth: int) -> list[Any]:
        header = self._byte()
        size, kind = header >> 4, header & 0x0F
        if size == 15:
            size = self._unsigned()
        self._check(size)
        return [self._value(kind, depth + 1, inside_list=True) for _ in range(size)]

    def _map(self, depth: int) -> list[tuple[Any, Any]]:
        size = self._unsigned()
        if not size:
            return []
        self._check(size)
        kinds = self._byte()
        return [
            (
                self._value(kinds >> 4, depth + 1, inside_list=True),
                self._value(kinds & 0x0F, depth + 1, inside_list=True),
            )
            for _ in range(size)
        ]

    def _check(self, size: int) -> None:
        if size > min(_MAX_ITEMS, len(self.data)):
            raise ThriftError("a list is longer than its bytes")

    def _byte(self) -> int:
        try:
            byte = self.data[self.position]
        except IndexError as exc:
            raise ThriftError("the bytes break off") from exc
        self.position += 1
        return byte

    def _take(self, size: int) -> "bytes | memoryview":
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise ThriftError("the bytes break off")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def _unsigned(self) -> int:
        byte = self._byte()
        result, shift = byte & 0x7F, 7
        while byte & 0x80:
            if shift > 70:
                raise ThriftError("a number is too long")
            byte = self._byte()
            result |= (byte & 0x7F) << shift
            shift += 7
        return result

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)
