"""Finding datasets, models, versions and jobs: by who may see them, and by node."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from accounts.models import User
from lineage.models import DEFAULT_MODEL_NAMESPACE, Dataset, Job, Version
from lineage.nodes import canonical, readings, splits


class NodeUnknownError(LookupError):
    """Nothing here has that name."""


class NodeError(ValueError):
    """The text is no node."""


@dataclass(frozen=True)
class Node:
    """What a node names: a dataset or model, perhaps one version of it, or a job."""

    dataset: Dataset | None = None
    version: Version | None = None
    job: Job | None = None


def datasets_visible_to(user: User) -> QuerySet[Dataset]:
    """Datasets, without models.

    That a dataset exists, and its versions, is open to every role: an owner has to see where their
    data went, an auditor has to see all. Changing is what permissions and owners limit.
    """
    return _visible(user).filter(kind=Dataset.Kind.DATASET)


def models_visible_to(user: User) -> QuerySet[Dataset]:
    """Models (datasets of kind "model"); see `datasets_visible_to`."""
    return _visible(user).filter(kind=Dataset.Kind.MODEL)


def versions_visible_to(user: User) -> QuerySet[Version]:
    """Versions of datasets and models; observations that were named later are left out."""
    if not user.has_perm("lineage.read"):
        return Version.objects.none()
    return Version.objects.filter(superseded_by=None).select_related("dataset", "produced_by__job")


def may_decide_on(user: User, model: Dataset) -> bool:
    """Whether the user may put versions of this model in use and retire them: its owner may, and
    while nobody owns it every model owner may."""
    return user.has_perm("notices.answer") and model.owner_id in (None, user.pk)


def _visible(user: User) -> QuerySet[Dataset]:
    if not user.has_perm("lineage.read"):
        return Dataset.objects.none()
    return Dataset.objects.select_related("owner", "connector")


def written_versions() -> QuerySet[Version]:
    """Versions that somebody wrote, declared or not; not those that were only read."""
    return Version.objects.filter(superseded_by=None, read_by=None)


def with_versions(datasets: QuerySet[Dataset]) -> QuerySet[Dataset]:
    """Adds `version_count`, `purged_count`, `latest_version`, `latest_at`, `latest_rows`.

    Counted by subqueries, which a page of a long list pays for its own rows only.
    """
    own = written_versions().filter(dataset=OuterRef("pk")).order_by("-created_at", "-pk")
    return datasets.annotate(
        version_count=_counted(own),
        purged_count=_counted(own.filter(purged_at__isnull=False)),
        latest_version=Subquery(own.values("version")[:1]),
        latest_at=Subquery(own.values("created_at")[:1]),
        latest_rows=Subquery(own.values("rows")[:1]),
    )


def _counted(versions: QuerySet[Version]) -> Coalesce:
    grouped = versions.order_by().values("dataset").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(grouped), 0)


def with_use(models: QuerySet[Dataset]) -> QuerySet[Dataset]:
    """Adds `is_in_use`: a version of the model is in use."""
    used = Version.objects.filter(dataset=OuterRef("pk"), in_use=True)
    return models.annotate(is_in_use=Exists(used))


def newest_version(dataset: Dataset, at: datetime | None = None) -> Version | None:
    """The version that was the newest at that time (now by default)."""
    found = written_versions().filter(dataset=dataset)
    if at is not None:
        found = found.filter(created_at__lte=at)
    return found.order_by("-created_at", "-pk").first()


def version_in_use(model: Dataset) -> Version | None:
    """The version of a model that is in use, the newest if several are."""
    return Version.objects.filter(dataset=model, in_use=True).order_by("-created_at").first()


def resolve(text: str, *, default_kind: str = "") -> Node:
    """What a node names. Raises NodeError, NodeUnknownError.

    "dataset:NAMESPACE:NAME[@VERSION]", "model:NAME[@VERSION]", "model:NAMESPACE:NAME[@VERSION]",
    "job:NAMESPACE:NAME". With `default_kind`, also without the word before the first colon.
    """
    kind, colon, rest = text.partition(":")
    if kind not in ("dataset", "model", "job") and default_kind:
        kind, colon, rest = default_kind, ":", text
        text = f"{kind}:{rest}"
    if kind not in ("dataset", "model", "job") or not colon or not rest:
        raise NodeError(
            "A node is dataset:NAMESPACE:NAME, model:NAME or job:NAMESPACE:NAME, the first two"
            " with @VERSION if one version is meant."
        )
    found = _job(text, rest) if kind == "job" else _dataset_node(kind, text, rest)
    if found is None:
        raise NodeUnknownError(f"Nothing here is called {text}.")
    return found


def _job(text: str, rest: str) -> Node | None:
    names = Q(node=text)
    for namespace, name in splits(rest):
        names |= Q(namespace=namespace, name=name)
    job = Job.objects.filter(names).order_by("pk").first()
    return Node(job=job) if job else None


def _dataset_node(kind: str, text: str, rest: str) -> Node | None:
    readable = dict(readings(text))
    known = {d.node: d for d in Dataset.objects.filter(node__in=readable)}
    for node, version in readable.items():
        if node in known and (found := _version_of(known[node], version)):
            return found
    for reading, version in readings(rest):
        for dataset in _by_identity(kind, reading):
            if found := _version_of(dataset, version):
                return found
    return None


def _version_of(dataset: Dataset, version: str) -> Node | None:
    if not version:
        return Node(dataset=dataset)
    row = Version.objects.filter(dataset=dataset, version=version).first()
    while row is not None and row.superseded_by_id is not None:
        row = row.superseded_by
    return Node(dataset=dataset, version=row) if row else None


def _by_identity(kind: str, text: str) -> list[Dataset]:
    """Datasets that "NAMESPACE:NAME" may mean in any spelling; a model also by its name alone."""
    names = Q(pk=None)
    for namespace, name in splits(text):
        namespace, name = canonical(namespace, name)  # the same, well spelled
        names |= Q(namespace=namespace, name=name)
    if kind == Dataset.Kind.MODEL:
        names |= Q(name=text)
    found = list(Dataset.objects.filter(names, kind=kind).order_by("pk"))
    found.sort(key=lambda d: d.namespace != DEFAULT_MODEL_NAMESPACE)
    return found
