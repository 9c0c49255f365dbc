"""Pointers: the `.dvc` files and `dvc.lock` files that stand in git for data outside it.

They are read as YAML nodes, which know where they stand in the text. So a changed pointer is the
old text with other hashes and sizes in their places, and keeps comments, order and quotes.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from connectors.adapters.dvc.names import ObjectName

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_LIKE_A_NUMBER = re.compile(r"[0-9]+(e[0-9]+)?")
_Map = Mapping[str, yaml.Node]
# Written in C where it was built in, which reads ten times as fast; a history may have thousands.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PointerError(ValueError):
    """A pointer that cannot be read."""


@dataclass(frozen=True)
class Stage:
    """A stage of a pipeline, as its `dvc.lock` tells of the last time that it ran. `name`: as DVC
    addresses it; `reads`: paths from the top of the repository, each with its hash."""

    name: str
    reads: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Output:
    """What one pointer says about one file or folder at one commit."""

    path: str  # from the top of the repository
    name: ObjectName
    size: int | None
    pointer: str  # path of the `.dvc` or `dvc.lock` file
    imported: bool = False  # by dvc import or import-url: it is somebody else's data
    stage: Stage | None = None  # that made it


@dataclass(frozen=True)
class Content:
    """What a changed pointer shall say."""

    name: ObjectName
    size: int
    files: int | None = None  # of a folder


def is_pointer(path: str) -> bool:
    name = posixpath.basename(path)
    return name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc")


def outputs_of(path: str, body: bytes, stages: bytes | None = None) -> list[Output]:
    """The outputs that a pointer names and that have a hash.

    `stages`: the `dvc.yaml` beside a `dvc.lock`, which says in which folder each stage works.
    Raises PointerError.
    """
    root = _root(_text(body))
    return [
        Output(
            path=where,
            name=ObjectName(entry["md5"].value, _is_legacy(entry)),
            size=_number(entry.get("size")),
            pointer=path,
            imported="deps" in root and not path.endswith("dvc.lock"),
            stage=stage,
        )
        for where, entry, stage in _entries(path, root, stages)
        if "md5" in entry and _MD5.fullmatch(str(entry["md5"].value))
    ]


def changed(
    path: str, body: bytes, contents: Mapping[str, Content], stages: bytes | None = None
) -> bytes:
    """The pointer with other contents for some of its outputs (by their paths)."""
    text = _text(body)
    edits: list[tuple[int, int, str]] = []
    for where, entry, _ in _entries(path, _root(text), stages):
        if where not in contents:
            continue
        new = contents[where]
        values = {"md5": _scalar(new.name.md5), "size": str(new.size)}
        if new.files is not None:
            values["nfiles"] = str(new.files)
        for key, value in values.items():
            if key in entry:
                node = entry[key]
                edits.append((node.start_mark.index, node.end_mark.index, value))
    for start, end, value in sorted(edits, reverse=True):
        text = f"{text[:start]}{value}{text[end:]}"
    return text.encode()


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as exc:
        raise PointerError("it is no text in UTF-8") from exc


def _root(text: str) -> _Map:
    try:
        return _mapping(yaml.compose(text, Loader=_Loader))
    except (yaml.YAMLError, RecursionError) as exc:
        raise PointerError("it is no YAML") from exc


def _entries(
    path: str, root: _Map, stages: bytes | None
) -> Iterator[tuple[str, _Map, Stage | None]]:
    """(path of the output, its mapping, the stage that made it)."""
    folder = posixpath.dirname(path)
    if posixpath.basename(path) != "dvc.lock":
        works_in = posixpath.join(folder, _value(root.get("wdir")))
        for where, entry in _files(works_in, root, "outs"):
            yield where, entry, None
        return
    declared = _stages(_root(_text(stages))) if stages else {}
    # Before its schema 2.0, a lock file was the mapping of stages itself.
    for name, node in (_stages(root) if "schema" in root else root).items():
        told = _mapping(node)
        works_in = posixpath.join(folder, _value(_mapping(declared.get(name)).get("wdir")))
        stage = Stage(
            f"{folder}/dvc.yaml:{name}" if folder else name,
            tuple((p, _value(e.get("md5"))) for p, e in _files(works_in, told, "deps")),
        )
        for where, entry in _files(works_in, told, "outs"):
            yield where, entry, stage


def _files(folder: str, node: _Map, what: str) -> Iterator[tuple[str, _Map]]:
    listed = node.get(what)
    if isinstance(listed, yaml.SequenceNode):
        for item in listed.value:
            entry = _mapping(item)
            if where := _value(entry.get("path")):
                yield posixpath.normpath(posixpath.join(folder, where)), entry


def _stages(root: _Map) -> _Map:
    return _mapping(root.get("stages"))


def _mapping(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value}


def _value(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _number(node: yaml.Node | None) -> int | None:
    text = _value(node)
    return int(text) if text.isdecimal() else None


def _is_legacy(entry: _Map) -> bool:
    """DVC 3 writes `hash: md5`; before, there was no need to say."""
    return _value(entry.get("hash")) in ("", "md5-dos2unix")


def _scalar(md5: str) -> str:
    """A hash of digits alone would be read as a number."""
    return f"'{md5}'" if _LIKE_A_NUMBER.fullmatch(md5) else md5
