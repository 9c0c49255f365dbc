"""The log's tables. Rows of Entry, Tile and Checkpoint never change: triggers see to it."""

from django.db import models
from django.db.models.functions import Now

MAIN_LOG, MAIN_NAME = 1, "main"  # the application's own, and the parent of the units' logs


class Log(models.Model):
    """The head of a log: where the next entry goes. Locked by whoever appends."""

    id = models.SmallIntegerField(primary_key=True)
    name = models.CharField(max_length=64, unique=True)
    title = models.CharField(max_length=200, blank=True)  # what people call it
    origin = models.CharField(max_length=200, unique=True)
    size = models.BigIntegerField(default=0)
    last_hash = models.BinaryField()
    last_timestamp_us = models.BigIntegerField(default=0)
    frontier = models.BinaryField()
    note = models.TextField(blank=True)  # the newest signed checkpoint
    note_size = models.BigIntegerField(default=-1)
    note_at = models.DateTimeField(null=True)
    kept_at = models.DateTimeField(null=True)  # when a checkpoint last went into the history
    refusal = models.TextField(blank=True)  # why the signer refuses to sign, if it does

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(size__gte=0), name="log_size_not_negative"),
            models.CheckConstraint(
                condition=models.Q(note_size__lte=models.F("size")), name="log_note_within_size"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.size} entries"


class Pending(models.Model):
    """An event of a committed change that waits for its place in the log."""

    id = models.BigAutoField(primary_key=True)
    log_id = models.SmallIntegerField()
    event_id = models.CharField(max_length=128)
    event = models.BinaryField()  # canonical JSON
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["log_id", "event_id"], name="pending_event_once")
        ]

    def __str__(self) -> str:
        return self.event_id


class Entry(models.Model):
    """One leaf, and beside it what the leaf says, for search. No foreign keys: it outlives all."""

    pk = models.CompositePrimaryKey("log_id", "seq")
    log_id = models.SmallIntegerField()
    seq = models.BigIntegerField()
    leaf = models.BinaryField()
    leaf_hash = models.BinaryField()
    event_id = models.CharField(max_length=128)
    type = models.CharField(max_length=128)
    actor = models.CharField(max_length=256)
    by = models.CharField(max_length=64)
    resource = models.CharField(max_length=512)
    resource_version = models.CharField(max_length=256)
    occurred_at = models.DateTimeField(null=True)
    recorded_at = models.DateTimeField()
    parent_id = models.CharField(max_length=128)
    subject = models.CharField(max_length=64)
    nth = models.BigIntegerField()  # of the entries of its resource, counted from 1
    previous = models.BigIntegerField(null=True)  # seq of the entry before it there

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["log_id", "event_id"], name="entry_event_once")
        ]
        indexes = [
            models.Index(fields=["log_id", "resource", "seq"], name="entry_resource"),
            models.Index(fields=["log_id", "type", "seq"], name="entry_type"),
            models.Index(fields=["log_id", "actor", "seq"], name="entry_actor"),
            # For a pair that is rare or never meets, though each of the two is frequent.
            models.Index(fields=["log_id", "actor", "type", "seq"], name="entry_actor_type"),
            models.Index(fields=["log_id", "by", "seq"], name="entry_by"),
            models.Index(
                fields=["log_id", "resource_version", "seq"],
                name="entry_version",
                condition=~models.Q(resource_version=""),
            ),
            models.Index(fields=["log_id", "recorded_at", "seq"], name="entry_recorded"),
            models.Index(fields=["subject"], name="entry_subject", condition=~models.Q(subject="")),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.type} {self.resource}"


class Tile(models.Model):
    """256 hashes of one level (C2SP tlog-tiles), kept once full, with the root over them."""

    pk = models.CompositePrimaryKey("log_id", "level", "index")
    log_id = models.SmallIntegerField()
    level = models.SmallIntegerField()
    index = models.BigIntegerField()
    hashes = models.BinaryField()
    root = models.BinaryField()

    def __str__(self) -> str:
        return f"tile {self.level}/{self.index}"


class Checkpoint(models.Model):
    """A signed checkpoint that was kept: at most one a minute, and those that were asked for."""

    log_id = models.SmallIntegerField()
    size = models.BigIntegerField()
    root = models.BinaryField()
    note = models.TextField()
    signed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["log_id", "size"], name="checkpoint_once_a_size")
        ]

    def __str__(self) -> str:
        return f"checkpoint at {self.size}"
