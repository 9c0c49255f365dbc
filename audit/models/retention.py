"""How long entries are kept, what keeps them longer, and what is gone."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class RetentionPolicy(models.Model):
    """How long the entries of one class are kept. A change ends the row and makes a new one.

    A class is a type (`lineage.received`), all below a prefix (`lineage.*`), or `*`.
    """

    log_id = models.SmallIntegerField()
    event_class = models.CharField(max_length=128)
    days = models.PositiveIntegerField()
    ground = models.CharField(max_length=200)  # the law or contract
    shorter_because = models.CharField(max_length=200, blank=True)  # than the least that is usual
    set_at = models.DateTimeField()
    set_by = models.CharField(max_length=64)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["log_id", "event_class"],
                condition=Q(ended_at=None),
                name="retention_policy_once_a_class",
            ),
            models.CheckConstraint(condition=Q(days__gte=1), name="retention_at_least_a_day"),
        ]

    def __str__(self) -> str:
        return f"{self.event_class}: {self.days} days"


class LogHold(models.Model):
    """Entries that are kept whatever the policies say: of a resource, a person, or a stretch."""

    log_id = models.SmallIntegerField()
    resource = models.CharField(max_length=512, blank=True)
    subject = models.CharField(max_length=64, blank=True)  # a pseudonym
    start = models.BigIntegerField(null=True)
    stop = models.BigIntegerField(null=True)  # exclusive
    reason = models.CharField(max_length=500)
    placed_at = models.DateTimeField()
    placed_by = models.CharField(max_length=64)
    released_at = models.DateTimeField(null=True)
    released_by = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=(~Q(resource="") & Q(subject="", start=None, stop=None))
                | (~Q(subject="") & Q(resource="", start=None, stop=None))
                | Q(resource="", subject="", start__gte=0, stop__gt=models.F("start")),
                name="log_hold_of_one_kind",
            )
        ]
        indexes = [
            models.Index(
                fields=["log_id", "resource"], name="log_hold_stands", condition=Q(released_at=None)
            )
        ]

    def __str__(self) -> str:
        return self.resource or self.subject or f"entries {self.start} to {self.last}"

    @property
    def last(self) -> int:
        return (self.stop or 0) - 1


class Pruning(models.Model):
    """A plan of what may go, and how far it was carried out. One plan and one run at a time.

    Each chunk of tiles goes through the phases: its `log.pruned` is recorded, its rows of
    PrunedRange are there, its entries are deleted. `done` counts the tiles that are behind it.
    """

    class State(models.TextChoices):
        PLANNED = "planned", "Planned"
        RUNNING = "running", "Running"
        DONE = "done", "Done"

    class Phase(models.TextChoices):
        NEXT = "next", "Takes the next tiles"
        RECORDED = "recorded", "Recorded"
        OPENED = "opened", "Opened for deletion"

    log_id = models.SmallIntegerField()
    plan_hash = models.CharField(max_length=64)
    plan = models.JSONField()  # see audit.retention
    state = models.CharField(max_length=16, choices=State, default=State.PLANNED)
    planned_at = models.DateTimeField()
    planned_by = models.CharField(max_length=64)
    started_at = models.DateTimeField(null=True)
    started_by = models.CharField(max_length=64, blank=True)
    finished_at = models.DateTimeField(null=True)
    phase = models.CharField(max_length=16, choices=Phase, default=Phase.NEXT)
    event_id = models.CharField(max_length=128, blank=True)  # of the chunk that is under way
    chunk = models.JSONField(default=list)  # its [start, stop] ranges
    done = models.BigIntegerField(default=0)  # tiles
    pruned = models.BigIntegerField(default=0)  # entries
    kept = models.BigIntegerField(default=0)  # tiles that a hold or policy kept after all
    fault = models.TextField(blank=True)  # why it ended early
    claimed_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["log_id", "state"],
                condition=~Q(state="done"),
                name="pruning_one_of_a_state",
            )
        ]
        indexes = [models.Index(fields=["log_id", "-started_at"], name="pruning_newest")]

    def __str__(self) -> str:
        return f"{self.state} {self.plan_hash[:12]}"


class PrunedRange(models.Model):
    """Entries start <= seq < stop are gone, or being deleted; the entry `entry` says why.

    Rows never change: triggers see to it, and let only entries within such a range be deleted.
    """

    pk = models.CompositePrimaryKey("log_id", "start")
    log_id = models.SmallIntegerField()
    start = models.BigIntegerField()
    stop = models.BigIntegerField()  # exclusive; both are tile boundaries
    entry = models.BigIntegerField()  # seq of its log.pruned
    newest_us = models.BigIntegerField()  # time of recording of the last entry, since 1970 UTC
    pruned_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"entries {self.start} to {self.last}"

    @property
    def last(self) -> int:
        return self.stop - 1


class PrunedPlace(models.Model):
    """The newest pruned entry of a resource: where the counting of its entries goes on."""

    pk = models.CompositePrimaryKey("log_id", "resource")
    log_id = models.SmallIntegerField()
    resource = models.CharField(max_length=512)
    seq = models.BigIntegerField()
    nth = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.resource}: {self.nth} up to {self.seq}"
