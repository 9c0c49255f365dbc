"""A JSON document, such as a certificate or a report, that carries its evidence bundle.

    {…the statement's members, "statement_sha256", "statement_entry", "checkpoint", "events",
     "evidence": the bundle}

Beside the statement's own members only those four may stand, each tied to the evidence: `events`
is a list whose canonical lines (RFC 8785, each ended by LF) have the SHA-256 that the statement
holds as `events_sha256`. Anything else would be read as proven and is not.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from audit.ledger import canonical
from audit.ledger.bundle import statement_digest

EVIDENCE_MEMBER = "evidence"


def document_faults(
    document: Mapping[str, Any],
    statement: Mapping[str, Any] | None,
    *,
    checkpoint: str,
    commits: Sequence[int],
) -> Iterator[str]:
    """What the document says beyond its evidence, or against it, in sentences.

    `commits` are the entries that commit to the statement. All values must be JSON.
    """
    if statement is None:
        yield "The evidence in the document holds no statement, so that nothing vouches for it."
        return
    for name in sorted(statement.keys() - document.keys()):
        yield f"The document leaves out {name!r:.60} of the statement."
    for name, value in document.items():
        if name in statement:
            if not _same(value, statement[name]):
                yield f"The document says something else than the statement in {name!r:.60}."
        elif name != EVIDENCE_MEMBER and not _is_tied(
            name, value, statement, checkpoint=checkpoint, commits=commits
        ):
            yield f"Nothing vouches for {name!r:.60} in the document."


def _is_tied(
    name: str,
    value: Any,
    statement: Mapping[str, Any],
    *,
    checkpoint: str,
    commits: Sequence[int],
) -> bool:
    """Whether a member beside the statement's follows from the evidence."""
    match name:
        case "statement_sha256":
            return _same(value, statement_digest(statement))
        case "statement_entry":
            return type(value) is int and value in commits
        case "checkpoint":
            return _same(value, checkpoint)
        case "events":
            return isinstance(value, list) and _lines_digest(value) == statement.get(
                "events_sha256"
            )
    return False


def _lines_digest(values: list[Any]) -> str:
    return sha256(b"".join(canonical.encode(value) + b"\n" for value in values)).hexdigest()


def _same(left: Any, right: Any) -> bool:
    return canonical.encode(left) == canonical.encode(right)
