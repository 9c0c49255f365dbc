"""The few facts that every protocol's wire body is turned into."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


class IntakeError(ValueError):
    """The body says something that cannot be taken; `field` names the place."""

    def __init__(self, field: str, reason: str, fix: str = "", *, status: int = 422) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field, self.reason, self.fix, self.status = field, reason, fix, status


@dataclass(frozen=True)
class DatasetFacts:
    """A dataset or model as one report speaks of it. None and empty: not said.

    `sources`: what this output was made of, as (namespace, name), when the report says so by
    itself (not by listing inputs and outputs); `sources_by` says in which way, "" for not at all.
    """

    namespace: str
    name: str
    is_model: bool | None = None
    version: str = ""
    rows: int | None = None
    bytes: int | None = None
    digest: str = ""
    schema: tuple[Mapping[str, str], ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    description: str = ""
    personal_data: bool = False
    keeps_older: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)  # of the dataset: owners, tags, …
    version_facts: Mapping[str, Any] = field(default_factory=dict)  # statistics, quality, …
    sources: tuple[tuple[str, str], ...] = ()
    sources_by: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        return self.namespace, self.name


@dataclass(frozen=True)
class JobFacts:
    namespace: str
    name: str
    description: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFacts:
    """A run, by its id and its state ("running", "complete", "fail", "abort", "" for not said)."""

    run_id: str
    state: str = ""
    started: bool = False
    parent_run_id: str = ""
    parent_job: JobFacts | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What one event says. No `run`: a job by design. No `job`: datasets alone."""

    at: datetime
    kind: str  # run | job | dataset
    job: JobFacts | None = None
    run: RunFacts | None = None
    inputs: tuple[DatasetFacts, ...] = ()
    outputs: tuple[DatasetFacts, ...] = ()
    described: tuple[DatasetFacts, ...] = ()
