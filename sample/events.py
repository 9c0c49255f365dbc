"""The sample company's runs as OpenLineage events: START and COMPLETE of each.

Identity: namespace "northgate" and the table's name, "models" and the model's name; the version is
in the version facet, for tables the Delta version. A model is a dataset whose type is MODEL, the
convention for what OpenLineage has no facet of its own for. What the test of a model measured
travels in the run facet `vestige_metrics`, which Vestige reads; how it was trained in the company's
own `northgate_training`.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    JobFacet,
    RunFacet,
    column_lineage_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    datasource_dataset,
    documentation_dataset,
    documentation_job,
    input_statistics_input_dataset,
    job_type_job,
    lifecycle_state_change_dataset,
    nominal_time_run,
    output_statistics_output_dataset,
    ownership_dataset,
    parent_run,
    schema_dataset,
    storage_dataset,
    tags_dataset,
)
from openlineage.client.uuid import generate_static_uuid

from sample.company import FEATURES, MODEL, NAMESPACE, PRODUCER, PURCHASES, SOURCE, Dataset
from sample.runs import Ran, State
from sample.training import COLUMNS, TrainedModel

# Columns that are made of other columns of the same name in the table before, and those that are
# not. Only the two jobs that change what a row means state it.
_MADE_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "clean": {
        "customer_id": ("customer_id",),
        "email": ("email",),
        "date": ("date",),
        "orders": ("customer_id", "date"),
        "cds": ("cds",),
        "amount": ("amount",),
    },
    "build_features": {
        "customer_id": ("customer_id",),
        "recency_days": ("date",),
        "frequency": ("date",),
        "monetary": ("amount",),
        "tenure_days": ("date",),
        "cds_mean": ("cds",),
        "bought_again": ("date",),
    },
}
_SUMS = {
    "orders",
    "cds",
    "amount",
    "recency_days",
    "frequency",
    "monetary",
    "tenure_days",
    "cds_mean",
    "bought_again",
}


@attr.define
class MetricsRunFacet(RunFacet):
    """Metrics of the model that the run wrote, by name."""

    metrics: dict[str, float]

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}/facets/1-0-0/MetricsRunFacet.json#/$defs/MetricsRunFacet"


@attr.define
class TrainingRunFacet(RunFacet):
    """How a model was trained. `sha256` is of its file."""

    algorithm: str
    sha256: str
    columns: list[str]
    trainingRows: int  # noqa: N815  # the spelling of OpenLineage's own facets
    trainingDataset: str  # noqa: N815
    testDataset: str  # noqa: N815

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}/facets/1-0-0/TrainingRunFacet.json#/$defs/TrainingRunFacet"


def run_id(run: Ran) -> str:
    """The same for the same run whenever it is told (UUIDv7 of its start, job and key)."""
    data = f"{NAMESPACE}.{run.job.name}.{run.key}".encode()
    return str(generate_static_uuid(run.started_at, data))


def events_of(runs: Iterable[Ran]) -> Iterator[RunEvent]:
    """The runs' events in the order of their times, as a live pipeline would send them."""
    told = [
        (moment, order, state, run)
        for order, run in enumerate(runs)
        for moment, state in ((run.started_at, RunState.START), (run.ended_at, RunState.COMPLETE))
    ]
    # A parent starts with its first child and ends with its last: it comes first, and last.
    told.sort(key=lambda one: (one[0], one[1] if one[2] is RunState.START else -one[1]))
    for moment, _, state, run in told:
        yield _event(run, state, moment)


def _event(run: Ran, state: RunState, moment: datetime) -> RunEvent:
    done = state is RunState.COMPLETE
    return RunEvent(
        eventTime=moment.isoformat(),
        producer=PRODUCER,
        eventType=state,
        run=Run(runId=run_id(run), facets=_run_facets(run, done=done)),
        job=Job(namespace=NAMESPACE, name=run.job.name, facets=_job_facets(run)),
        inputs=[_input(read) for read in run.reads],
        # What it writes has a version only when it is written.
        outputs=[_output(run, written) for written in run.writes] if done else [],
    )


def _run_facets(run: Ran, *, done: bool) -> dict[str, RunFacet]:
    facets: dict[str, RunFacet] = {}
    if run.parent is not None:
        facets["parent"] = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=run_id(run.parent)),
            job=parent_run.Job(namespace=NAMESPACE, name=run.parent.job.name),
        )
    if run.period is not None:
        first, last = run.period
        facets["nominalTime"] = nominal_time_run.NominalTimeRunFacet(
            nominalStartTime=_midnight(first),
            nominalEndTime=_midnight(last + timedelta(days=1)),  # the end is excluded
        )
    model = next((written.model for written in run.writes if written.model), None)
    if model is not None and done:
        facets["northgate_training"] = _training(model)
        facets["vestige_metrics"] = MetricsRunFacet(metrics=model.metrics)
    return facets


def _training(model: TrainedModel) -> TrainingRunFacet:
    name = f"{FEATURES.namespace}:{FEATURES.name}"
    return TrainingRunFacet(
        algorithm=model.algorithm,
        sha256=model.sha256,
        columns=list(COLUMNS),
        trainingRows=model.rows,
        trainingDataset=f"{name}@{model.features_version}",
        testDataset=f"{name}@{model.test_version}",
    )


def _job_facets(run: Ran) -> dict[str, JobFacet]:
    return {
        "documentation": documentation_job.DocumentationJobFacet(description=run.job.description),
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="PYTHON", jobType="TASK" if run.parent else "JOB"
        ),
    }


def _input(read: State) -> InputDataset:
    statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
        rowCount=read.rows, size=read.bytes
    )
    return InputDataset(
        namespace=read.dataset.namespace,
        name=read.dataset.name,
        facets=_facets(read),
        inputFacets={} if read.rows is None else {"inputStatistics": statistics},
    )


def _output(run: Ran, written: State) -> OutputDataset:
    facets = _facets(written)
    if written.change:
        facets["lifecycleStateChange"] = (
            lifecycle_state_change_dataset.LifecycleStateChangeDatasetFacet(
                lifecycleStateChange=lifecycle_state_change_dataset.LifecycleStateChange(
                    written.change
                )
            )
        )
    if run.job.name in _MADE_OF:
        facets["columnLineage"] = _column_lineage(run.job.name)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=written.rows, size=written.bytes
    )
    return OutputDataset(
        namespace=written.dataset.namespace,
        name=written.dataset.name,
        facets=facets,
        outputFacets={"outputStatistics": statistics},
    )


def _facets(state: State) -> dict[str, DatasetFacet]:
    dataset = state.dataset
    facets: dict[str, DatasetFacet] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=state.version),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(
            datasetType=_TYPES.get(dataset.name, "TABLE")
        ),
        "documentation": documentation_dataset.DocumentationDatasetFacet(
            description=dataset.description
        ),
        "ownership": ownership_dataset.OwnershipDatasetFacet(
            owners=[ownership_dataset.Owner(name=dataset.owner, type="OWNER")]
        ),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(
            name=dataset.namespace, uri=_source_uri(dataset)
        ),
    }
    if state.columns:
        facets["schema"] = _schema(state)
        facets["storage"] = storage_dataset.StorageDatasetFacet(
            storageLayer="delta", fileFormat="parquet"
        )
    if dataset.subject_columns:
        facets["tags"] = tags_dataset.TagsDatasetFacet(
            tags=[
                tags_dataset.TagsDatasetFacetFields(
                    key="personal_data", value=kind, source="USER", field=column
                )
                for column, kind in dataset.subject_columns.items()
            ]
        )
    return facets


_TYPES = {MODEL.name: "MODEL", SOURCE.name: "FILE"}


def _source_uri(dataset: Dataset) -> str:
    """Where it is kept, in the company's words: no path of this machine."""
    if dataset is SOURCE:
        return "https://pypi.org/project/lifetimes/"
    folder = "models" if dataset is MODEL else "warehouse"
    return f"https://northgate.example/{folder}/{dataset.name}"


def _schema(state: State) -> schema_dataset.SchemaDatasetFacet:
    described = state.dataset.columns
    return schema_dataset.SchemaDatasetFacet(
        fields=[
            schema_dataset.SchemaDatasetFacetFields(
                name=name, type=kind, description=described[name], ordinal_position=position
            )
            for position, (name, kind) in enumerate(state.columns, start=1)
        ]
    )


def _column_lineage(job: str) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    """Both jobs read the purchases and no other table."""

    def field(column: str, subtype: str, kind: str = "DIRECT") -> column_lineage_dataset.InputField:
        return column_lineage_dataset.InputField(
            namespace=PURCHASES.namespace,
            name=PURCHASES.name,
            field=column,
            transformations=[column_lineage_dataset.Transformation(type=kind, subtype=subtype)],
        )

    return column_lineage_dataset.ColumnLineageDatasetFacet(
        fields={
            made: column_lineage_dataset.Fields(
                inputFields=[
                    field(source, "AGGREGATION" if made in _SUMS else "IDENTITY")
                    for source in sources
                ]
            )
            for made, sources in _MADE_OF[job].items()
        },
        dataset=[field("customer_id", "GROUP_BY", "INDIRECT"), field("date", "FILTER", "INDIRECT")],
    )


def _midnight(day: date) -> str:
    return datetime.combine(day, time(), UTC).isoformat()
