"""What checks of the log found, and how far the ones under way are."""

from datetime import datetime

from django.db import models
from django.db.models import Q


class Verification(models.Model):
    """A check of the whole log: due, under way or done. Due rows are the queue.

    A worker that has claimed one saves `state` after each part of the log, so that another goes
    on from there. A good check is carried on to entries that were added since (`extended_at`).
    """

    log_id = models.SmallIntegerField()
    full = models.BooleanField(default=False)  # canonical form and sealed facts too
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    extended_at = models.DateTimeField(null=True)
    claimed_until = models.DateTimeField(null=True)  # a worker is at it
    size = models.BigIntegerField(default=0)  # entries that the log has to have
    entries = models.BigIntegerField(default=0)  # entries checked and found right
    pruned = models.BigIntegerField(default=0)  # of these: followed by their hashes alone
    saved_entries = models.BigIntegerField(default=0)  # as `entries`, where `state` was saved
    root = models.CharField(max_length=64, blank=True)
    ok = models.BooleanField(default=False)
    first_bad = models.BigIntegerField(null=True)
    faults = models.JSONField(default=list)  # sentences, the first hundred
    warnings = models.JSONField(default=list)
    state = models.BinaryField(default=bytes)  # where the chain stood, to go on from
    by = models.CharField(max_length=64)
    announced_at = models.DateTimeField(null=True)  # when people were told that it failed

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["log_id", "full"],
                condition=Q(finished_at=None),
                name="verification_one_under_way",
            )
        ]
        indexes = [
            models.Index(fields=["log_id", "-finished_at"], name="verification_newest"),
            models.Index(
                fields=["log_id", "-finished_at"],
                condition=Q(ok=False, finished_at__isnull=False),
                name="verification_failed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.entries} of {self.size}"

    @property
    def checked_at(self) -> datetime | None:
        """When the newest of its entries was checked."""
        return self.extended_at or self.finished_at

    @property
    def percent(self) -> int:
        return 100 * self.entries // self.size if self.size else 0
