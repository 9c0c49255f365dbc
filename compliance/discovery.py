"""Finding a person in every connected store, and the plan that follows from it.

Reads stores, writes nothing. The plan's body holds no identity: ids, paths, counts, digests.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import Q, QuerySet

from audit.ledger import canonical
from audit.subjects import SubjectRef, lookup, normalise
from compliance.models import Request, Step
from compliance.queries import identifiers_of
from connectors.adapters.base import ErasePlan, Findings
from connectors.kinds import KINDS
from connectors.models import Connector
from connectors.people import as_integer
from connectors.queries import enabled_connectors, erase_mode, open_store
from lineage.models import REWRITTEN_AS, Version
from lineage.queries import downstream_models, usage_of_subject

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
    else:
        result.questions.append(
            f"After {_ROUNDS} rounds this person's identifiers still lead to others, so rows may "
            "be left out. Settle by hand who is meant."
        )
    for connector in connectors:
        found = findings[connector.pk]
        store = open_store(connector, role="reader")
        plan = store.plan_erase(found, mode=_mode(request, connector))
        if not plan.objects:
            plan = replace(plan, objects=_unpurged(request, connector))
        result.stores.append(Discovered(connector, found, plan))
    return result


def _mode(request: Request, connector: Connector) -> str:
    chosen: str | None = request.modes.get(connector.dataset_node)
    return chosen or erase_mode(connector.kind, connector.options)


def _unpurged(request: Request, connector: Connector) -> tuple[str, ...]:
    """What an earlier plan of this request erased rows from, if its purge never came to its end:
    the rows are not found any more, but what the store keeps of them is still there."""
    steps = Step.objects.filter(request=request, connector=connector, erased_at__isnull=False)
    last = steps.select_related("plan", "batch").order_by("-pk").first()
    if last is None or "purged" in last.result:
        return ()
    return tuple(last.carried_out["planned_objects"])


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
        # 4 in a column of whole numbers is "00004" again, not a customer called "4".
        numbers = {as_integer(value) for known_kind, value in known if known_kind == kind} - {None}
        new = sorted(v for v in seen if (kind, v) not in known and as_integer(v) not in numbers)
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
    return {
        "request": request.reference,
        "steps": steps,
        "affected_models": _models(found),
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
        "method": method_of(plan.mode, plan.objects, retained),
        "retain": dict(retained) if retained else None,
        **_planned(plan, findings),
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
        "search": {
            "method": findings.method,
            "files": findings.files_searched,
            "bytes": findings.bytes_searched,
        },
    }


def method_of(mode: str, planned: Collection[str], retained: Mapping[str, str] | None) -> str:
    """What a step does, as plans and certificates say it."""
    if retained:
        return "retain"
    if not planned:
        return "scan"
    return "erase in every version" if mode == "keep_history" else "erase and purge history"


def rows_now(kind: str, step_body: Mapping[str, Any]) -> int | None:
    """How many rows of the person the current version of a store of this kind has, as a plan saw
    it; None where there is no such version."""
    if KINDS[kind].branches:
        return None
    by_version: Mapping[str, int] = step_body["rows_by_version"]
    if len(by_version) == 1:
        return next(iter(by_version.values()))
    return by_version.get(step_body["snapshot"])


def keeps_history(step_body: Mapping[str, Any]) -> bool:
    """Whether older versions stay. Plans of earlier releases know no mode: they purge."""
    return bool(step_body.get("mode") == "keep_history")


def _models(found: Discovery) -> list[dict[str, Any]]:
    """Model versions that learned from the person, each with why we think so.

    An earlier erasure may have purged versions that held this person too; nobody can search them
    any more. Whoever stands in what is left of a dataset is taken to have stood in its purged
    versions: a model too many is a nuisance, one too few would break the promise.
    """
    held = [
        version.pk
        for item in found.stores
        for version in _versions(item.connector).filter(_called(_with_rows(item)))
    ]
    purged = [
        version.pk
        for item in found.stores
        if item.plan.rows
        for version in _versions(item.connector).filter(_out_of_reach(item))
    ]
    items: dict[int, dict[str, Any]] = {}
    for because, models in (
        ("rows found", downstream_models(held)),
        ("purged versions", downstream_models(purged)),
    ):
        for affected in models:
            items.setdefault(
                affected.version.pk,
                _model(affected.version, list(affected.path), because),
            )
    lookups = [lookup(ref) for ref in found.subjects]
    used = usage_of_subject(lookups).exclude(model_version=None)
    for pk in sorted(set(used.values_list("model_version", flat=True)) - set(items)):
        version = Version.objects.select_related("dataset").get(pk=pk)
        items[pk] = _model(version, [version.node], "usage records")
    return list(items.values())


def _model(version: Version, path: list[str], because: str) -> dict[str, Any]:
    return {
        "id": version.pk,
        "model": f"model:{version.dataset.name}",
        "version": version.version,
        "in_use": version.in_use,
        "path": path,
        "because": because,
    }


def _out_of_reach(item: Discovered) -> Q:
    """Versions that could not be searched: purged ones, and what a store has replaced since it was
    last read (an SQL table keeps its newest state only)."""
    searched = list(item.findings.rows_by_version)
    renamed = Q(facts__has_key=REWRITTEN_AS) & Q(**{f"facts__{REWRITTEN_AS}__in": searched})
    gone = Q(purged_at__isnull=False)
    return (gone | Q(in_store=True) & ~Q(version__in=searched)) & ~renamed


def _called(versions: list[str]) -> Q:
    """These versions, under the names that they have, and those that an erasure has taken from
    them: it left every row in them but its person's."""
    return Q(version__in=versions) | Q(**{f"facts__{REWRITTEN_AS}__in": versions})


def _with_rows(item: Discovered) -> list[str]:
    return [version for version, rows in item.findings.rows_by_version.items() if rows]


def _versions(connector: Connector) -> QuerySet[Version]:
    return Version.objects.filter(
        dataset__namespace=connector.dataset_namespace,
        dataset__name=connector.dataset_name,
        dataset__kind="dataset",
    )


def fresh_plan(
    connector: Connector, people: Sequence[SubjectRef], mode: str
) -> tuple[dict[str, Any], ErasePlan]:
    """The plan for the store as it is now, and its part of what `erase_plan_of` reads.

    Raises StoreError.
    """
    store = open_store(connector, role="reader")
    findings = store.find_subject(needles_for(connector, people))
    plan = store.plan_erase(findings, mode=mode)
    return _planned(plan, findings), plan


def _planned(plan: ErasePlan, findings: Findings) -> dict[str, Any]:
    return {
        "mode": plan.mode,
        "snapshot": plan.snapshot,
        "rows": plan.rows,
        "bytes": plan.bytes,
        "rows_by_version": dict(findings.rows_by_version),
        "versions_lost": list(plan.versions_lost),
        "planned_objects": list(plan.objects),
        "blockers": list(plan.blockers),
    }


def plan_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical form (RFC 8785): what an approval signs."""
    return hashlib.sha256(canonical.encode(dict(body))).hexdigest()


def erase_plan_of(step: Step) -> ErasePlan:
    """The adapter's plan back from that by which the step is carried out."""
    body = step.carried_out
    return ErasePlan(
        mode=body.get("mode", "purge"),
        snapshot=body["snapshot"],
        objects=tuple(body["planned_objects"]),
        rows=body["rows"],
        bytes=body["bytes"],
        versions_lost=tuple(body["versions_lost"]),
        blockers=tuple(body["blockers"]),
        of=str(step.batch or step),
    )
