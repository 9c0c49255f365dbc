"""What OpenLineage events look like on the wire, as far as lineage reads them.

Field names are the specification's own (https://openlineage.io/spec/2-0-2/OpenLineage.json and
the facets below /spec/facets/). Unknown members are left alone, as the specification asks.
"""
# ruff: noqa: N815  # wire names

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

Identifier = Annotated[str, Meta(min_length=1, max_length=1024)]
Namespace = Annotated[str, Meta(min_length=1, max_length=255)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class SchemaField(Struct):
    name: str
    type: str | None = None
    fields: list["SchemaField"] | None = None


class SchemaFacet(Struct):
    fields: list[SchemaField] | None = None


class VersionFacet(Struct):
    datasetVersion: Annotated[str, Meta(max_length=256)] = ""


class TypeFacet(Struct):
    datasetType: str = ""


class LifecycleFacet(Struct):
    lifecycleStateChange: str = ""


class DocumentationFacet(Struct):
    description: str = ""


class Owner(Struct):
    name: str
    type: str | None = None


class OwnershipFacet(Struct):
    owners: list[Owner] | None = None


class Tag(Struct):
    key: str
    value: str = ""
    field: str | None = None


class TagsFacet(Struct):
    tags: list[Tag] | None = None


class Symlink(Struct):
    namespace: str
    name: str
    type: str | None = None


class SymlinksFacet(Struct):
    identifiers: list[Symlink] | None = None


class Source(Struct):
    """A source in the lineage and columnLineage facets; of another type than DATASET: a job."""

    namespace: str = ""
    name: str = ""
    type: str = "DATASET"


class ColumnSources(Struct):
    inputFields: list[Source] | None = None


class ColumnLineageFacet(Struct):
    fields: dict[str, ColumnSources] | None = None
    dataset: list[Source] | None = None


class FieldSources(Struct):
    inputs: list[Source] | None = None


class LineageFacet(Struct):
    inputs: list[Source] | None = None
    fields: dict[str, FieldSources] | None = None


class LineageEntry(Struct):
    namespace: str = ""
    name: str = ""
    type: str = "DATASET"
    inputs: list[Source] | None = None
    fields: dict[str, FieldSources] | None = None


class LineageJobFacet(Struct):
    entries: list[LineageEntry] | None = None


class Statistics(Struct):
    rowCount: Count | None = None
    size: Count | None = None
    fileCount: Count | None = None


class QualityMetrics(Struct):
    rowCount: Count | None = None
    bytes: Count | None = None
    columnMetrics: dict[str, Any] | None = None


class Assertion(Struct):
    assertion: str
    success: bool
    column: str | None = None


class QualityAssertions(Struct):
    assertions: list[Assertion] | None = None


class DatasetFacets(Struct):
    schema: SchemaFacet | None = None
    version: VersionFacet | None = None
    datasetType: TypeFacet | None = None
    lifecycleStateChange: LifecycleFacet | None = None
    documentation: DocumentationFacet | None = None
    ownership: OwnershipFacet | None = None
    tags: TagsFacet | None = None
    symlinks: SymlinksFacet | None = None
    columnLineage: ColumnLineageFacet | None = None
    lineage: LineageFacet | None = None
    dataQualityAssertions: QualityAssertions | None = None
    dataQualityMetrics: QualityMetrics | None = None
    vestige_metrics: dict[str, Any] | None = None


class InputFacets(Struct):
    inputStatistics: Statistics | None = None
    dataQualityMetrics: QualityMetrics | None = None
    dataQualityAssertions: QualityAssertions | None = None


class OutputFacets(Struct):
    outputStatistics: Statistics | None = None
    vestige_metrics: dict[str, Any] | None = None


class WireDataset(Struct):
    namespace: Namespace
    name: Identifier
    facets: DatasetFacets | None = None
    inputFacets: InputFacets | None = None
    outputFacets: OutputFacets | None = None


class JobTypeFacet(Struct):
    processingType: str | None = None
    integration: str | None = None
    jobType: str | None = None


class SourceCodeFacet(Struct):
    type: str | None = None
    url: str | None = None
    version: str | None = None
    path: str | None = None
    repoUrl: str | None = None


class SqlFacet(Struct):
    query: str = ""


class JobFacets(Struct):
    jobType: JobTypeFacet | None = None
    sourceCodeLocation: SourceCodeFacet | None = None
    sql: SqlFacet | None = None
    documentation: DocumentationFacet | None = None
    lineage: LineageJobFacet | None = None


class WireJob(Struct):
    namespace: Namespace
    name: Identifier
    facets: JobFacets | None = None


class ParentRun(Struct):
    runId: Annotated[str, Meta(min_length=1, max_length=200)]


class ParentJob(Struct):
    namespace: Namespace
    name: Identifier


class ParentFacet(Struct):
    run: ParentRun | None = None
    job: ParentJob | None = None


class EngineFacet(Struct):
    name: str | None = None
    version: str | None = None


class RunFacets(Struct):
    parent: ParentFacet | None = None
    processing_engine: EngineFacet | None = None
    vestige_metrics: dict[str, Any] | None = None


class WireRun(Struct):
    runId: Annotated[str, Meta(min_length=1, max_length=200)]
    facets: RunFacets | None = None


class Event(Struct):
    eventTime: datetime
    eventType: str | None = None
    run: WireRun | UnsetType | None = UNSET
    job: WireJob | UnsetType | None = UNSET
    dataset: WireDataset | UnsetType | None = UNSET
    inputs: list[WireDataset] | None = None
    outputs: list[WireDataset] | None = None
