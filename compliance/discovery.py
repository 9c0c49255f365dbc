"""Finding a person in every connected store, and the plan that follows from it.

Reads stores, writes nothing. The plan's body holds no identity: ids, paths, counts, digests.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.ledger import canonical
from audit.subjects import SubjectRef, normalise
from compliance.models import Request
from compliance.queries import identifiers_of
from connectors.adapters.base import ErasePlan, Findings
from connectors.models import Connector
from connectors.queries import enabled_connectors, open_store
from lineage.models import Version
from lineage.queries import downstream_models

# One person may well have two addresses. More than this under one identifier is a shared mailbox
# or a placeholder, and erasing everybody behind it would be a disaster: a human must look.
_MOST_LINKED = 3
_ROUNDS = 3


@dataclass
class Discovered:
    """What was found in one store, and how it would be erased there."""

    connector: Connector
    findings: Findings
    plan: ErasePlan


@dataclass
class Discovery:
    subjects: list[SubjectRef]
    stores: list[Discovered] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)  # what a human must settle first


def needles_for(connector: Connector, subjects: Sequence[SubjectRef]) -> dict[str, list[str]]:
    """Column → values: which identifiers can stand in which column of this store."""
    by_type: dict[str, list[str]] = defaultdict(list)
    for ref in subjects:
        by_type[ref.type].append(ref.value)
    columns: Mapping[str, str] = connector.subject_columns
    return {column: by_type[kind] for column, kind in columns.items() if by_type.get(kind)}


def in_scope(request: Request) -> list[Connector]:
    chosen = enabled_connectors()
    if not request.scope:
        return list(chosen)
    return [c for c in chosen if c.dataset_node in request.scope]


def discover(
    request: Request, *, subjects: Sequence[SubjectRef] = (), on_store: Callable[[int, int], None]
) -> Discovery:
    """Searches each store in scope, follows identifiers that stand in the person's own rows.

    `on_store(done, total)` is called between stores. Raises `StoreError` when one cannot be read:
    a search that left a store out would be a false all-clear.
    """
    connectors = in_scope(request)
    result = Discovery(subjects=list(subjects) or identifiers_of(request))
    findings: dict[int, Findings] = {}
    for _ in range(_ROUNDS):
        for done, connector in enumerate(connectors):
            on_store(done, len(connectors))
            needles = needles_for(connector, result.subjects)
            findings[connector.pk] = open_store(connector, role="reader").find_subject(needles)
        if not _follow_links(connectors, findings, result):
            break
    for connector in connectors:
        found = findings[connector.pk]
        store = open_store(connector, role="reader")
        result.stores.append(Discovered(connector, found, store.plan_erase(found, mode="purge")))
    return result


def _follow_links(
    connectors: Sequence[Connector], findings: Mapping[int, Findings], result: Discovery
) -> bool:
    """Adds identifiers seen in the person's rows; True when there are new ones to search for."""
    linked: dict[str, set[str]] = defaultdict(set)
    for connector in connectors:
        for column, values in findings[connector.pk].linked.items():
            kind = connector.subject_columns.get(column)
            if kind:
                linked[kind].update(normalise(SubjectRef(kind, v)).value for v in values)
    known = {(ref.type, ref.value) for ref in result.subjects}
    added = False
    result.questions = []
    for kind, seen in sorted(linked.items()):
        new = sorted(v for v in seen if (kind, v) not in known)
        if len(seen) > _MOST_LINKED:
            result.questions.append(
                f"{len(seen)} different identifiers of type {kind} stand in rows of this "
                "person. That many do not belong to one person: settle by hand who is meant."
            )
        elif new:
            result.subjects += [SubjectRef(kind, value) for value in new]
            added = True
    return added


def held_address(request: Request) -> str | None:
    """The one e-mail address that is known to be this person's: theirs, or one held in a store."""
    given = identifiers_of(request)
    for ref in given:
        if ref.type == "email":
            return ref.value
    found: set[str] = set()
    for connector in in_scope(request):
        if "email" not in connector.subject_columns.values():
            continue
        findings = open_store(connector, role="reader").find_subject(needles_for(connector, given))
        for column, values in findings.linked.items():
            if connector.subject_columns.get(column) == "email":
                found.update(normalise(SubjectRef("email", v)).value for v in values)
    return found.pop() if len(found) == 1 else None


def plan_body(
    request: Request, found: Discovery, *, retain: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """The plan as approvers sign it. `retain`: dataset node → {"exemption", "reason"}."""
    steps = [_step(item, retain.get(item.connector.dataset_node)) for item in found.stores]
    touched = [
        (item.connector, version)
        for item in found.stores
        for version, rows in item.findings.rows_by_version.items()
        if rows
    ]
    return {
        "request": request.reference,
        "mode": "purge",
        "steps": steps,
        "affected_models": _models(touched),
        "identifiers": _counted(found.subjects),
        "questions": found.questions,
    }


def _counted(subjects: Sequence[SubjectRef]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for ref in subjects:
        counts[ref.type] += 1
    return dict(sorted(counts.items()))


def _step(item: Discovered, retained: Mapping[str, str] | None) -> dict[str, Any]:
    plan, findings = item.plan, item.findings
    return {
        "connector": item.connector.pk,
        "dataset": item.connector.dataset_node,
        "store": item.connector.name,
        "kind": item.connector.kind,
        "method": "retain" if retained else ("erase and purge history" if plan.objects else "scan"),
        "retain": dict(retained) if retained else None,
        "snapshot": plan.snapshot,
        "rows": plan.rows,
        "bytes": plan.bytes,
        "rows_by_version": dict(findings.rows_by_version),
        "versions_lost": list(plan.versions_lost),
        "objects": [
            {
                "path": o.path,
                "rows": o.rows,
                "bytes": o.bytes,
                "versions": list(o.versions),
                "kind": o.kind,
            }
            for o in findings.objects
        ],
        "planned_objects": list(plan.objects),
        "blockers": list(plan.blockers),
        "search": {
            "method": findings.method,
            "files": findings.files_searched,
            "bytes": findings.bytes_searched,
        },
    }


def _models(touched: Sequence[tuple[Connector, str]]) -> list[dict[str, Any]]:
    versions: list[int] = []
    for connector, name in touched:
        versions += Version.objects.filter(
            dataset__namespace=connector.dataset_namespace,
            dataset__name=connector.dataset_name,
            dataset__kind="dataset",
            version=name,
        ).values_list("pk", flat=True)
    return [
        {
            "id": affected.version.pk,
            "model": f"model:{affected.version.dataset.name}",
            "version": affected.version.version,
            "in_use": affected.in_use,
            "path": list(affected.path),
        }
        for affected in downstream_models(versions)
    ]


def plan_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical form (RFC 8785): what an approval signs."""
    return hashlib.sha256(canonical.encode(dict(body))).hexdigest()


def erase_plan_of(step_body: Mapping[str, Any]) -> ErasePlan:
    """The adapter's plan back from the approved body."""
    return ErasePlan(
        mode="purge",
        snapshot=step_body["snapshot"],
        objects=tuple(step_body["planned_objects"]),
        rows=step_body["rows"],
        bytes=step_body["bytes"],
        versions_lost=tuple(step_body["versions_lost"]),
        blockers=tuple(step_body["blockers"]),
    )
