"""How lineage is named outside the database: "dataset:NAMESPACE:NAME", "model:NAME", "job:…".

OpenLineage namespaces and names hold colons and at-signs themselves ("s3://bucket",
"postgres://host:5432", "sha256:…"), so a node is never parsed by cutting at a fixed sign: it is
looked up, whole, in the column `node`, and every reading of "NODE@VERSION" is tried.
"""

import hashlib
from collections.abc import Iterator

MAX_CHARACTERS = 512  # what the log takes as the name of a resource
_SAME_STORE = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_OBJECT_STORES = ("s3://", "gs://", "abfss://", "wasbs://")


def canonical(namespace: str, name: str) -> tuple[str, str]:
    """The one spelling of a dataset's identity, after OpenLineage's naming rules.

    Object stores: scheme "s3" (also for s3a, s3n), the name without slashes at its ends. Other
    names stay as they are: "/tmp/x" of the namespace "file" is a path.
    """
    scheme, separator, rest = namespace.partition("://")
    if separator:
        namespace = f"{_SAME_STORE.get(scheme, scheme)}://{rest}".rstrip("/")
    if namespace.startswith(_OBJECT_STORES):
        name = name.strip("/") or "/"
    return namespace, name


def candidate_nodes(kind: str, namespace: str, name: str) -> list[str]:
    """Names for a new node, best first; the first that nobody holds becomes its own."""
    plain = f"{kind}:{namespace}:{name}"
    escaped = f"{kind}:{namespace.replace(':', '%3A')}:{name.replace(':', '%3A')}"
    names = [f"model:{name}"] if kind == "model" else []
    return [_shortened(text) for text in [*names, plain, escaped]]


def _shortened(node: str) -> str:
    """The node itself, or when it is too long for the log its beginning and its digest."""
    if len(node) <= MAX_CHARACTERS:
        return node
    digest = hashlib.sha256(node.encode()).hexdigest()[:32]
    return f"{node[: MAX_CHARACTERS - 33]}#{digest}"


def readings(text: str) -> Iterator[tuple[str, str]]:
    """Every way to read "NODE[@VERSION]" as (node, version), the whole text as a node first."""
    yield text, ""
    at = text.find("@")
    while at != -1:
        if text[at + 1 :]:
            yield text[:at], text[at + 1 :]
        at = text.find("@", at + 1)


def splits(text: str) -> Iterator[tuple[str, str]]:
    """Every way to read "NAMESPACE:NAME" as (namespace, name)."""
    colon = text.find(":")
    while colon != -1:
        if text[:colon] and text[colon + 1 :]:
            yield text[:colon], text[colon + 1 :]
        colon = text.find(":", colon + 1)
