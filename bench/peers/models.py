"""Tables of the peers, and one row of business in as many tables as there are ways to audit it."""

from auditlog.registry import auditlog
from django.apps import apps
from django.db import models
from simple_history.models import HistoricalRecords


class PlainEntry(models.Model):
    """A row of bench.plain's table, for the ORM: an event's columns, unchained."""

    seq = models.BigAutoField(primary_key=True)
    log_id = models.SmallIntegerField(default=1)
    leaf = models.BinaryField()
    leaf_hash = models.BinaryField(default=b"")
    event_id = models.CharField(max_length=128)
    type = models.CharField(max_length=128)
    actor = models.CharField(max_length=256)
    by = models.CharField(max_length=64)
    resource = models.CharField(max_length=512)
    resource_version = models.CharField(max_length=256)
    occurred_at = models.DateTimeField(null=True)
    recorded_at = models.DateTimeField(auto_now_add=True)
    parent_id = models.CharField(max_length=128)
    subject = models.CharField(max_length=64)
    nth = models.BigIntegerField(default=1)
    previous = models.BigIntegerField(null=True)

    objects: models.Manager["PlainEntry"] = models.Manager()

    class Meta:
        managed = False
        db_table = "bench_plain"

    def __str__(self) -> str:
        return self.event_id


class Account(models.Model):
    """What is changed and audited: a row as applications have it."""

    owner = models.CharField(max_length=120)
    email = models.CharField(max_length=120)
    status = models.CharField(max_length=20)
    note = models.TextField()
    balance = models.BigIntegerField(default=0)
    opened_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.pk}"


class PlainAccount(Account):
    """Nobody watches this one."""


class RecordedAccount(Account):
    """Changed together with audit.actions.record."""


class AuditlogAccount(Account):
    """Registered with django-auditlog."""


class SimpleHistoryAccount(Account):
    history = HistoricalRecords()


class PghistoryAccount(Account):
    """Tracked by django-pghistory's triggers, where it is installed."""


auditlog.register(AuditlogAccount)
if apps.is_installed("pghistory"):
    import pghistory

    pghistory.track()(PghistoryAccount)
