"""What others outside hold of the log: witnesses, time stamping authorities, published copies."""

from django.db import models


class Anchor(models.Model):
    """Somebody outside has seen a checkpoint: what a database owner cannot take back.

    `proof` is what they gave for it: a cosignature line (C2SP tlog-cosignature), a time stamp token
    (RFC 3161, DER), or nothing for a published copy.
    """

    class Kind(models.TextChoices):
        WITNESS = "witness", "Witness"
        TIMESTAMP = "timestamp", "Time stamp"
        PUBLICATION = "publication", "Published copy"

    log_id = models.SmallIntegerField()
    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=200)  # of the witness, authority or place
    size = models.BigIntegerField()
    root = models.BinaryField()
    note = models.TextField()  # the checkpoint that they saw
    proof = models.BinaryField(default=bytes)
    made_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["log_id", "kind", "name", "size"], name="anchor_once_a_size"
            )
        ]
        indexes = [models.Index(fields=["log_id", "kind", "name", "-size"], name="anchor_newest")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} at {self.size}"


class AnchorAttempt(models.Model):
    """How the last try at one place outside went; a row for each place, overwritten."""

    log_id = models.SmallIntegerField()
    kind = models.CharField(max_length=16, choices=Anchor.Kind)
    name = models.CharField(max_length=200)
    tried_at = models.DateTimeField(null=True)
    succeeded_at = models.DateTimeField(null=True)
    fault = models.TextField(blank=True)  # a sentence; empty when the last try succeeded
    # The place says that the log contradicts itself. Stays until a try succeeds.
    grave = models.BooleanField(default=False)
    claimed_until = models.DateTimeField(null=True)  # a worker is at it

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["log_id", "kind", "name"], name="attempt_once_a_place")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
