"""What checks of the log found."""

from django.db import models


class Verification(models.Model):
    """What a check of the whole log found."""

    log_id = models.SmallIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    size = models.BigIntegerField()  # entries that the log has to have
    entries = models.BigIntegerField()  # entries checked and found right
    pruned = models.BigIntegerField(default=0)  # of these: followed by their hashes alone
    root = models.CharField(max_length=64)
    ok = models.BooleanField()
    first_bad = models.BigIntegerField(null=True)
    faults = models.JSONField(default=list)  # sentences, the first hundred
    warnings = models.JSONField(default=list)
    state = models.BinaryField(default=bytes)  # where the chain stood, to go on from
    by = models.CharField(max_length=64)

    class Meta:
        indexes = [models.Index(fields=["log_id", "-finished_at"], name="verification_newest")]

    def __str__(self) -> str:
        return f"{self.entries} of {self.size}"
