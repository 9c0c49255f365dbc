"""What can be computed for a datasheet's first sections: content, origin, preprocessing."""

from itertools import pairwise
from statistics import median
from typing import Any

from datasheets.queries.facts import Facts
from datasheets.queries.findings import (
    Evidence,
    Finders,
    Finding,
    counted,
    current_version_evidence,
    day,
    log_evidence,
    share,
    span,
    table,
    version_evidence,
)
from lineage.models import Run, Version

CONTENT = Finders()
_finds = CONTENT.finds


@_finds("ds.motivation.creators")
def creators(facts: Facts) -> Finding | None:
    """Owners and the jobs that wrote it: names that somebody reported, in no order of merit."""
    owners = [o["name"] for o in facts.dataset.facts.get("owners", ()) if o.get("name")]
    if facts.dataset.owner is not None:
        owners.insert(0, facts.dataset.owner.name)
    jobs = sorted({v.produced_by.job.name for v in facts.versions if v.produced_by})
    if not owners and not jobs:
        return None
    said = [*dict.fromkeys(owners), *(f"Written by the job {name}" for name in jobs)]
    return Finding(said, {"owners": sorted(set(owners)), "jobs": jobs}, log_evidence(facts))


@_finds("ds.composition.instances_represent")
def instances(facts: Facts) -> Finding | None:
    if not facts.current or not facts.current.schema:
        return None
    columns = [c["name"] for c in facts.current.schema]
    text = f"{counted(len(columns), 'column')}: {', '.join(columns)}."
    if facts.dataset.description:
        text = f"{facts.dataset.description}\n{text}"
    return Finding(text, {"schema": facts.current.schema}, current_version_evidence(facts))


@_finds("ds.composition.instance_count")
def instance_count(facts: Facts) -> Finding | None:
    if facts.current is None or facts.current.rows is None:
        return None
    return Finding(
        {"rows": facts.current.rows}, facts.current.rows, current_version_evidence(facts)
    )


@_finds("ds.composition.is_sample")
def is_sample(facts: Facts) -> Finding | None:
    """Rows in and out of the last step that changed them: a hint, never the answer."""
    if facts.current is None or facts.current.rows is None:
        return None
    pairs = [
        (s, facts.current.rows)
        for s in facts.sources
        if s.rows
        and s.rows >= facts.current.rows
        and any(e.source_id == s.pk for e in facts.closure.into(facts.current))
    ]
    if not pairs:
        return None
    said = [
        f"{rows:,} rows made from {source.rows:,} rows of {source.dataset.name},"
        f" version {source.version} ({share(rows, source.rows or 0)})"
        for source, rows in pairs
    ]
    basis = {s.dataset.node: 5 * round(20 * rows / (s.rows or 1)) for s, rows in pairs}
    value = {"answer": None, "text": "; ".join(said) + "."}
    return Finding(value, basis, version_evidence(s for s, _ in pairs), complete=False)


@_finds("ds.composition.instance_data")
def instance_data(facts: Facts) -> Finding | None:
    if not facts.current or not facts.current.schema:
        return None
    rows = [[c["name"], c.get("type", ""), c.get("description", "")] for c in facts.current.schema]
    value = table(["Column", "Type", "Description"], rows)
    return Finding(value, facts.current.schema, current_version_evidence(facts), complete=False)


@_finds("ds.composition.labels")
def labels(facts: Facts) -> Finding | None:
    tagged = sorted(c for c in facts.tagged("label", "target") if c)
    if not tagged:
        return None
    value = {"answer": True, "text": f"Columns tagged as label: {', '.join(tagged)}."}
    return Finding(value, tagged, current_version_evidence(facts))


def _profiled(facts: Facts) -> tuple[Evidence, ...]:
    assert facts.profile is not None  # noqa: S101  # the callers have looked
    assert facts.profile.measured_at is not None  # noqa: S101  # a check constraint of the table
    text = f"Profile of version {facts.profile.version.version}, {day(facts.profile.measured_at)}"
    return (Evidence(text, version_id=facts.profile.version_id, seq=None),)


@_finds("ds.composition.missing_information")
def missing(facts: Facts) -> Finding | None:
    if facts.profile is None:
        return None
    rows, columns = facts.profile.body["rows"], facts.profile.body["columns"]
    found = {name: c["nulls"] for name, c in columns.items() if c["nulls"]}
    uncounted = sorted(name for name, c in columns.items() if c["nulls"] is None)
    if found:
        value: Any = table(
            ["Column", "Rows without a value", "Share"],
            [[name, n, share(n, rows)] for name, n in sorted(found.items())],
        )
    else:
        text = f"No empty value in {counted(rows, 'row')} of {counted(len(columns), 'column')}."
        value = {"answer": None, "text": text}
    basis = {name: 2 * round(50 * n / rows) if rows else 0 for name, n in found.items()}
    note = "Why a value is missing is for people to say."
    if uncounted:
        note = f"Not counted: {', '.join(uncounted)}. {note}"
    return Finding(value, basis, _profiled(facts), complete=False, note=note)


@_finds("ds.composition.relationships")
def relationships(facts: Facts) -> Finding | None:
    if not facts.subject_columns:
        return None
    named = [f"{column} ({kind})" for column, kind in facts.subject_columns.items()]
    value = {"answer": True, "text": f"Rows of one person share {' and '.join(named)}."}
    return Finding(value, facts.subject_columns, current_version_evidence(facts))


@_finds("ds.composition.errors_noise_redundancies")
def errors(facts: Facts) -> Finding | None:
    if facts.profile is None or facts.profile.body.get("duplicates") is None:
        return None
    rows, duplicates = facts.profile.body["rows"], facts.profile.body["duplicates"]
    columns = facts.profile.body["columns"]
    constant = sorted(n for n, c in columns.items() if c.get("distinct") == 1) if rows > 1 else []
    text = (
        f"{counted(duplicates, 'row')} of {rows:,} ({share(duplicates, rows)}) repeat another row"
        " exactly."
    )
    if constant:
        text += f" The same value in every row: {', '.join(constant)}."
    basis = {"duplicates": round(100 * duplicates / rows) if rows else 0, "constant": constant}
    return Finding(
        {"answer": None, "text": text},
        basis,
        _profiled(facts),
        complete=False,
        note="Near duplicates and wrong values were not looked for.",
    )


@_finds("ds.composition.self_contained")
def self_contained(facts: Facts) -> Finding | None:
    if not facts.sources:
        return None
    datasets = {s.dataset.pk: s.dataset for s in facts.sources}.values()
    rows = [
        [d.title or d.name, d.namespace, "yes" if d.connector_id else "not known here"]
        for d in datasets
    ]
    basis = sorted([d.node, bool(d.connector_id)] for d in datasets)
    value = table(["Made from", "Namespace", "Stored copy connected"], rows)
    return Finding(value, basis, version_evidence(facts.sources), complete=False)


@_finds("ds.composition.identify_individuals")
def identifies(facts: Facts) -> Finding | None:
    columns = facts.subject_columns or {
        c: kind for c, kind in facts.tagged("personal_data", "pii", "personal-data").items() if c
    }
    if not columns:
        return None
    named = ", ".join(f"{column} ({kind})" if kind else column for column, kind in columns.items())
    value = {"answer": True, "text": f"Directly, by {named}."}
    return Finding(value, columns, current_version_evidence(facts))


def _steps(facts: Facts) -> list[tuple[str, str, list[Run], list[Version]]]:
    """The jobs on the way to the current version, by their first run: name, text, runs, outputs."""
    by_job: dict[int, tuple[str, str, list[Run], list[Version]]] = {}
    for run in facts.closure.runs():
        made = [v for v in facts.closure.versions.values() if v.produced_by_id == run.pk]
        _, _, runs, outputs = by_job.setdefault(
            run.job_id, (run.job.name, run.job.description, [], [])
        )
        runs.append(run)
        outputs.extend(made)
    return list(by_job.values())


@_finds("ds.collection.mechanisms")
def mechanisms(facts: Facts) -> Finding | None:
    roots = {v.pk for v in facts.closure.roots()}
    runs = {e.run_id: e.run for e in facts.closure.edges if e.run and e.source_id in roots}
    jobs = {run.job_id: run.job for run in runs.values() if run is not None}
    if not jobs:
        return None
    said = [
        f"{job.name}: {job.description}" if job.description else job.name
        for job in sorted(jobs.values(), key=lambda job: job.name)
    ]
    basis = sorted([job.node, job.facts.get("source_code", {})] for job in jobs.values())
    return Finding("Read in by " + "; ".join(said), basis, log_evidence(facts), complete=False)


@_finds("ds.collection.timeframe")
def timeframe(facts: Facts) -> Finding | None:
    """When it was written. When what it speaks of happened, is for people to say."""
    if not facts.versions:
        return None
    first, last = facts.versions[-1].created_at, facts.versions[0].created_at
    text = f"Versions written from {day(first)} to {day(last)}."
    basis = {"first": first.date().isoformat()}
    return Finding(text, basis, current_version_evidence(facts), complete=False)


@_finds("ds.preprocessing.steps")
def steps(facts: Facts) -> Finding | None:
    if not (found := _steps(facts)):
        return None
    rows = [
        [
            name,
            text,
            len(runs),
            day(runs[-1].last_event_at),
            max((v.rows for v in made if v.rows is not None), default=None),
        ]
        for name, text, runs, made in found
    ]
    value = table(["Job", "What it does", "Runs", "Last run", "Rows, at most"], rows)
    basis = [[name, sorted(v.version for v in made)] for name, _, _, made in found]
    note = "" if facts.closure.complete else "Cut off: the lineage goes back further."
    return Finding(value, basis, version_evidence(facts.closure.roots()), note=note)


@_finds("ds.preprocessing.raw_saved")
def raw_saved(facts: Facts) -> Finding | None:
    """Yes only if each first version of the data is in a connected store; No if one was purged."""
    roots = facts.closure.roots() if _steps(facts) else []
    if not roots:
        return None
    gone = [v for v in roots if v.purged_at is not None]
    unseen = [v for v in roots if not v.in_store and v.purged_at is None]
    if gone:
        said, answer = "No longer there: " + ", ".join(_called(v) for v in gone), False
    elif unseen:
        names = ", ".join(_called(v) for v in unseen)
        said, answer = f"No store is connected that would show what became of {names}", None
    else:
        said, answer = "Still in its store: " + ", ".join(_called(v) for v in roots), True
    basis = {"gone": len(gone), "unseen": len(unseen), "roots": len(roots)}
    return Finding(
        {"answer": answer, "text": said + "."},
        basis,
        version_evidence(roots),
        complete=answer is not None,
    )


def _called(version: Version) -> str:
    return f"{version.dataset.name}, version {version.version}"


@_finds("ds.preprocessing.software")
def software(facts: Facts) -> Finding | None:
    jobs = {run.job_id: run.job for run in facts.closure.runs()}
    stated = {
        job.name: code
        for job in jobs.values()
        if isinstance(code := job.facts.get("source_code"), dict) and code
    }
    if not stated:
        return None
    rows = [
        [name, code.get("repoUrl") or code.get("url") or "", code.get("version") or ""]
        for name, code in sorted(stated.items())
    ]
    value = table(["Job", "Repository", "Version"], rows)
    return Finding(value, rows, log_evidence(facts), complete=len(stated) == len(jobs))


@_finds("ds.maintenance.updates")
def updates(facts: Facts) -> Finding | None:
    """The observed time between versions; what was promised is for people to say."""
    times = sorted(v.created_at for v in facts.versions)
    gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
    if not gaps:
        return None
    typical, longest = median(gaps), max(gaps)
    text = (
        f"Observed: {counted(len(times), 'version')} from {day(times[0])} to {day(times[-1])},"
        f" {span(typical)} apart in the median, {span(longest)} at most."
    )
    return Finding(text, _rhythm(typical), log_evidence(facts), complete=False)


def _rhythm(seconds: float) -> str:
    """Coarse on purpose: an answer "quarterly" is not made wrong by one early version."""
    steps = ((1, "daily"), (7, "weekly"), (31, "monthly"), (92, "quarterly"), (366, "yearly"))
    return next((word for days, word in steps if seconds <= days * 1.5 * 86_400), "less often")
