"""What can be computed for a model card."""

from typing import Any

from django.db.models import Count, Max, Min

from compliance.models import Notice, Step
from compliance.states import NoticeState
from datasheets.queries.facts import Facts
from datasheets.queries.findings import (
    Finders,
    Finding,
    counted,
    current_version_evidence,
    day,
    gone,
    log_evidence,
    span,
    table,
    version_evidence,
)
from datasheets.queries.governance_findings import checkpoint_finding, closure_finding
from lineage.models import Run, Usage, Version
from lineage.queries import training_data

MODEL = Finders()
_finds = MODEL.finds


@_finds("mc.details.name")
def name(facts: Facts) -> Finding | None:
    said = [facts.dataset.title or facts.dataset.name, f"Identifier: {facts.dataset.node}"]
    return Finding(said, facts.dataset.node, log_evidence(facts))


@_finds("mc.details.developers")
def developers(facts: Facts) -> Finding | None:
    owners = [o["name"] for o in facts.dataset.facts.get("owners", ()) if o.get("name")]
    if facts.dataset.owner is not None:
        owners.insert(0, facts.dataset.owner.name)
    if not owners:
        return None
    said = list(dict.fromkeys(owners))
    return Finding(said, sorted(said), log_evidence(facts), complete=False)


def _training_run(facts: Facts) -> Run | None:
    return facts.current.produced_by if facts.current else None


@_finds("mc.details.date")
def date(facts: Facts) -> Finding | None:
    if facts.current is None:
        return None
    run = _training_run(facts)
    moment = run.ended_at if run and run.ended_at else facts.current.created_at
    how = "end of the training run" if run and run.ended_at else "first reported"
    return Finding(
        f"{day(moment)}, {moment:%H:%M} UTC ({how})",
        facts.current.version,
        current_version_evidence(facts),
    )


@_finds("mc.details.version")
def version(facts: Facts) -> Finding | None:
    """The version, and how it differs from the one before: data, measures, digest."""
    current = facts.current
    if current is None:
        return None
    earlier = [v for v in facts.versions if v.created_at < current.created_at]
    before = earlier[0] if earlier else None
    rows: list[list[Any]] = [["Version", current.version, before.version if before else None]]
    rows.append(["SHA-256", current.digest or "not reported", before.digest if before else None])
    rows.append(["In use", _use(current), _use(before) if before else None])
    for metric in sorted(set(current.metrics) | set(before.metrics if before else {})):
        was = _measure(before, metric) if before else None
        rows.append([metric, _measure(current, metric), was])
    rows.append(["Made of", _inputs_text(current), _inputs_text(before) if before else None])
    columns = ["Fact", "This version", "The one before"]
    shown = rows if before else [row[:2] for row in rows]
    value = table(columns if before else columns[:2], shown)
    return Finding(value, [current.version, current.digest], current_version_evidence(facts))


def _use(version: Version) -> str:
    if version.retired_at:
        return f"retired on {day(version.retired_at)}"
    return "yes" if version.in_use else "no"


def _measure(version: Version, metric: str) -> str | None:
    found = version.metrics.get(metric)
    return None if found is None else f"{found:.4g}"


def _inputs_text(version: Version) -> str:
    return ", ".join(f"{v.dataset.name}@{v.version}" for v in training_data(version)[:10])


@_finds("mc.details.training_algorithm")
def training(facts: Facts) -> Finding | None:
    """The training job as it was reported. Complete only with parameters and the code's version."""
    run = _training_run(facts)
    if run is None:
        return None
    code = run.job.facts.get("source_code") or {}
    parameters = run.facts.get("parameters") or {}
    rows: list[list[Any]] = [
        ["Job", run.job.name],
        ["What it does", run.job.description],
        ["Code", code.get("repoUrl") or code.get("url")],
        ["Code version", code.get("version")],
        *([f"Parameter {key}", str(value)] for key, value in sorted(parameters.items())),
    ]
    value = table(["Fact", "Value"], [row for row in rows if row[1]])
    return Finding(
        value, rows, current_version_evidence(facts),
        complete=bool(parameters and code.get("version")),
    )  # fmt: skip


@_finds("mc.details.base_model")
def base_model(facts: Facts) -> Finding | None:
    if facts.current is None or not facts.closure.edges:
        return None
    bases = [v for v in facts.closure.versions.values() if v.dataset.is_model]
    bases = [v for v in bases if v.dataset_id != facts.dataset.pk]
    if not bases:
        text = "None is among what it was made of, as far as was reported."
        return Finding(text, [], current_version_evidence(facts))
    said = [f"{v.dataset.name}, version {v.version}" for v in bases]
    return Finding(said, sorted(said), version_evidence(bases))


@_finds("mc.details.contact")
def contact(facts: Facts) -> Finding | None:
    owner = facts.dataset.owner
    if owner is None or not owner.email:
        return None
    basis = [owner.pk, owner.email, owner.is_active]
    return Finding(f"{owner.name}, {owner.email}", basis, log_evidence(facts))


@_finds("mc.details.dependencies")
def dependencies(facts: Facts) -> Finding | None:
    run = _training_run(facts)
    engine = (run.facts if run else {}).get("engine") or {}
    if not engine.get("name"):
        return None
    said = [f"{engine['name']} {engine.get('version') or ''}".strip()]
    return Finding(said, said, current_version_evidence(facts))


@_finds("mc.metrics.measures")
def measures(facts: Facts) -> Finding | None:
    names = sorted(facts.current.metrics) if facts.current else []
    if not names:
        return None
    return Finding(names, names, current_version_evidence(facts), complete=False)


@_finds("mc.quantitative.unitary")
def results(facts: Facts) -> Finding | None:
    if facts.current is None or not facts.current.metrics:
        return None
    rows = [[metric, f"{value:.4g}"] for metric, value in sorted(facts.current.metrics.items())]
    return Finding(
        table(["Measure", "Value"], rows), rows, current_version_evidence(facts),
        note="As the training run reported them; they were not measured again here.",
    )  # fmt: skip


@_finds("mc.training_data.datasets")
def training_datasets(facts: Facts) -> Finding | None:
    """Every version that went into the run. Which were for testing only, its events do not say."""
    if facts.current is None or not (inputs := training_data(facts.current)):
        return None
    rows = [
        [
            v.dataset.title or v.dataset.name,
            v.version,
            v.rows,
            v.digest[:16] + "…" if v.digest else None,
            gone(v) if v.purged_at else "there" if v.in_store else None,
        ]
        for v in inputs
    ]
    value = table(["Dataset", "Version", "Rows", "SHA-256", "In its store"], rows)
    basis = [v.node for v in inputs]
    note = "Inputs of the training run; some may have been used for evaluation only."
    return Finding(value, basis, version_evidence(inputs), note=note)


@_finds("mc.evaluation_data.preprocessing")
def preprocessing(facts: Facts) -> Finding | None:
    jobs: dict[int, tuple[str, str, int]] = {}
    for run in facts.closure.runs():
        _, _, runs = jobs.get(run.job_id, ("", "", 0))
        jobs[run.job_id] = (run.job.name, run.job.description, runs + 1)
    if not jobs:
        return None
    value = table(["Job", "What it does", "Runs"], [list(job) for job in jobs.values()])
    basis = sorted(job[0] for job in jobs.values())
    note = "All jobs that its data went through; which was for evaluation is not reported."
    return Finding(value, basis, current_version_evidence(facts), note=note)


@_finds("mc.training_data.personal_data")
def personal_data(facts: Facts) -> Finding | None:
    """Persons that were counted, erasures upstream since it was made, and the notices they led to.

    Counts of persons are of data usage that was reported; nobody reported is not nobody used.
    """
    if facts.current is None:
        return None
    upstream = {v.dataset_id for v in facts.closure.versions.values()}
    persons = (
        Usage.objects.filter(model_version=facts.current)
        .exclude(subject_lookup="")
        .aggregate(n=Count("subject_lookup", distinct=True))["n"]
    )
    erasures = Step.objects.filter(dataset__in=upstream, phase=Step.Phase.DONE, outcome="erased")
    since = erasures.filter(finished_at__gt=facts.current.created_at).count()
    rows: list[list[Any]] = [
        ["Datasets upstream with personal data", _personal(facts)],
        ["Persons whose use by this version was reported", persons],
        ["Erasures upstream, scanned clean", erasures.count()],
        ["… since this version was made", since],
        *_notice_rows(facts),
    ]
    return Finding(
        table(["Fact", "Number"], rows), [row[1] for row in rows],
        (*current_version_evidence(facts), *log_evidence(facts)),
    )  # fmt: skip


def _personal(facts: Facts) -> int:
    datasets = {v.dataset_id: v.dataset for v in facts.closure.versions.values()}
    return sum(1 for d in datasets.values() if d.personal_data or d.connector_id)


def _notice_rows(facts: Facts) -> list[list[Any]]:
    notices = Notice.objects.filter(model_version__dataset=facts.dataset)
    counts = dict(notices.values_list("state").annotate(n=Count("pk")).order_by())
    closed, waived = counts.pop(NoticeState.CLOSED, 0), counts.pop(NoticeState.WAIVED, 0)
    is_open = sum(counts.values())
    due = notices.exclude(state__in=[NoticeState.CLOSED, NoticeState.WAIVED]).aggregate(
        first=Min("due_at")
    )["first"]
    rows: list[list[Any]] = [
        ["Retraining notices, any version: open", is_open],
        ["… closed with proof", closed],
        ["… waived", waived],
    ]
    if due is not None:
        rows.insert(1, ["… the next is due", day(due)])
    return rows


@_finds("mc.ethics.sensitive_data")
def sensitive_data(facts: Facts) -> Finding | None:
    """Identifiers upstream raise the question; they never answer it with No."""
    datasets = {v.dataset_id: v.dataset for v in facts.closure.versions.values()}
    personal = sorted(d.title or d.name for d in datasets.values() if d.personal_data)
    if not personal:
        return None
    text = f"Made of personal data: {', '.join(personal)}. Whether it is sensitive is for people."
    return Finding(
        {"answer": None, "text": text}, personal, version_evidence(facts.sources), complete=False
    )


@_finds("mc.ethics.explainability")
def explainability(facts: Facts) -> Finding | None:
    recorded = _predictions(facts)
    if not recorded["n"]:
        return None
    traced = (
        Usage.objects.filter(model_version__dataset=facts.dataset, dataset_version__isnull=False)
        .exclude(prediction_id="")
        .aggregate(n=Count("prediction_id", distinct=True))["n"]
    )
    text = (
        f"{traced:,} of {counted(recorded['n'], 'recorded prediction')} lead to the versions of"
        " the model and of the data that made them."
    )
    return Finding(text, traced == recorded["n"], log_evidence(facts), complete=False)


def _predictions(facts: Facts) -> dict[str, Any]:
    found = (
        Usage.objects.filter(model_version__dataset=facts.dataset)
        .exclude(prediction_id="")
        .aggregate(
            n=Count("prediction_id", distinct=True),
            first=Min("occurred_at"),
            last=Max("occurred_at"),
        )
    )
    return dict(found)


@_finds("mc.evidence.predictions")
def predictions(facts: Facts) -> Finding | None:
    found = _predictions(facts)
    if not found["n"]:
        return None
    explained = facts.log.by_type.get("prediction.explained", 0)
    rows = [
        ["Predictions recorded", found["n"]],
        ["First", day(found["first"])],
        ["Last", day(found["last"])],
        ["Explained on request", explained],
    ]
    return Finding(table(["Fact", "Value"], rows), found["n"], log_evidence(facts))


@_finds("mc.operations.environment")
def environment(facts: Facts) -> Finding | None:
    run = _training_run(facts)
    if run is None or run.started_at is None or run.ended_at is None:
        return None
    seconds = (run.ended_at - run.started_at).total_seconds()
    text = f"The training run took {span(seconds)}, as reported. Hardware and energy: not stated."
    return Finding(text, facts.current and facts.current.version,
                   current_version_evidence(facts), complete=False)  # fmt: skip


@_finds("mc.evidence.lineage_digest")
def lineage_digest(facts: Facts) -> Finding | None:
    return closure_finding(facts)


@_finds("mc.evidence.audit_head")
def audit_head(facts: Facts) -> Finding | None:
    return checkpoint_finding(facts)
