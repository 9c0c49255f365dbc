"""Drawing a graph as SVG with graphviz, whose `dot` runs as a process of its own.

The drawing is a help for the eye: whatever it shows also stands in a table beside it. Colours come
from the page's style sheet by the classes of the nodes.
"""

import functools
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_DRAWN_NODES = 120
MAX_DRAWN_EDGES = 400
_SECONDS = 8
_LABELLED_EDGES = 30
_LINE = 34
_DASHED = ("assumed", "version")
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Drawing:
    """`svg` ready to stand in a page, or empty and `reason` says why there is none."""

    svg: str = ""
    reason: str = ""


def draw(graph: Mapping[str, Any], urls: Mapping[str, str], *, title: str) -> Drawing:
    """The graph (of `lineage.queries.graph`) drawn from left to right; `urls` by node id."""
    nodes, edges = graph["nodes"], graph["edges"]
    if len(nodes) < 2:
        return Drawing(reason="Nothing is joined to it yet.")
    if len(nodes) > MAX_DRAWN_NODES or len(edges) > MAX_DRAWN_EDGES:
        return Drawing(
            reason=f"{len(nodes):,} nodes and {len(edges):,} edges are too many to draw. Choose a"
            " smaller depth; the table below has them all."
        )
    if shutil.which("dot") is None:
        return Drawing(
            reason="The drawing needs graphviz (on Debian: apt-get install graphviz), which is not"
            " installed here. The table below says the same."
        )
    source = _dot(nodes, edges, urls, here=graph["node"])
    try:
        drawn = _run(source)
        svg = _for_page(drawn, title, f"{len(nodes)} nodes, {len(edges)} edges")
    except (OSError, subprocess.SubprocessError, ET.ParseError):
        return Drawing(reason="graphviz could not draw this graph. The table below says the same.")
    return Drawing(svg=svg)


def _dot(
    nodes: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    urls: Mapping[str, str],
    *,
    here: str,
) -> str:
    lines = [
        "digraph lineage {",
        'rankdir=LR; nodesep=0.3; ranksep=0.7; bgcolor="transparent";',
        'node [shape=box, style="rounded", fontsize=12, margin="0.18,0.1"];',
        "edge [fontsize=10, arrowsize=0.7];",
    ]
    for node in nodes:
        facts = {
            "label": "\n".join(_label(node)),
            "class": " ".join(_classes(node, here=node["id"] == here)),
            "tooltip": node["id"],
        }
        if node["id"] in urls:
            facts["URL"] = urls[node["id"]]
        if node["type"] == "job":
            facts["shape"] = "cds"
        lines.append(f"{_quoted(node['id'])} [{_attributes(facts)}];")
    labelled = len(edges) <= _LABELLED_EDGES
    by_run = {(e["source"], e["target"]) for e in edges if e["kind"] not in _DASHED}
    for edge in edges:
        if edge["kind"] in _DASHED and (edge["source"], edge["target"]) in by_run:
            continue  # a run says the same and more
        facts = {"class": edge["kind"]}
        if edge["kind"] in _DASHED:
            facts["style"] = "dashed"
        if labelled and edge.get("job") and not edge["target"].startswith("job:"):
            facts["label"] = _shortened(edge["job"].rpartition(":")[2])
        lines.append(
            f"{_quoted(edge['source'])} -> {_quoted(edge['target'])} [{_attributes(facts)}];"
        )
    return "\n".join([*lines, "}"])


def _label(node: Mapping[str, Any]) -> list[str]:
    lines = [_shortened(node["name"])]
    if node["type"] == "job":
        return ["job", *lines]
    version = node.get("version")
    if version is None:
        count = node.get("versions", 0)
        lines.append(f"{count} version{'' if count == 1 else 's'}")
    elif version.startswith("seen:"):
        lines.append("version not named")
    else:
        lines.append(_shortened(f"version {version}"))
    if node.get("purged_at"):
        lines.append("purged")
    if node.get("in_use"):
        lines.append("in use")
    return lines


def _classes(node: Mapping[str, Any], *, here: bool) -> list[str]:
    classes = [node["type"]]
    if here:
        classes.append("here")
    gone = node.get("purged_at") or (
        node.get("purged_versions") and node["purged_versions"] == node.get("versions")
    )
    if gone:
        classes.append("gone")
    return classes


def _shortened(text: str) -> str:
    return text if len(text) <= _LINE else f"{text[: _LINE // 2 - 1]}…{text[-_LINE // 2 :]}"


def _quoted(text: str) -> str:
    # graphviz writes "&" into addresses as it is, and takes what looks like an entity for one.
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n")
    return f'"{escaped}"'


def _attributes(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={_quoted(value)}" for name, value in facts.items())


@functools.lru_cache(maxsize=64)
def _run(source: str) -> str:
    found = subprocess.run(
        ["dot", "-Tsvg"],  # noqa: S607  # wherever the system has it
        input=source.encode(),
        capture_output=True,
        timeout=_SECONDS,
        check=True,
    )
    return found.stdout.decode()


def _for_page(drawn: str, title: str, description: str) -> str:
    """Only the <svg> element, named for screen readers, its links as plain `href`.

    Parsed and written anew, so that what reaches the page is well-formed whatever names hold.
    """
    ET.register_namespace("", _SVG)
    root = ET.fromstring(drawn)  # noqa: S314  # written by our own graphviz, entities never resolved
    for element in root.iter():
        for name in ("href", "title"):
            value = element.attrib.pop(f"{{{_XLINK}}}{name}", None)
            if value is not None and name == "href":
                element.set("href", value)
    graph = root.find(f"{{{_SVG}}}g")
    own_title = graph.find(f"{{{_SVG}}}title") if graph is not None else None
    if graph is not None and own_title is not None:
        graph.remove(own_title)
    for tag, text in (("desc", description), ("title", title)):
        element = ET.Element(f"{{{_SVG}}}{tag}", {"id": f"graph-{tag}"})
        element.text = text
        root.insert(0, element)
    # A group and not an image: the nodes inside are links.
    root.set("role", "group")
    root.set("aria-labelledby", "graph-title")
    root.set("aria-describedby", "graph-desc")
    return ET.tostring(root, encoding="unicode")
