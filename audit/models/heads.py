"""The newest entry of every resource: derived from the entries, and what the log commits to."""

from django.db import models


class ResourceHead(models.Model):
    """The newest entry of a resource among those that were gathered so far."""

    pk = models.CompositePrimaryKey("log_id", "key")
    log_id = models.SmallIntegerField()
    key = models.BinaryField()  # SHA-256 of the resource's name; its first 12 bits are its bucket
    nth = models.BigIntegerField()
    seq = models.BigIntegerField()

    def __str__(self) -> str:
        return f"entry {self.seq}, number {self.nth}"


class HeadsMap(models.Model):
    """How far the heads of a log were gathered, and the roots of their 4096 buckets."""

    log_id = models.SmallIntegerField(primary_key=True)
    size = models.BigIntegerField()  # the heads are those of the first `size` entries
    resources = models.BigIntegerField()
    roots = models.BinaryField()  # 32 bytes a bucket; zeros where heads have changed since

    def __str__(self) -> str:
        return f"{self.resources} resources of {self.size} entries"
