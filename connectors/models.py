"""A store that the installation reads versions from and erases people in."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

DEFAULT_NAMESPACE = "stores"


class Connector(models.Model):
    """How to reach one table or folder of files, and which of its columns name people.

    `subject_columns` maps a column to the type of identifier in it, for example
    {"customer_id": "customer", "email": "email"}. `options` are the adapter's own and hold no
    secret: credentials are named by reference (an environment variable, a file).
    """

    class Kind(models.TextChoices):
        DELTA = "delta", "Delta Lake"
        ICEBERG = "iceberg", "Apache Iceberg"
        DVC = "dvc", "DVC"
        LAKEFS = "lakefs", "lakeFS"
        FILES = "files", "Files"
        SQL = "sql", "SQL tables"

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=255)
    location = models.CharField(max_length=2000)
    subject_columns = models.JSONField(default=dict)
    options = models.JSONField(default=dict, blank=True)
    # Copies out of an erasure's reach: [{"what": "nightly backups", "days": 35}].
    tails = models.JSONField(default=list, blank=True)
    dataset_namespace = models.CharField(max_length=255, default=DEFAULT_NAMESPACE)
    dataset_name = models.CharField(max_length=1024)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="connectors"
    )
    # The Celery queue whose workers can reach this store; they may live next to the data.
    queue = models.CharField(max_length=100, default="celery")
    created_at = models.DateTimeField(db_default=Now())
    disabled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["delta", "iceberg", "dvc", "lakefs", "files", "sql"]),
                name="connector_kind_known",
            ),
            models.CheckConstraint(
                condition=~Q(location="") & ~Q(name="") & ~Q(dataset_name=""),
                name="connector_has_location",
            ),
            models.UniqueConstraint(
                fields=["kind", "location"],
                condition=Q(disabled_at=None),
                name="connector_location_once",
            ),
            models.UniqueConstraint(
                fields=["dataset_namespace", "dataset_name"],
                condition=Q(disabled_at=None),
                name="connector_dataset_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def resource(self) -> str:
        """How the log names this connector."""
        return f"connector:{self.pk}"

    @property
    def engine(self) -> str:
        """What works on its files: "local" or "spark"."""
        return str(self.options.get("engine", "local"))

    @property
    def dataset_node(self) -> str:
        """How lineage and the log name the dataset that the store holds."""
        return f"dataset:{self.dataset_namespace}:{self.dataset_name}"


class StoreIndex(models.Model):
    """What is known of a store's subject index; its files lie with the worker that builds it.

    `due_at`: a build is wanted; `claim`: whose it is, since `claimed_at`; `entries`: identifiers,
    each counted once a file.
    """

    connector = models.OneToOneField(
        Connector, on_delete=models.CASCADE, related_name="subject_index"
    )
    due_at = models.DateTimeField(null=True, blank=True)
    claim = models.CharField(max_length=32, default="", blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    built_at = models.DateTimeField(null=True, blank=True)
    files = models.PositiveIntegerField(default=0)
    entries = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(default=0)
    machine = models.CharField(max_length=255, default="", blank=True)
    fault = models.CharField(max_length=1000, default="", blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(claim="", claimed_at=None)
                | (~Q(claim="") & Q(claimed_at__isnull=False)),
                name="store_index_claim_dated",
            ),
        ]

    def __str__(self) -> str:
        return f"index of {self.connector}"

    @property
    def is_wanted(self) -> bool:
        """Whether a build is due or going on."""
        return self.due_at is not None or self.claimed_at is not None
