"""Making datasets, models, jobs and versions known, and what their owners decide about them."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from lineage.actions.merging import PERSON, REPORTED, merge, merge_date
from lineage.actions.timeline import relink
from lineage.events import (
    DATASET_DESCRIBED,
    DATASET_OWNER_SET,
    DATASET_REGISTERED,
    MODEL_PUT_IN_USE,
    MODEL_RETIRED,
    VERSION_RECORDED,
)
from lineage.models import Dataset, Edge, Job, Run, Version
from lineage.nodes import candidate_nodes, canonical

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
MAX_VERSION_CHARACTERS = 256


class LineageError(ValueError):
    """What was asked cannot be done; `field` says which input is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class NotAModelError(LineageError):
    """Only versions of models are put in use and retired."""


class ModelRetiredError(LineageError):
    """The model version is retired and stays so."""


def ensure_dataset(
    kind: str, namespace: str, name: str, *, stated: bool, by: User, parent_id: str = ""
) -> Dataset:
    """The dataset or model of this identity, made and recorded if it is new."""
    found = Dataset.objects.filter(kind=kind, namespace=namespace, name=name).first()
    if found is not None:
        return found
    for node in candidate_nodes(kind, namespace, name):
        try:
            with transaction.atomic():
                made = Dataset.objects.create(
                    kind=kind, namespace=namespace, name=name, node=node, kind_stated=stated
                )
        except IntegrityError:  # the node is held already, or somebody was faster
            found = Dataset.objects.filter(kind=kind, namespace=namespace, name=name).first()
            if found is not None:
                return found
            continue
        record(
            DATASET_REGISTERED, by=by, resource=node, details={"kind": kind}, parent_id=parent_id
        )
        return made
    raise LineageError("name", f"The names of {kind} {namespace} {name} are held by others.")


def lock_identities(identities: Iterable[tuple[str, str]]) -> None:
    """Whoever else asks for one of these (namespace, name) waits until this transaction ends.

    For what has no row yet that could be locked. SQLite's write transactions wait for each other
    as a whole.
    """
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for namespace, name in sorted(identities):
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                [f"lineage\n{namespace}\n{name}"],
            )


def ensure_job(namespace: str, name: str) -> Job:
    found = Job.objects.filter(namespace=namespace, name=name).first()
    if found is not None:
        return found
    for node in candidate_nodes("job", namespace, name):
        try:
            with transaction.atomic():
                return Job.objects.create(namespace=namespace, name=name, node=node)
        except IntegrityError:
            found = Job.objects.filter(namespace=namespace, name=name).first()
            if found is not None:
                return found
    raise LineageError("job.name", f"The names of job {namespace} {name} are held by others.")


def known_by(version: str) -> str:
    """A version that is named by its SHA-256 is known by its content."""
    return Version.KnownBy.DIGEST if _DIGEST.fullmatch(version) else Version.KnownBy.DECLARED


def record_version(version: Version, *, by: User, source: str, parent_id: str = "") -> None:
    """Write a new version into the log; `source` is how Vestige learned of it."""
    run = version.produced_by
    details = {
        "known_by": version.known_by,
        "digest": version.digest,
        "rows": version.rows,
        "bytes": version.bytes,
        "run_id": run.run_id if run else "",
        "source": source,
    }
    record(
        VERSION_RECORDED,
        by=by,
        resource=version.dataset.node,
        resource_version=version.version,
        details={k: v for k, v in details.items() if v not in (None, "")},
        parent_id=parent_id,
        occurred_at=version.created_at,
    )


@transaction.atomic
def register_version(
    *,
    namespace: str,
    name: str,
    version: str,
    by: User,
    kind: str = Dataset.Kind.DATASET,
    created_at: datetime | None = None,
    made_from: Iterable[Version] = (),
    rows: int | None = None,
    bytes: int | None = None,
    digest: str = "",
    schema: Sequence[Mapping[str, str]] = (),
    metrics: Mapping[str, float] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Version:
    """A declared version, made or completed; `made_from` become its sources.

    Registering the same again changes nothing. Raises LineageError.
    """
    if not version or len(version) > MAX_VERSION_CHARACTERS:
        raise LineageError("version", "A version's name has 1 to 256 characters.")
    namespace, name = canonical(namespace, name)
    at = created_at or timezone.now()
    made = ensure_dataset(kind, namespace, name, stated=True, by=by)
    dataset = Dataset.objects.select_for_update(no_key=True).get(pk=made.pk)
    row, created = Version.objects.select_for_update().get_or_create(
        dataset=dataset,
        version=version,
        defaults={"known_by": known_by(version), "created_at": at},
    )
    moved = merge_date(row, at, dated_by=Version.DatedBy.RUN) if not created else None
    said = {
        "rows": rows, "bytes": bytes, "digest": digest, "schema": list(schema),
        "metrics": metrics or {}, "facts": facts or {},
    }  # fmt: skip
    if merge(row, said, rank=REPORTED, at=at) or moved:
        row.save()
    Edge.objects.bulk_create(
        [Edge(source=s, target=row, kind=Edge.Kind.LINEAGE, created_at=at) for s in made_from],
        ignore_conflicts=True,
    )
    if created:
        record_version(row, by=by, source="registered")
    if created or moved:
        relink({dataset: [row.created_at, *([moved] if moved else [])]})
    return row


@transaction.atomic
def put_model_in_use(version: Version, *, by: User) -> None:
    """The model version answers somebody from now on. Raises NotAModelError, ModelRetiredError."""
    _require_model(version)
    locked = Version.objects.select_for_update().get(pk=version.pk)
    if locked.retired_at is not None:
        raise ModelRetiredError(
            "version", f"{version} was retired. Register a new version and put that one in use."
        )
    if not locked.in_use:
        now = timezone.now()
        Version.objects.filter(pk=version.pk).update(in_use=True, put_in_use_at=now)
        record(
            MODEL_PUT_IN_USE, by=by, resource=version.dataset.node,
            resource_version=version.version,
        )  # fmt: skip
    version.refresh_from_db()


@transaction.atomic
def retire_model_version(version: Version, *, by: User) -> None:
    """The model version is used no more, for good. Retiring it again changes nothing."""
    _require_model(version)
    changed = Version.objects.filter(pk=version.pk, retired_at=None).update(
        in_use=False, retired_at=timezone.now()
    )
    if changed:
        record(
            MODEL_RETIRED, by=by, resource=version.dataset.node, resource_version=version.version
        )
    version.refresh_from_db()


@transaction.atomic
def set_owner(dataset: Dataset, owner: User | None, *, by: User) -> None:
    """Who answers for the dataset or model."""
    if dataset.owner_id == (owner.pk if owner else None):
        return
    Dataset.objects.filter(pk=dataset.pk).update(owner=owner)
    dataset.owner = owner
    record(
        DATASET_OWNER_SET, by=by, resource=dataset.node,
        details={"owner": owner.actor if owner else None},
    )  # fmt: skip


@transaction.atomic
def describe(dataset: Dataset, *, title: str = "", description: str = "", by: User) -> None:
    """What a person says of the dataset; it outweighs what pipelines report."""
    locked = Dataset.objects.select_for_update().get(pk=dataset.pk)
    said = {"title": title, "description": description}
    if merge(locked, said, rank=PERSON, at=timezone.now()):
        locked.save()
        fields = [name for name, value in said.items() if value]
        record(DATASET_DESCRIBED, by=by, resource=dataset.node, details={"fields": fields})


def _require_model(version: Version) -> None:
    if not version.dataset.is_model:
        raise NotAModelError("version", f"{version} is data, not a model.")


def design_token(job: Job) -> str:
    return hashlib.sha256(job.node.encode()).hexdigest()[:16]


def observation_name(run: Run, *, read: bool) -> str:
    """The version that stands for what a run read or wrote without naming it."""
    token = f"design-{design_token(run.job)}" if not run.run_id else run.run_id
    return f"{'seen' if read else 'run'}:{token}"
