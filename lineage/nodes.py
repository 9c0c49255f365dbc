"""How lineage is named outside the database: "dataset:NAMESPACE:NAME", "model:NAME", "job:…".

OpenLineage namespaces and names hold colons and at-signs themselves ("s3://bucket",
"postgres://host:5432", "sha256:…"), so a node is never parsed by cutting at a fixed sign: it is
looked up, whole, in the column `node`, and every reading of "NODE@VERSION" is tried.
"""

from collections.abc import Iterator

from lineage.models import Dataset

MAX_NODE_BYTES = 1400  # PostgreSQL refuses to index a text beyond 2,700 bytes
KINDS = ("dataset", "model", "job")
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
    """Names for a new dataset or model, best first; the first that nobody holds becomes its own."""
    escaped = f"{kind}:{namespace.replace(':', '%3A')}:{name.replace(':', '%3A')}"
    plain = f"{kind}:{namespace}:{name}"
    if kind != Dataset.Kind.MODEL:
        return [plain, escaped]
    return [f"model:{name}", plain, escaped]


def job_node(namespace: str, name: str) -> str:
    return f"job:{namespace}:{name}"


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
