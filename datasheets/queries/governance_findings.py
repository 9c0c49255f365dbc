"""What can be computed for a datasheet's later sections: uses, distribution, upkeep, evidence."""

from typing import Any

from django.conf import settings
from django.db.models import Count
from django.urls import reverse

from audit.intake import time_text
from compliance.models import Step
from datasheets.queries.facts import Facts
from datasheets.queries.findings import (
    Evidence,
    Finders,
    Finding,
    counted,
    current_version_evidence,
    day,
    gone,
    log_evidence,
    table,
    version_evidence,
)
from datasheets.values import digest_of
from lineage.models import REWRITTEN_AS, Usage

GOVERNANCE = Finders()
_finds = GOVERNANCE.finds


@_finds("ds.uses.used_already")
def used_already(facts: Facts) -> Finding | None:
    """Datasets and models made of it, and predictions that used it; nothing reported is no No."""
    predictions = (
        Usage.objects.filter(dataset_version__dataset=facts.dataset)
        .exclude(prediction_id="")
        .aggregate(n=Count("prediction_id", distinct=True))["n"]
    )
    rows = [
        [d.title or d.name, d.get_kind_display(), made, "in use" if used else ""]
        for d, made, used in facts.consumers
    ]
    if predictions:
        rows.append(["Predictions recorded", "Prediction", predictions, ""])
    if not rows:
        return None
    basis = [[d.node, made] for d, made, _ in facts.consumers]
    value = table(["Made of it", "Kind", "Number", "State"], rows)
    return Finding(value, basis, log_evidence(facts))


@_finds("ds.uses.repository_of_uses")
def repository_of_uses(facts: Facts) -> Finding | None:
    url = settings.VESTIGE_PUBLIC_URL + reverse("lineage:dataset", args=[facts.dataset.pk])
    return Finding(url, url)


@_finds("ds.distribution.how")
def distribution(facts: Facts) -> Finding | None:
    """Kind of store and the version's digest; the place itself is for those who may enter it."""
    if facts.current is None or facts.dataset.connector is None:
        return None
    connector = facts.dataset.connector
    said = [f"Kept as {connector.get_kind_display()} in the store {connector.name}"]
    if facts.current.digest:
        said.append(f"Version {facts.current.version}: SHA-256 {facts.current.digest}")
    return Finding(
        said, {"kind": connector.kind, "name": connector.name},
        current_version_evidence(facts), complete=False,
    )  # fmt: skip


@_finds("ds.distribution.when")
def available_since(facts: Facts) -> Finding | None:
    if facts.current is None:
        return None
    text = f"Version {facts.current.version} exists since {day(facts.current.created_at)}."
    return Finding(text, facts.current.version, current_version_evidence(facts), complete=False)


@_finds("ds.maintenance.maintainer")
def maintainer(facts: Facts) -> Finding | None:
    owner = facts.dataset.owner
    if owner is None:
        return None
    active = "" if owner.is_active else " This account is closed."
    return Finding(f"{owner.name}.{active}", [owner.pk, owner.is_active], log_evidence(facts))


@_finds("ds.maintenance.contact")
def contact(facts: Facts) -> Finding | None:
    owner = facts.dataset.owner
    if owner is None or not owner.email:
        return None
    return Finding(owner.email, [owner.pk, owner.email, owner.is_active], log_evidence(facts))


@_finds("ds.maintenance.erratum")
def erratum(facts: Facts) -> Finding | None:
    """Versions whose content changed under the same name, and versions that were purged."""
    changed = facts.log.by_type.get("dataset.version_changed", 0)
    purged = [v for v in facts.versions if v.purged_at is not None]
    said = [f"Version {v.version} {gone(v)}" for v in purged]
    if changed:
        times = counted(changed, "time")
        said.append(f"Content of a version changed under the same name: {times}, see the log")
    if not said:
        if facts.log.last is None:
            return None
        return Finding(
            f"None recorded up to entry {facts.log.last:,}.", "none", log_evidence(facts)
        )
    return Finding(said, [v.version for v in purged] + [changed], log_evidence(facts))


@_finds("ds.maintenance.retention")
def retention(facts: Facts) -> Finding | None:
    kept = [v for v in facts.versions if v.purged_at is None and v.in_store]
    if not kept:
        return None
    oldest = min(kept, key=lambda v: v.created_at)
    text = (
        f"The oldest version that is kept is {oldest.version}, of {day(oldest.created_at)}."
        " No retention limit is stated here."
    )
    return Finding(text, oldest.version, version_evidence([oldest]), complete=False)


@_finds("ds.maintenance.older_versions")
def older_versions(facts: Facts) -> Finding | None:
    if not facts.versions:
        return None
    kept = [v for v in facts.versions if v.in_store and v.purged_at is None]
    known = [v for v in facts.versions if REWRITTEN_AS not in v.facts]  # the others have new names
    purged = [v for v in known if v.purged_at is not None]
    text = f"{len(kept):,} of {counted(len(known), 'known version')} are in the store"
    text += f", {len(purged):,} purged." if purged else "."
    return Finding(
        {"answer": len(kept) > 1 or None, "text": text},
        {"kept": len(kept) > 1, "purged": bool(purged)},
        version_evidence(kept[:1]),
        complete=False,
    )


@_finds("dsx.gate.relates_to_people")
def relates_to_people(facts: Facts) -> Finding | None:
    """A person's identifier in it forces Yes; that none is known says nothing."""
    if facts.subject_columns:
        text = f"Columns identify persons: {', '.join(facts.subject_columns)}."
    elif facts.dataset.personal_data:
        text = "It was reported as personal data."
    else:
        return None
    basis = {"columns": facts.subject_columns, "reported": facts.dataset.personal_data}
    return Finding({"answer": True, "text": text}, basis, log_evidence(facts))


@_finds("dsx.identity.name")
def identity(facts: Facts) -> Finding | None:
    said = [facts.dataset.title or facts.dataset.name, f"Identifier: {facts.dataset.node}"]
    return Finding(said, facts.dataset.node, log_evidence(facts))


@_finds("dsx.identity.version")
def version(facts: Facts) -> Finding | None:
    current = facts.current
    if current is None:
        return None
    parents = {e.source_id: e.source for e in facts.closure.into(current)}.values()
    made_of = [f"{v.dataset.name}@{v.version}" for v in parents]
    rows: list[list[Any]] = [
        ["Version", current.version],
        ["Made", time_text(current.created_at)],
        ["How its name is known", current.get_known_by_display()],
        ["Rows", current.rows],
        ["Bytes", current.bytes],
        ["SHA-256", current.digest or "not reported"],
        ["Made of", ", ".join(made_of[:10]) or None],
    ]
    value = table(["Fact", "Value"], [row for row in rows if row[1] is not None])
    return Finding(value, [current.version, current.digest], current_version_evidence(facts))


@_finds("dsx.evidence.profile")
def profile(facts: Facts) -> Finding | None:
    found = facts.profile
    if found is None or found.measured_at is None:
        return None
    rows: list[list[Any]] = [
        ["Measured", time_text(found.measured_at)],
        ["Rows read, all of them", found.body.get("rows")],
        ["Files", found.body.get("files")],
        ["Bytes", found.body.get("bytes")],
        ["SHA-256", found.digest],
    ]
    value = table(["Fact", "Value"], [row for row in rows if row[1] is not None])
    evidence = (Evidence(f"Version {found.version.version}", version_id=found.version_id),)
    return Finding(value, found.digest, evidence)


@_finds("dsx.evidence.lineage_digest")
def lineage_digest(facts: Facts) -> Finding | None:
    return closure_finding(facts)


@_finds("dsx.evidence.audit_head")
def audit_head(facts: Facts) -> Finding | None:
    return checkpoint_finding(facts)


def closure_finding(facts: Facts) -> Finding | None:
    """One digest over every version and edge that the current version goes back to."""
    closure = facts.closure
    if facts.current is None or not (closure.edges or closure.goes_on):
        return None
    names = {pk: [v.node, v.digest] for pk, v in closure.versions.items()}
    joined = sorted(
        [*names[e.source_id], *names[e.target_id], e.kind, e.run.run_id if e.run else ""]
        for e in closure.edges
        if e.source_id in names and e.target_id in names
    )
    digest = digest_of(joined + [[new.node, old.node] for new, old in closure.goes_on])
    rows: list[list[Any]] = [
        ["SHA-256", digest],
        ["Versions", len(closure.versions)],
        ["Edges", len(joined)],
        ["Goes back to", ", ".join(sorted({v.dataset.name for v in closure.roots()}))],
    ]
    note = "" if closure.complete else "Cut off: the lineage goes back further."
    return Finding(
        table(["Fact", "Value"], rows), digest, current_version_evidence(facts),
        complete=closure.complete, note=note,
    )  # fmt: skip


def checkpoint_finding(facts: Facts) -> Finding | None:
    """The log's newest signed checkpoint: what the log said when this was made."""
    found = facts.checkpoint
    if found is None:
        return None
    rows = [
        ["Log", found["origin"]],
        ["Entries", found["size"]],
        ["Root", found["root"]],
        ["Signed", found["signed_at"]],
    ]
    size = int(found["size"])
    evidence = (Evidence("The newest entry covered", seq=size - 1),) if size else ()
    return Finding(table(["Fact", "Value"], rows), found["root"], evidence)


@_finds("dsx.quality.checks")
def quality_checks(facts: Facts) -> Finding | None:
    """Expectations that a pipeline reported for the current version (OpenLineage assertions)."""
    reported = (facts.current.facts if facts.current else {}).get("assertions") or []
    rows = [
        [a.get("assertion", ""), a.get("column") or "", "passed" if a.get("success") else "failed"]
        for a in reported
    ]
    if not rows:
        return None
    value = table(["Check", "Column", "Result"], rows)
    return Finding(value, rows, current_version_evidence(facts))


@_finds("dsx.ropa.data_categories")
def data_categories(facts: Facts) -> Finding | None:
    kinds = sorted(set(facts.subject_columns.values()))
    if not kinds:
        return None
    said = [f"Identifiers of the type {kind}" for kind in kinds]
    return Finding(said, kinds, current_version_evidence(facts), complete=False)


@_finds("dsx.synthetic")
def synthetic(facts: Facts) -> Finding | None:
    models = {v.dataset.node: v for v in facts.closure.versions.values() if v.dataset.is_model}
    if not models:
        if not facts.closure.edges:
            return None
        text = "No model is among what it was made of, as far as was reported."
        return Finding(text, [], current_version_evidence(facts), complete=facts.closure.complete)
    said = [f"Made with the model {v.dataset.name}, version {v.version}" for v in models.values()]
    return Finding(said, sorted(models), version_evidence(models.values()))


@_finds("dsx.subjects.deletions")
def deletions(facts: Facts) -> Finding | None:
    """Erasures that were carried out here and scanned clean, by request; never who it was."""
    done = (
        Step.objects.filter(dataset=facts.dataset, phase=Step.Phase.DONE, outcome="erased")
        .select_related("request")
        .order_by("finished_at", "pk")
    )
    rows = [
        [
            s.request.reference,
            day(s.finished_at) if s.finished_at else "",
            s.rows_erased or 0,
            s.result.get("purged", {}).get("versions_lost", 0),
        ]
        for s in done
    ]
    if not rows:
        if facts.dataset.connector is None:
            return None
        text = "None was carried out here."
        return Finding(text, [], log_evidence(facts))
    value = table(["Request", "Scanned clean", "Rows erased", "Versions purged"], rows)
    return Finding(value, [row[0] for row in rows], log_evidence(facts))
