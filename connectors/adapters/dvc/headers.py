"""The headers of commits and annotated tags, as git stores them.

A header may go on over several lines, which begin with a space. What is not replaced stays byte for
byte: names, dates, the message and its encoding, and headers that other programs have added.
"""

import re
from collections.abc import Iterator, Mapping

from connectors.adapters.dvc.git import GitObject

# A signature is of the bytes that it stands in; a merged tag is repeated with its own.
_SIGNATURES = (b"gpgsig", b"gpgsig-sha256", b"mergetag")
_NAMING = (b"parent", b"object")
_NEXT = re.compile(rb"\n(?! )")
_END_OF_TAG = re.compile(
    rb"^-----BEGIN (?:PGP SIGNATURE|PGP MESSAGE|SSH SIGNATURE|SIGNED MESSAGE)-----$", re.MULTILINE
)


def value_of(found: GitObject, key: bytes) -> str:
    """The first header of this name. Raises IndexError."""
    return values_of(found, key)[0]


def values_of(found: GitObject, key: bytes) -> list[str]:
    return [value.decode() for name, value in _headers(found) if name == key]


def is_signed(found: GitObject) -> bool:
    if any(name in _SIGNATURES for name, _ in _headers(found)):
        return True
    return found.kind == "tag" and bool(_END_OF_TAG.search(_text(found)))


def with_other_ids(found: GitObject, ids: Mapping[str, str], tree: str = "") -> bytes:
    """The object, naming others instead (`ids`: old → new; of a commit, the tree), unsigned."""
    lines = []
    for line in _lines(found):
        name, _, value = line.partition(b" ")
        if name in _NAMING and value.decode() in ids:
            lines.append(name + b" " + ids[value.decode()].encode())
        elif name == b"tree":
            lines.append(b"tree " + tree.encode())
        elif name not in _SIGNATURES:
            lines.append(line)
    text = _text(found)
    if found.kind == "tag" and (ends := list(_END_OF_TAG.finditer(text))):
        text = text[: ends[-1].start()]
    return b"\n".join(lines) + text


def _headers(found: GitObject) -> Iterator[tuple[bytes, bytes]]:
    for line in _lines(found):
        name, _, value = line.partition(b" ")
        yield name, value


def _lines(found: GitObject) -> list[bytes]:
    """One for each header, with the lines on which it goes on."""
    return _NEXT.split(found.body[: len(found.body) - len(_text(found))])


def _text(found: GitObject) -> bytes:
    """The message, with the line end of the last header and the empty line before it."""
    head, gap, message = found.body.partition(b"\n\n")
    return gap + message if gap else found.body[len(head) :]
