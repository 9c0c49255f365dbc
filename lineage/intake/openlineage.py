"""OpenLineage events into reports.

Reads RunEvent, DatasetEvent and JobEvent. Lenient where official samples are: a run id need not be
a UUID, schemaURL and producer may be missing. Our conventions on top: `datasetType` MODEL is a
model version, and the facet `vestige_metrics` ({"auc": 0.71} or {"metrics": {…}}), of the run or of
the output, carries its metrics.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from lineage.intake.openlineage_wire import (
    DatasetFacets,
    Event,
    FieldSources,
    InputFacets,
    JobFacets,
    OutputFacets,
    RunFacets,
    SchemaField,
    Source,
    WireDataset,
    WireJob,
    WireRun,
)
from lineage.intake.reports import DatasetFacts, IntakeError, JobFacts, Report, RunFacts
from lineage.nodes import canonical

STATES = {
    "START": "running",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "FAIL": "fail",
    "ABORT": "abort",
    "OTHER": "",
}
_SAYS_PERSONAL = {"pii", "personal_data", "personal-data", "gdpr"}
_REPLACES_ALL = {"CREATE", "OVERWRITE", "TRUNCATE", "DROP"}
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # the escape, not an escaped backslash before u0000


_event = msgspec.json.Decoder(Event)
_batch = msgspec.json.Decoder(list[msgspec.Raw])


def decode_batch(body: bytes) -> list[bytes]:
    """The events of a batch, each as the exact bytes that were sent. Raises IntakeError."""
    try:
        return [bytes(raw) for raw in _batch.decode(body)]
    except msgspec.ValidationError as exc:
        raise IntakeError("body", "A batch is a JSON array of events.", status=400) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise IntakeError("body", f"This is not JSON: {exc}.", status=400) from exc


def decode(body: bytes) -> Report:
    """One event. Raises IntakeError: status 400 for what is no JSON, 422 for a wrong field."""
    if _NUL.search(body):
        raise IntakeError("body", "A text holds the character NUL.", "Remove it.")
    try:
        event = _event.decode(body)
    except msgspec.ValidationError as exc:
        raise _refusal(str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise IntakeError("body", f"This is not JSON: {exc}.", status=400) from exc
    return _report(event)


def _refusal(message: str) -> IntakeError:
    """msgspec's sentence ("Expected `str`, got `int` - at `$.job.name`") by field and reason."""
    reason, _, place = message.partition(" - at `$")
    field = place.rstrip("`").lstrip(".")
    missing = re.search(r"missing required field `(\w+)`", reason)
    if missing:
        field, reason = f"{field}.{missing[1]}".lstrip("."), "This is missing"
    return IntakeError(field or "body", f"{reason}.")


def _report(event: Event) -> Report:
    at = _time(event.eventTime)
    if isinstance(event.run, WireRun):
        if not isinstance(event.job, WireJob):
            raise IntakeError("job", "A run event names its job.", "Add job.namespace, job.name.")
        return _with_links(
            Report(
                at,
                "run",
                _job(event.job),
                _run(event, event.run),
                inputs=tuple(_datasets(event.inputs, "inputs", event.run)),
                outputs=tuple(_datasets(event.outputs, "outputs", event.run)),
            ),
            event.job,
        )
    if isinstance(event.dataset, WireDataset):
        return _dataset_report(at, event.dataset)
    if isinstance(event.job, WireJob):
        return _with_links(
            Report(
                at,
                "job",
                _job(event.job),
                None,
                inputs=tuple(_datasets(event.inputs, "inputs")),
                outputs=tuple(_datasets(event.outputs, "outputs")),
            ),
            event.job,
        )
    raise IntakeError(
        "run",
        "This is no OpenLineage event: it has neither `run`, `dataset` nor `job`.",
        "Send a RunEvent, DatasetEvent or JobEvent.",
    )


def _dataset_report(at: datetime, wire: WireDataset) -> Report:
    """A dataset on its own; when it names its sources, a job by design stands for the joining."""
    facts = _dataset(wire, "dataset")
    if not facts.sources_by:
        return Report(at, "dataset", described=(facts,))
    job = JobFacts("declared", f"{facts.namespace}:{facts.name}"[:1024])
    return Report(at, "dataset", job, outputs=(facts,))


def _time(moment: datetime) -> datetime:
    """In UTC. A time without a zone is taken as UTC: the guide's own clients send such times."""
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as exc:
        raise IntakeError("eventTime", "This time is out of range.") from exc


def _run(event: Event, wire: WireRun) -> RunFacts:
    kind = (event.eventType or "OTHER").upper()
    if kind not in STATES:
        raise IntakeError(
            "eventType", "This event type is unknown.", f"Send one of {', '.join(STATES)}."
        )
    facets = wire.facets or RunFacets()
    parent = facets.parent
    engine = facets.processing_engine
    return RunFacts(
        run_id=_plain(wire.runId, "run.runId"),
        state=STATES[kind],
        started=kind == "START",
        parent_run_id=parent.run.runId if parent and parent.run and parent.job else "",
        parent_job=(
            JobFacts(
                _plain(parent.job.namespace, "run.facets.parent.job.namespace"),
                _plain(parent.job.name, "run.facets.parent.job.name"),
            )
            if parent and parent.run and parent.job
            else None
        ),
        facts={"engine": msgspec.to_builtins(engine)} if engine else {},
    )


def _job(wire: WireJob) -> JobFacts:
    facets = wire.facets or JobFacets()
    facts: dict[str, Any] = {}
    if facets.jobType:
        facts["type"] = _said(facets.jobType)
    if facets.sourceCodeLocation:
        facts["source_code"] = _said(facets.sourceCodeLocation)
    if facets.sql and facets.sql.query:
        # The text may hold identifiers of persons, which no erasure would find here.
        facts["sql_sha256"] = hashlib.sha256(facets.sql.query.encode()).hexdigest()
    return JobFacts(
        _plain(wire.namespace, "job.namespace"),
        _plain(wire.name, "job.name"),
        facets.documentation.description if facets.documentation else "",
        facts,
    )


def _datasets(
    wires: Sequence[WireDataset] | None, role: str, run: WireRun | None = None
) -> Iterator[DatasetFacts]:
    of_run = (run.facets.vestige_metrics if run and run.facets else None) or {}
    for index, wire in enumerate(wires or ()):
        yield _dataset(wire, f"{role}[{index}]", of_run if role == "outputs" else {})


def _dataset(
    wire: WireDataset, place: str, run_metrics: Mapping[str, Any] | None = None
) -> DatasetFacts:
    facets = wire.facets or DatasetFacets()
    outward = wire.outputFacets or OutputFacets()
    namespace, name = canonical(
        _plain(wire.namespace, f"{place}.namespace"), _plain(wire.name, f"{place}.name")
    )
    version = _plain(
        facets.version.datasetVersion if facets.version else "", f"{place}.facets.version"
    )
    kind = facets.datasetType.datasetType.upper() if facets.datasetType else ""
    tags = (facets.tags.tags if facets.tags else None) or []
    lifecycle = facets.lifecycleStateChange
    digest = _SHA256.fullmatch(version)
    rows, size = _counts(wire)
    metrics = (
        facets.vestige_metrics
        or outward.vestige_metrics
        or (run_metrics if kind == "MODEL" and run_metrics else {})
    )
    sources, sources_by = _sources(facets, place)
    return DatasetFacts(
        namespace=namespace,
        name=name,
        is_model=kind == "MODEL" if kind else None,
        version=version,
        rows=rows,
        bytes=size,
        digest=digest[1] if digest else "",
        schema=tuple(_columns((facets.schema.fields if facets.schema else None) or [])),
        metrics=_metrics(metrics, place),
        description=facets.documentation.description if facets.documentation else "",
        personal_data=any(
            t.key.lower() in _SAYS_PERSONAL and t.value.lower() not in ("false", "no", "0")
            for t in tags
        ),
        keeps_older=not (lifecycle and lifecycle.lifecycleStateChange.upper() in _REPLACES_ALL),
        facts=_facts_of_dataset(facets),
        version_facts=_facts_of_version(wire, facets),
        sources=sources,
        sources_by=sources_by,
    )


def _counts(wire: WireDataset) -> tuple[int | None, int | None]:
    """(rows, bytes). What a run read of an input may be a part of it, so that does not count."""
    outward = wire.outputFacets.outputStatistics if wire.outputFacets else None
    if outward:
        return outward.rowCount, outward.size
    quality = (wire.inputFacets.dataQualityMetrics if wire.inputFacets else None) or (
        wire.facets.dataQualityMetrics if wire.facets else None
    )
    return (quality.rowCount, quality.bytes) if quality else (None, None)


def _facts_of_dataset(facets: DatasetFacets) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if facets.ownership and facets.ownership.owners:
        facts["owners"] = [_said(owner) for owner in facets.ownership.owners]
    if facets.tags and facets.tags.tags:
        facts["tags"] = [_said(tag) for tag in facets.tags.tags]
    if facets.symlinks and facets.symlinks.identifiers:
        facts["symlinks"] = [_said(link) for link in facets.symlinks.identifiers]
    return facts


def _facts_of_version(wire: WireDataset, facets: DatasetFacets) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    inward, outward = wire.inputFacets or InputFacets(), wire.outputFacets or OutputFacets()
    if inward.inputStatistics:
        facts["read"] = _said(inward.inputStatistics)
    if outward.outputStatistics:
        facts["written"] = _said(outward.outputStatistics)
    quality = inward.dataQualityMetrics or facets.dataQualityMetrics
    if quality:
        facts["quality"] = _said(quality)
    assertions = inward.dataQualityAssertions or facets.dataQualityAssertions
    if assertions and assertions.assertions:
        facts["assertions"] = [_said(a) for a in assertions.assertions]
    if facets.lifecycleStateChange:
        facts["lifecycle"] = facets.lifecycleStateChange.lifecycleStateChange
    return facts


def _sources(facets: DatasetFacets, place: str) -> tuple[tuple[tuple[str, str], ...], str]:
    if facets.lineage is not None:
        return _stated(facets.lineage.inputs, facets.lineage.fields, place), "lineage"
    if facets.columnLineage is not None:
        by_column = facets.columnLineage
        sources = [s for c in (by_column.fields or {}).values() for s in c.inputFields or []]
        return _identities([*sources, *(by_column.dataset or [])], place), "column"
    return (), ""


def _with_links(report: Report, job: WireJob) -> Report:
    """The job's own `lineage` facet, put on the outputs that its entries speak of."""
    facet = job.facets.lineage if job.facets else None
    entries = (facet.entries if facet else None) or []
    stated = {
        canonical(e.namespace, e.name): _stated(e.inputs, e.fields, "job.facets.lineage")
        for e in entries
        if e.type == "DATASET" and e.namespace and e.name
    }
    if not stated:
        return report
    outputs = [
        replace(o, sources=stated[o.identity], sources_by="lineage") if o.identity in stated else o
        for o in report.outputs
    ]
    listed = {o.identity for o in report.outputs}
    outputs += [
        DatasetFacts(*identity, sources=sources, sources_by="lineage")
        for identity, sources in stated.items()
        if identity not in listed
    ]
    return replace(report, outputs=tuple(outputs))


def _stated(
    inputs: Sequence[Source] | None, fields: Mapping[str, FieldSources] | None, place: str
) -> tuple[tuple[str, str], ...]:
    by_field = [s for f in (fields or {}).values() for s in f.inputs or []]
    return _identities([*(inputs or []), *by_field], place)


def _identities(sources: Sequence[Source], place: str) -> tuple[tuple[str, str], ...]:
    found = {
        canonical(_plain(s.namespace, place), _plain(s.name, place)): None
        for s in sources
        if s.type == "DATASET" and s.namespace and s.name
    }
    return tuple(found)


def _columns(fields: Sequence[SchemaField], inside: str = "") -> Iterator[Mapping[str, str]]:
    for field in fields:
        yield {"name": f"{inside}{field.name}", "type": field.type or ""}
        yield from _columns(field.fields or [], f"{inside}{field.name}.")


def _metrics(given: Mapping[str, Any], place: str) -> dict[str, float]:
    inner = given.get("metrics", given)
    if not isinstance(inner, Mapping):
        raise IntakeError(f"{place}.vestige_metrics", "Metrics are names with numbers.")
    found = {}
    for name, value in inner.items():
        if name.startswith("_"):  # _producer and _schemaURL, which every facet carries
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise IntakeError(f"{place}.vestige_metrics.{name}", "A metric is a number.")
        found[name] = value
    return found


def _said(facet: msgspec.Struct) -> dict[str, Any]:
    return {k: v for k, v in msgspec.to_builtins(facet).items() if v is not None}


def _plain(text: str, place: str) -> str:
    if _CONTROL.search(text):
        raise IntakeError(place, "Names hold no control characters.", "Remove them.")
    return text
