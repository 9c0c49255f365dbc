"""Tables of the peers."""

from django.db import models


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

    objects: models.Manager["PlainEntry"] = models.Manager()

    class Meta:
        managed = False
        db_table = "bench_plain"

    def __str__(self) -> str:
        return self.event_id
