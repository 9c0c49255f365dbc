"""What the log's strings of datasets, models and jobs are called on pages, and where those are."""

from collections.abc import Mapping, Sequence

from django.urls import reverse

from audit.names import Named, resolve
from lineage.models import Dataset, Job


def dataset_names(nodes: Sequence[str]) -> Mapping[str, Named]:
    found = Dataset.objects.filter(node__in=nodes)
    return {row.node: Named(_label(row), page_of(row)) for row in found}


def job_names(nodes: Sequence[str]) -> Mapping[str, Named]:
    return {row.node: Named(row.name) for row in Job.objects.filter(node__in=nodes)}


def page_of(dataset: Dataset) -> str:
    return reverse("lineage:model" if dataset.is_model else "lineage:dataset", args=[dataset.pk])


def register() -> None:
    """Tell the log's pages."""
    resolve("dataset", dataset_names)
    resolve("model", dataset_names)
    resolve("job", job_names)


def _label(dataset: Dataset) -> str:
    return str(dataset) if dataset.title or dataset.is_model else dataset.name
