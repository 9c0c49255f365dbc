"""Whether a model has really left a person behind: checks on facts, not on declarations."""

from dataclasses import asdict, dataclass
from typing import Any

from compliance.models import Notice
from compliance.queries import WHOLE_NUMBERS, hits_among
from connectors.adapters.base import StoreError
from connectors.queries import enabled_connectors, open_store
from lineage.models import Version
from lineage.queries import training_versions


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    finding: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _holds(name: str, finding: str) -> Check:
    return Check(name=name, passed=True, finding=finding)


def _fails(name: str, finding: str) -> Check:
    return Check(name=name, passed=False, finding=finding)


def checks_of_replacement(notice: Notice, replacement: Version) -> list[Check]:
    """All that must hold before a retraining counts as the answer to a notice."""
    return [
        _trained_afterwards(notice, replacement),
        *_training_data_without_person(notice, replacement),
        _old_version_out_of_use(notice),
    ]


def checks_of_retirement(notice: Notice) -> list[Check]:
    retired = notice.model_version.retired_at
    return [
        Check(
            "model retired",
            bool(retired),
            f"Retired on {retired:%d %B %Y}." if retired else "The version is not retired yet.",
        )
    ]


def _trained_afterwards(notice: Notice, replacement: Version) -> Check:
    name = "trained after the erasure"
    erased = notice.request.erased_at
    run = replacement.produced_by
    trained = (run.started_at or run.ended_at) if run else None
    if trained is None:
        return _fails(name, "Lineage knows no training run of this version, so no time.")
    if erased is None or trained <= erased:
        return _fails(name, f"Trained at {trained:%Y-%m-%d %H:%M} UTC, before the erasure.")
    return _holds(name, f"Trained at {trained:%Y-%m-%d %H:%M} UTC, after the erasure.")


def _old_version_out_of_use(notice: Notice) -> Check:
    old = Version.objects.get(pk=notice.model_version_id)
    return Check(
        "old version out of use",
        not old.in_use,
        f"Version {old.version} is out of use."
        if not old.in_use
        else f"Version {old.version} is still in use. Retire it on the model's page.",
    )


def _training_data_without_person(notice: Notice, replacement: Version) -> list[Check]:
    """Reads the training data itself. The person is known only as suppression hashes by now.

    Every identifier that stands in the data is hashed and compared: exact, not sampled.
    """
    inputs = list(training_versions(replacement))
    if not inputs:
        return [_fails("training data known", "Lineage names no data of this version.")]
    gone = set(notice.request.suppressions.values_list("digest", flat=True))
    return [_version_without_person(version, gone) for version in inputs]


def _version_without_person(version: Version, gone: set[str]) -> Check:
    node = f"{version.dataset.namespace}:{version.dataset.name}@{version.version}"
    name = f"{node} excludes the person"
    connector = (
        enabled_connectors()
        .filter(dataset_namespace=version.dataset.namespace, dataset_name=version.dataset.name)
        .first()
    )
    if connector is None:
        return _fails(name, "Its store is not connected, so nobody can look.")
    store = open_store(connector, role="verifier")
    read = 0
    try:
        types = dict(store.schema(version.version))
        for column, kind in connector.subject_columns.items():
            values = store.identifier_values(column, version.version)
            numbers = types.get(column, "") in WHOLE_NUMBERS
            hits, count = hits_among(values, kind, gone, as_numbers=numbers)
            read += count
            if hits:
                return _fails(name, f"{hits} of its identifiers are of the erased person.")
    except StoreError as exc:
        return _fails(name, str(exc))
    return _holds(name, f"{read:,} distinct identifiers read, none of them the person's.")
