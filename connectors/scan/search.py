"""Looking for many texts in many bytes at once.

Hyperscan (https://intel.github.io/hyperscan/dev-reference/) compiles all of them into one automaton
and runs it over the bytes where they lie, several gigabytes a second for a few texts, outside of
Python's lock.
"""

from collections.abc import Iterable
from typing import Any

import hyperscan

_LONGEST = 64  # bytes: what holds a longer text holds its beginning, too
_PIECE = 1 << 30  # Hyperscan counts bytes in 32 bits
_FLAGS = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SINGLEMATCH


class ByteSearch:
    """Whether any of some texts may be in bytes, in any case of ASCII letters.

    Never False where one is. True now and then where none is, but for the first 64 bytes of one.
    """

    def __init__(self, texts: Iterable[bytes]) -> None:
        """`texts`: none of them empty."""
        self.texts = _beginnings(texts)
        self._automaton = _compiled(self.texts) if self.texts else None

    def found(self, data: Any) -> bool:
        """`data`: bytes, or anything else that lends its memory."""
        if self._automaton is None:
            return False
        whole: Any = memoryview(data)
        scratch = hyperscan.Scratch(self._automaton)  # of this call: threads share the automaton
        for start in range(0, len(whole), _PIECE):
            piece = whole[start : start + _PIECE + _LONGEST]
            try:
                self._automaton.scan(piece, match_event_handler=_stop, scratch=scratch)
            except hyperscan.ScanTerminated:
                return True
        return False


def _stop(*_: object) -> bool:
    return True


def _beginnings(texts: Iterable[bytes]) -> list[bytes]:
    """Cut to what is looked for, without those that begin with another one."""
    kept: list[bytes] = []
    for text in sorted({text[:_LONGEST].lower() for text in texts}):  # ASCII letters only
        if not kept or not text.startswith(kept[-1]):
            kept.append(text)
    return kept


def _compiled(texts: list[bytes]) -> hyperscan.Database:
    """Byte for byte as escapes: the compiler for literals would end a text at its first zero."""
    automaton = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    patterns = [b"".join(b"\\x%02x" % byte for byte in text) for text in texts]
    automaton.compile(expressions=patterns, flags=_FLAGS)
    return automaton
