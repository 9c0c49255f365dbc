"""Reading a store's versions into the registry."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from audit.ledger.canonical import encode
from connectors.actions import demand_index
from connectors.adapters.base import KeepsPipelines, StageRun, StoredVersion, StoreVersion
from connectors.models import Connector
from connectors.queries import open_store
from lineage.actions.merging import STORE, merge, merge_date
from lineage.actions.receiving import receive
from lineage.actions.registry import ensure_dataset, record_version
from lineage.actions.timeline import relink_all
from lineage.events import (
    STORE_SYNCED,
    VERSION_CHANGED,
    VERSION_PURGED,
    VERSION_RETURNED,
    VERSION_REWRITTEN,
)
from lineage.intake.reports import DatasetFacts, JobFacts, Report, RunFacts
from lineage.models import REWRITTEN_AS, Dataset, Edge, Version
from lineage.nodes import canonical


@dataclass(frozen=True)
class SyncResult:
    """What a sync found: how many versions the store retains, and what is new about them."""

    dataset: Dataset
    versions: int
    added: tuple[str, ...]
    purged: tuple[str, ...]
    renamed: tuple[str, ...]  # erased in and kept, under other names
    returned: tuple[str, ...]
    changed: tuple[str, ...]


def sync_connector(
    connector: Connector, *, by: User, because: str = "", rewritten: Collection[str] = ()
) -> SyncResult:
    """Bring the registry up to what the store retains.

    A version that the store no longer has is marked as purged, also where the store says that it
    stays under another name; one whose content changed under its name, or that came back, is a
    finding in the log. `because` names the request that this belongs
    to, and `rewritten` the versions whose content its erasure has changed under their name. Where
    the store tells which pipelines made its data, these become runs. Raises
    `connectors.adapters.base.StoreError` when the store cannot be read.
    """
    store = open_store(connector, role="reader")
    found = store.versions()
    runs = store.stage_runs() if isinstance(store, KeepsPipelines) else ()
    demand_index(connector)
    with transaction.atomic():
        result = _take_over(connector, found, by=by, because=because, rewritten=rewritten)
        for run in runs:
            _take_in(run, connector, by=by)
    return result


def _take_in(run: StageRun, connector: Connector, *, by: User) -> None:
    """A stage of a pipeline as the run of a job; told again, it changes nothing."""

    def facts(stored: Sequence[StoredVersion]) -> tuple[DatasetFacts, ...]:
        return tuple(
            DatasetFacts(*_identity(item, connector), version=item.version) for item in stored
        )

    namespace, _ = _named(connector)
    report = Report(
        run.at,
        "run",
        JobFacts(namespace, run.stage),
        RunFacts(run.id, "complete"),
        inputs=facts(run.inputs),
        outputs=facts(run.outputs),
    )
    body = {
        "run": run.id,
        "job": [namespace, run.stage],
        "inputs": [[*item.identity, item.version] for item in report.inputs],
        "outputs": [[*item.identity, item.version] for item in report.outputs],
    }
    receive(encode(body), report, protocol=connector.kind, by=by)


def _identity(stored: StoredVersion, teller: Connector) -> tuple[str, str]:
    """The dataset of a store: as it was connected, or beside that of the store that tells of it."""
    known = Connector.objects.filter(kind=teller.kind, location=stored.location).first()
    return _named(known) if known else canonical(teller.dataset_namespace, stored.name)


def _named(connector: Connector) -> tuple[str, str]:
    return canonical(connector.dataset_namespace, connector.dataset_name)


def _take_over(
    connector: Connector,
    found: Sequence[StoreVersion],
    *,
    by: User,
    because: str,
    rewritten: Collection[str],
) -> SyncResult:
    now = timezone.now()
    dataset = _dataset_of(connector, by=by)
    known = {v.version: v for v in Version.objects.filter(dataset=dataset)}
    why = {"because": because} if because else {}
    added: list[str] = []
    changed: list[str] = []
    returned: list[str] = []
    for store_version in found:
        version = known.get(store_version.id)
        if version is None:
            version = known[store_version.id] = Version(
                dataset=dataset, version=store_version.id, created_at=store_version.created_at
            )
            added.append(store_version.id)
        elif version.in_store:
            if store_version.id in rewritten:
                _note_rewriting(version, store_version, by=by, why=why)
            else:
                _note_findings(version, store_version, changed, returned, by=by, why=why)
        _merge(version, store_version, now)
    _save(known, found, set(added))
    for name in added:
        record_version(known[name], by=by, source=connector.kind)
    gone = _mark_gone(dataset, {v.id for v in found}, now)
    names = _names_now(found)
    renamed = [v for v in gone if v.version in names]
    for version in renamed:
        _note_rewriting(version, names[version.version], by=by, why=why)
    purged = [v for v in gone if v.version not in names]
    for version in purged:
        record(
            VERSION_PURGED, by=by, resource=dataset.node, resource_version=version.version,
            details={"digest": version.digest, "rows": version.rows, **why},
        )  # fmt: skip
    _join_parents(known, found)
    _join_names(known, names, now)
    relink_all(dataset)
    record(
        STORE_SYNCED, by=by, resource=connector.resource,
        details={
            "dataset": dataset.node, "versions": len(found), "added": len(added),
            "purged": len(purged), "renamed": len(renamed), "returned": len(returned),
            "changed": len(changed), **why,
        },
    )  # fmt: skip
    return SyncResult(
        dataset,
        len(found),
        tuple(added),
        tuple(v.version for v in purged),
        tuple(v.version for v in renamed),
        tuple(returned),
        tuple(changed),
    )


def _dataset_of(connector: Connector, *, by: User) -> Dataset:
    """The connector's dataset, the same row that OpenLineage events of this name speak of."""
    namespace, name = _named(connector)
    made = ensure_dataset(Dataset.Kind.DATASET, namespace, name, stated=True, by=by)
    dataset = Dataset.objects.select_for_update().get(pk=made.pk)
    dataset.connector = connector
    dataset.kind_stated = True
    dataset.personal_data = dataset.personal_data or bool(connector.subject_columns)
    if dataset.owner_id is None:
        dataset.owner = connector.owner
    dataset.title = dataset.title or connector.name
    dataset.save()
    return dataset


def _note_findings(
    version: Version,
    store_version: StoreVersion,
    changed: list[str],
    returned: list[str],
    *,
    by: User,
    why: Mapping[str, str],
) -> None:
    digest = store_version.digest or ""
    if version.purged_at is not None:
        version.purged_at = None
        returned.append(version.version)
        record(
            VERSION_RETURNED, by=by, resource=version.dataset.node,
            resource_version=version.version,
            details={"digest": digest, "rows": store_version.rows, **why},
        )  # fmt: skip
    if version.digest and digest and version.digest != digest:
        changed.append(version.version)
        record(
            VERSION_CHANGED, by=by, resource=version.dataset.node,
            resource_version=version.version,
            details={"digest_before": version.digest, "digest_after": digest, **why},
        )  # fmt: skip


def _note_rewriting(
    version: Version, store_version: StoreVersion, *, by: User, why: Mapping[str, str]
) -> None:
    """`store_version`: what became of it, under its own name or another."""
    now = {} if store_version.id == version.version else {"now": store_version.id}
    if now or version.digest != (store_version.digest or ""):
        record(
            VERSION_REWRITTEN, by=by, resource=version.dataset.node,
            resource_version=version.version,
            details={
                "digest_before": version.digest, "digest_after": store_version.digest,
                "rows": store_version.rows, **now, **why,
            },
        )  # fmt: skip


def _merge(version: Version, store_version: StoreVersion, now: datetime) -> None:
    version.in_store = True
    merge_date(version, store_version.created_at, dated_by=Version.DatedBy.STORE)
    facts = {
        "operation": store_version.operation,
        "refs": list(store_version.refs),
        "objects": len(store_version.objects),
    }
    said = {
        "rows": store_version.rows,
        "bytes": store_version.bytes,
        "digest": store_version.digest,
        "schema": [{"name": name, "type": kind} for name, kind in store_version.schema],
        "facts": {key: value for key, value in facts.items() if value},
    }
    merge(version, said, rank=STORE, at=now)


def _save(known: Mapping[str, Version], found: Sequence[StoreVersion], added: set[str]) -> None:
    Version.objects.bulk_create([known[v.id] for v in found if v.id in added], batch_size=500)
    Version.objects.bulk_update(
        [known[v.id] for v in found if v.id not in added],
        [
            "in_store", "created_at", "dated_by", "rows", "bytes", "digest", "schema", "facts",
            "told_at", "purged_at",
        ],
        batch_size=200,
    )  # fmt: skip


def _mark_gone(dataset: Dataset, retained: set[str], now: datetime) -> list[Version]:
    """Versions that the store has no more under their names."""
    gone = [
        version
        for version in Version.objects.filter(dataset=dataset, in_store=True, purged_at=None)
        if version.version not in retained
    ]
    Version.objects.filter(pk__in=[v.pk for v in gone]).update(purged_at=now)
    return gone


def _names_now(found: Sequence[StoreVersion]) -> dict[str, StoreVersion]:
    """By names that the store has taken from its versions; one that it has again is its own."""
    retained = {version.id for version in found}
    return {old: version for version in found for old in version.formerly if old not in retained}


def _join_names(
    known: Mapping[str, Version], names: Mapping[str, StoreVersion], now: datetime
) -> None:
    """What was known under a former name is told to be what it became, and went into it."""
    renamed = [(known[old], known[new.id]) for old, new in names.items() if old in known]
    for old, new in renamed:
        merge(old, {"facts": {REWRITTEN_AS: new.version}}, rank=STORE, at=now)
    Version.objects.bulk_update([old for old, _ in renamed], ["facts", "told_at"], batch_size=500)
    Edge.objects.bulk_create(
        [
            Edge(source=old, target=new, kind=Edge.Kind.VERSION, created_at=new.created_at)
            for old, new in renamed
        ],
        ignore_conflicts=True,
        batch_size=500,
    )


def _join_parents(known: Mapping[str, Version], found: Sequence[StoreVersion]) -> None:
    Edge.objects.bulk_create(
        [
            Edge(
                source=known[parent],
                target=known[version.id],
                kind=Edge.Kind.VERSION,
                created_at=version.created_at,
            )
            for version in found
            for parent in version.parents
            if parent in known and parent != version.id
        ],
        ignore_conflicts=True,
        batch_size=500,
    )
