"""The keys of persons whom the log speaks of."""

from django.db import models
from django.db.models.functions import Now


class SubjectKey(models.Model):
    """The key of one person. Erasing them empties `lookup` and `wrapped_key`; the row stays."""

    lookup = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001  # unique, or gone
    pseudonym = models.CharField(max_length=64, unique=True)
    wrapped_key = models.BinaryField(null=True)
    commitment = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())
    destroyed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    destroyed_at__isnull=True, wrapped_key__isnull=False, lookup__isnull=False
                )
                | models.Q(
                    destroyed_at__isnull=False, wrapped_key__isnull=True, lookup__isnull=True
                ),
                name="subject_key_lives_or_is_gone",
            )
        ]

    def __str__(self) -> str:
        return self.pseudonym
