"""The keys of persons whom the log speaks of, and what the log was told about them.

SubjectKey and KeyEpoch lie in the key store, the database `keys`; Subject lies beside the log.
"""

from django.db import models
from django.db.models.functions import Now

FIRST_EPOCH = 1


class KeyEpoch(models.Model):
    """A key that wraps subjects' keys. The key itself is a file; here is what must fit it.

    New keys are wrapped in the newest epoch that is not closed. A closed epoch ends when no living
    key is left in it: then its file is destroyed.
    """

    number = models.IntegerField(primary_key=True)
    commitment = models.CharField(max_length=64)
    opened_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True)
    rewrapped = models.BigIntegerField(default=0)  # keys that went on into a later epoch
    erased = models.BigIntegerField(default=0)  # keys destroyed in it, counted when it ended
    ended_at = models.DateTimeField(null=True)  # no key lives in it; its file is to be destroyed
    destroyed_at = models.DateTimeField(null=True)  # the file is gone, and the log says so
    announced_at = models.DateTimeField(null=True)  # the log tells that it was opened

    def __str__(self) -> str:
        return f"epoch {self.number}"


class SubjectKey(models.Model):
    """The key of one person. Erasing them empties `lookup` and `wrapped_key`; the row stays.

    A person who was forgotten and comes back while the old key is still to be destroyed gets one
    of the next `generation`.
    """

    lookup = models.CharField(max_length=64, null=True)  # noqa: DJ001  # unique, or gone
    generation = models.IntegerField(default=0)
    pseudonym = models.CharField(max_length=64, unique=True)
    wrapped_key = models.BinaryField(null=True)
    epoch = models.IntegerField(default=FIRST_EPOCH)
    commitment = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())
    destroyed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lookup", "generation"], name="subject_key_once"),
            models.CheckConstraint(
                condition=models.Q(
                    destroyed_at__isnull=True, wrapped_key__isnull=False, lookup__isnull=False
                )
                | models.Q(
                    destroyed_at__isnull=False, wrapped_key__isnull=True, lookup__isnull=True
                ),
                name="subject_key_lives_or_is_gone",
            ),
        ]
        indexes = [models.Index(fields=["epoch", "id"], name="subject_key_epoch")]

    def __str__(self) -> str:
        return self.pseudonym


class Subject(models.Model):
    """A person as the log knows them. Written in the transaction that records the event.

    With `erased_at` and without `destroyed_at` it is a due row: the key is to be destroyed.
    """

    pseudonym = models.CharField(max_length=64, primary_key=True)
    commitment = models.CharField(max_length=64)
    epoch = models.IntegerField(null=True)  # in which the key was destroyed
    erased_at = models.DateTimeField(null=True)
    destroyed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(destroyed_at__isnull=True) | models.Q(erased_at__isnull=False),
                name="subject_destroyed_only_when_erased",
            )
        ]
        indexes = [
            models.Index(
                fields=["erased_at"],
                name="subject_key_due",
                condition=models.Q(erased_at__isnull=False, destroyed_at__isnull=True),
            ),
            models.Index(
                fields=["-destroyed_at"],
                name="subject_newest_destroyed",
                condition=models.Q(destroyed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.pseudonym
