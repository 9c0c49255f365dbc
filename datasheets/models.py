"""Datasheets and model cards, what people answered in them, and measured profiles of versions."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from datasheets.catalog import DATASHEET, MODEL_CARD


class Sheet(models.Model):
    """The document of one dataset or model. It exists from the first answer on."""

    class Kind(models.TextChoices):
        DATASHEET = DATASHEET, "Datasheet"
        MODEL_CARD = MODEL_CARD, "Model card"

    kind = models.CharField(max_length=10, choices=Kind)
    dataset = models.ForeignKey("lineage.Dataset", on_delete=models.PROTECT, related_name="sheets")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "kind"], name="sheet_once_a_kind"),
            models.CheckConstraint(
                condition=Q(kind__in=[DATASHEET, MODEL_CARD]), name="sheet_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.dataset}"


class Answer(models.Model):
    """What somebody said to one question. Stale is not a state here: it is found on reading."""

    class State(models.TextChoices):
        DRAFT = "draft", "Draft"
        ANSWERED = "answered", "Answered"
        CONFIRMED = "confirmed", "Confirmed"
        NOT_APPLICABLE = "not_applicable", "Not applicable"
        UNKNOWN = "unknown", "Unknown"

    WITH_VALUE = (State.DRAFT, State.ANSWERED, State.CONFIRMED)
    WITH_REASON = (State.NOT_APPLICABLE, State.UNKNOWN)

    sheet = models.ForeignKey(Sheet, on_delete=models.CASCADE, related_name="answers")
    question_id = models.CharField(max_length=80)
    value = models.JSONField(null=True)  # a form of `datasheets.values`
    state = models.CharField(max_length=20, choices=State)
    reason = models.TextField(blank=True)  # why unknown, why not applicable
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    answered_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    confirmed_at = models.DateTimeField(null=True, blank=True)
    # SHA-256 (hex) of what was measured when it was answered or confirmed; "" if nothing was.
    evidence_digest = models.CharField(max_length=64, blank=True)
    # With the salt, the digest in the log says nothing of a text that was deleted here.
    salt = models.CharField(max_length=32)
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["sheet", "question_id"], name="answer_once"),
            models.CheckConstraint(
                condition=Q(state__in=["draft", "answered", "confirmed"], value__isnull=False)
                | (Q(state__in=["not_applicable", "unknown"]) & ~Q(reason="")),
                name="answer_has_value_or_reason",
            ),
            models.CheckConstraint(
                condition=Q(state="confirmed", confirmed_at__isnull=False)
                | (~Q(state="confirmed") & Q(confirmed_at=None)),
                name="answer_confirmed_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.question_id}: {self.state}"


class Profile(models.Model):
    """What was counted in one version of a dataset. Its row is the queue: due, then measured."""

    class State(models.TextChoices):
        DUE = "due", "Waiting to be measured"
        DONE = "done", "Measured"
        FAILED = "failed", "Could not be measured"

    version = models.OneToOneField(
        "lineage.Version", on_delete=models.PROTECT, related_name="profile"
    )
    state = models.CharField(max_length=10, choices=State, default=State.DUE)
    claimed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    body = models.JSONField(default=dict)  # rows, nulls, duplicates… as the store's adapter counts
    digest = models.CharField(max_length=64, blank=True)  # SHA-256 (hex) of the canonical body
    failure = models.CharField(max_length=500, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state="done", measured_at__isnull=False)
                | Q(state__in=["due", "failed"], measured_at=None),
                name="profile_measured_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"profile of {self.version}"
