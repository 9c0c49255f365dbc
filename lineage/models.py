"""Datasets, models and their versions, the jobs and runs that join them, and data usage.

A machine-learning model is a dataset of kind "model": everything that holds for versions of data
(who made it, out of what, what came of it) holds for versions of models too.

What pipelines report arrives in any order and more than once, so every column that a report may
change merges: earliest, latest, or highest rank, never "whatever came last".
"""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

DEFAULT_MODEL_NAMESPACE = "models"
# In a version's facts: its name since an erasure that kept it took the old one.
REWRITTEN_AS = "rewritten_as"


class Dataset(models.Model):
    """Something that has versions: a table, a folder, a topic, or a trained model."""

    class Kind(models.TextChoices):
        DATASET = "dataset", "Dataset"
        MODEL = "model", "Model"

    kind = models.CharField(max_length=10, choices=Kind, default=Kind.DATASET)
    namespace = models.CharField(max_length=255)
    name = models.CharField(max_length=1024)
    # The name that the log, the API and URLs of other apps use; see `lineage.nodes`.
    node = models.CharField(max_length=512, unique=True)
    title = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="owned_datasets",
    )
    connector = models.ForeignKey(
        "connectors.Connector",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="datasets",
    )
    personal_data = models.BooleanField(default=False)
    # {"owners": [{"name", "type"}], "tags": [{"key", "value", "field"}], "symlinks": […], …}
    facts = models.JSONField(default=dict, blank=True)
    told_at = models.JSONField(default=dict, blank=True)  # field -> by whom and when, for merging
    # Somebody said that this is a dataset or a model; else its kind is a guess that may change.
    kind_stated = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["namespace", "name", "kind"], name="dataset_once"),
            models.CheckConstraint(
                condition=Q(kind__in=["dataset", "model"]), name="dataset_kind_known"
            ),
            models.CheckConstraint(
                condition=~Q(namespace="") & ~Q(name=""), name="dataset_has_name"
            ),
        ]
        indexes = [models.Index(fields=["kind", "name", "id"], name="dataset_by_name")]

    def __str__(self) -> str:
        return self.title or self.name

    @property
    def is_model(self) -> bool:
        return self.kind == Dataset.Kind.MODEL


class Job(models.Model):
    """A piece of work that runs again and again: a pipeline task, a query, a training script."""

    namespace = models.CharField(max_length=255)
    name = models.CharField(max_length=1024)
    node = models.CharField(max_length=512, unique=True)
    description = models.TextField(blank=True)
    facts = models.JSONField(default=dict, blank=True)  # {"job_type", "source_code", "sql_sha256"}
    told_at = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["namespace", "name"], name="job_once"),
            models.CheckConstraint(condition=~Q(namespace="") & ~Q(name=""), name="job_has_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Run(models.Model):
    """One execution of a job; with an empty `run_id`, what the job is said to do by design."""

    class State(models.TextChoices):
        DESIGN = "design", "Described, not run"
        UNKNOWN = "unknown", "Mentioned only"
        RUNNING = "running", "Running"
        COMPLETE = "complete", "Complete"
        FAIL = "fail", "Failed"
        ABORT = "abort", "Aborted"

    ENDED = (State.COMPLETE, State.FAIL, State.ABORT)

    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="runs")
    run_id = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.UNKNOWN)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children"
    )
    first_event_at = models.DateTimeField()  # earliest time of any event of this run
    last_event_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    facts = models.JSONField(default=dict, blank=True)
    told_at = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "run_id"], name="run_once"),
            models.CheckConstraint(
                condition=Q(
                    state__in=["design", "unknown", "running", "complete", "fail", "abort"]
                ),
                name="run_state_known",
            ),
            models.CheckConstraint(
                condition=Q(first_event_at__lte=models.F("last_event_at")), name="run_times_ordered"
            ),
        ]
        indexes = [models.Index(fields=["run_id"], name="run_by_id")]

    def __str__(self) -> str:
        return self.run_id or f"design of {self.job}"


class Version(models.Model):
    """One state of a dataset or model.

    `version` is its declared name; where nobody declared one it is "run:<run id>" for what a run
    wrote and "seen:<run id>" for what a run read (`known_by` observed).
    """

    class KnownBy(models.TextChoices):
        DECLARED = "declared", "Declared"
        DIGEST = "digest", "By digest"
        OBSERVED = "observed", "Observed only"

    class DatedBy(models.IntegerChoices):
        """How sure `created_at` is; a surer source replaces a less sure one."""

        READ = 1, "first seen when it was read"
        RUN = 2, "reported by the run that wrote it"
        STORE = 3, "read from the store"

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    version = models.CharField(max_length=256)
    known_by = models.CharField(max_length=10, choices=KnownBy, default=KnownBy.DECLARED)
    created_at = models.DateTimeField()  # when it came into being
    dated_by = models.PositiveSmallIntegerField(choices=DatedBy, default=DatedBy.RUN)
    recorded_at = models.DateTimeField(db_default=Now())  # when Vestige learned of it
    produced_by = models.ForeignKey(
        Run, null=True, blank=True, on_delete=models.PROTECT, related_name="produced"
    )
    # Of an observation "seen:…": the run that read it.
    read_by = models.ForeignKey(
        Run, null=True, blank=True, on_delete=models.PROTECT, related_name="seen"
    )
    # An observation whose run later declared the version: edges have moved to the declared one.
    superseded_by = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="supersedes"
    )
    # False: the writer said that it replaced everything, so nothing older is left in it.
    keeps_older = models.BooleanField(default=True)
    in_store = models.BooleanField(default=False)  # seen by a sync of the dataset's connector
    rows = models.BigIntegerField(null=True, blank=True)
    bytes = models.BigIntegerField(null=True, blank=True)
    digest = models.CharField(max_length=128, blank=True)
    schema = models.JSONField(default=list, blank=True)  # [{"name": …, "type": …}]
    metrics = models.JSONField(default=dict, blank=True)  # name -> number, of models
    facts = models.JSONField(default=dict, blank=True)
    told_at = models.JSONField(default=dict, blank=True)
    purged_at = models.DateTimeField(null=True, blank=True)
    in_use = models.BooleanField(default=False)  # of models: it answers somebody now
    put_in_use_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "version"], name="version_once"),
            models.CheckConstraint(condition=~Q(version=""), name="version_has_name"),
            models.CheckConstraint(
                condition=Q(known_by__in=["declared", "digest", "observed"]),
                name="version_known_by_known",
            ),
            models.CheckConstraint(condition=Q(dated_by__in=[1, 2, 3]), name="version_dated_by"),
            models.CheckConstraint(
                condition=Q(rows=None) | Q(rows__gte=0), name="version_rows_positive"
            ),
            models.CheckConstraint(
                condition=Q(bytes=None) | Q(bytes__gte=0), name="version_bytes_positive"
            ),
            models.CheckConstraint(
                condition=Q(in_use=False) | Q(retired_at=None), name="version_in_use_not_retired"
            ),
        ]
        indexes = [
            models.Index(fields=["dataset", "created_at"], name="version_timeline"),
            models.Index(fields=["digest"], name="version_by_digest", condition=~Q(digest="")),
        ]

    def __str__(self) -> str:
        return f"{self.dataset} {self.version}"

    @property
    def node(self) -> str:
        return f"{self.dataset.node}@{self.version}"


class RunDataset(models.Model):
    """A version that a run read or wrote, as its events said; edges are derived from these."""

    class Role(models.TextChoices):
        INPUT = "input", "Input"
        OUTPUT = "output", "Output"
        SOURCE = "source", "Named as a source only"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="datasets")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="run_datasets")
    role = models.CharField(max_length=6, choices=Role)
    # Of an output: what it was made of, where its events say so by themselves.
    sources_by = models.CharField(max_length=10, blank=True)  # "", column or lineage
    sources = models.JSONField(default=list, blank=True)  # ids of datasets

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "version", "role"], name="run_dataset_once"),
            models.CheckConstraint(
                condition=Q(role__in=["input", "output", "source"]), name="run_dataset_role_known"
            ),
            models.CheckConstraint(
                condition=Q(sources_by__in=["", "column", "lineage"]), name="run_dataset_sources_by"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run} {self.role} {self.version}"


class Edge(models.Model):
    """Data of `source` went into `target`.

    Kinds, the first three in falling precedence for one run and target: `lineage` and `column`
    (facets that name the sources), `run` (every input of the run into every output), `version`
    (the store's own parent), `assumed` (an unnamed version follows the newest one before it).
    """

    class Kind(models.TextChoices):
        LINEAGE = "lineage", "Stated by the run"
        COLUMN = "column", "Stated by column"
        RUN = "run", "Input and output of one run"
        VERSION = "version", "Next version in the store"
        ASSUMED = "assumed", "Assumed: newest version at that time"

    source = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="edges_out")
    target = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="edges_in")
    run = models.ForeignKey(
        Run, null=True, blank=True, on_delete=models.PROTECT, related_name="edges"
    )
    kind = models.CharField(max_length=10, choices=Kind)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "target", "run", "kind"],
                name="edge_once_in_run",
                condition=Q(run__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["source", "target", "kind"],
                name="edge_once_without_run",
                condition=Q(run__isnull=True),
            ),
            models.CheckConstraint(
                condition=~Q(source=models.F("target")), name="edge_joins_two_versions"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["lineage", "column", "run", "version", "assumed"]),
                name="edge_kind_known",
            ),
        ]
        indexes = [models.Index(fields=["target", "kind"], name="edge_into")]

    def __str__(self) -> str:
        return f"{self.source} → {self.target}"


class Usage(models.Model):
    """A person's data went into a prediction or a training; the person only as a keyed hash."""

    subject_lookup = models.CharField(max_length=64, blank=True, db_index=True)  # "" once erased
    subject_type = models.CharField(max_length=100)
    data_id = models.CharField(max_length=800)
    model_id = models.CharField(max_length=800, blank=True)
    prediction_id = models.CharField(max_length=255, blank=True, db_index=True)
    dataset_version = models.ForeignKey(
        Version, null=True, blank=True, on_delete=models.PROTECT, related_name="usage_of_data"
    )
    model_version = models.ForeignKey(
        Version, null=True, blank=True, on_delete=models.PROTECT, related_name="usage_of_model"
    )
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())
    event_id = models.CharField(max_length=128, unique=True)
    erased_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(subject_lookup="", erased_at__isnull=False)
                | (~Q(subject_lookup="") & Q(erased_at=None)),
                name="usage_subject_or_erased",
            )
        ]

    def __str__(self) -> str:
        return f"usage {self.pk}"


class Intake(models.Model):
    """A wire body that was taken in already: the same bytes again change nothing."""

    digest = models.CharField(max_length=64, primary_key=True)  # SHA-256 of the body, hex
    protocol = models.CharField(max_length=20)
    event_id = models.CharField(max_length=128)
    received_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.protocol} {self.digest[:12]}"
