"""What was done with a person's data, and how a prediction came about."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from audit.intake import time_text
from lineage.models import Dataset, Usage, Version
from lineage.queries.impact import training_versions, upstream


def usage_of_subject(lookups: Sequence[str]) -> QuerySet[Usage]:
    """Records of the person whom these lookups (`audit.subjects.lookup`) name, newest first."""
    return (
        Usage.objects.filter(subject_lookup__in=[text for text in lookups if text])
        .select_related("dataset_version__dataset", "model_version__dataset")
        .order_by("-occurred_at", "-pk")
    )


def usage_of_prediction(prediction_id: str) -> QuerySet[Usage]:
    """Records of one prediction, oldest first."""
    return (
        Usage.objects.filter(prediction_id=prediction_id)
        .select_related("dataset_version__dataset", "model_version__dataset")
        .order_by("pk")
    )


def usage_record(usage: Usage) -> dict[str, Any]:
    """One record with the guide's keys; it does not name the person."""
    return {
        "timestamp": time_text(usage.occurred_at),
        "data_id": usage.data_id,
        "data_version": usage.dataset_version.version if usage.dataset_version else None,
        "model_id": usage.model_id or None,
        "model_version": usage.model_version.version if usage.model_version else None,
        "prediction_id": usage.prediction_id or None,
        "training_data_hash": _training_hash(usage.model_version),
    }


def explanation(usages: Sequence[Usage]) -> dict[str, Any]:
    """How a prediction was made, for Article 22 GDPR, from its records (at least one).

    The keys are the guide's. `data_sources` are the versions of data that the model descends from,
    `processing_steps` the runs between them and the model, in order of time, and
    `user_data_contribution` the person's own records that went into it, without naming the person.
    """
    last = usages[-1]
    model = last.model_version
    trained_on = training_versions(model) if model else []
    behind = list(upstream(model)) if model else []
    return {
        "prediction_id": last.prediction_id,
        "model_used": last.model_id or None,
        "model_version": model.version if model else None,
        "training_data_version": ", ".join(v.node for v in trained_on) or None,
        "data_sources": [_source(v, trained_on) for v in behind if _is_named_data(v)],
        "processing_steps": _steps([*behind, *([model] if model else [])]),
        "user_data_contribution": _contribution(usages),
    }


def _contribution(usages: Sequence[Usage]) -> dict[str, Any]:
    """What the persons of this prediction gave to it and to its model."""
    lookups = {u.subject_lookup for u in usages if u.subject_lookup}
    models = {u.model_version_id for u in usages if u.model_version_id}
    all_of_model = usage_of_subject(sorted(lookups)).filter(model_version__in=models)
    return {
        "records_in_prediction": len(usages),
        "records_in_model": all_of_model.count(),
        "data": [
            {
                "data_id": u.data_id,
                "data_version": u.dataset_version.version if u.dataset_version else None,
                "recorded_at": time_text(u.occurred_at),
            }
            for u in usages
        ],
    }


def _training_hash(model: Version | None) -> str | None:
    digests = [v.digest for v in training_versions(model) if v.digest] if model else []
    return ", ".join(digests) or None


def _is_named_data(version: Version) -> bool:
    return version.dataset.kind == Dataset.Kind.DATASET and version.read_by_id is None


def _source(version: Version, trained_on: Sequence[Version]) -> dict[str, Any]:
    return {
        "dataset": version.dataset.node,
        "version": version.version,
        "digest": version.digest or None,
        "rows": version.rows,
        "used_for_training": version in trained_on,
        "purged_at": time_text(version.purged_at) if version.purged_at else None,
    }


def _steps(versions: Sequence[Version]) -> list[dict[str, Any]]:
    """The runs that wrote these versions, once each, in order of time."""
    written: dict[int, tuple[Any, list[str]]] = {}
    for version in versions:
        run = version.produced_by
        if run is not None:
            written.setdefault(run.pk, (run, []))[1].append(version.node)
    steps = sorted(written.values(), key=lambda item: (item[0].first_event_at, item[0].pk))
    return [
        {
            "job": run.job.node,
            "run": run.run_id or None,
            "state": run.state,
            "started_at": time_text(run.started_at or run.first_event_at),
            "source_code": run.job.facts.get("source_code"),
            "made": sorted(made),
        }
        for run, made in steps
    ]
