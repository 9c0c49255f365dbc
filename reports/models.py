"""Documents: rows that are the queue, then the record of what was rendered and where it lies."""

import json
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Document(models.Model):
    """A document on its way: due, claimed by a worker, done or failed.

    Issuing comes before rendering: `statement` is fixed and its digest recorded in the log in one
    transaction. A worker that dies later is followed by one that renders the same statement.
    """

    class State(models.TextChoices):
        DUE = "due", "Waiting for a worker"
        RENDERING = "rendering", "Being rendered"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    state = models.CharField(max_length=10, choices=State, default=State.DUE)
    render_after = models.DateTimeField(db_default=Now())
    claim = models.CharField(max_length=32, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    failure = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    issued_at = models.DateTimeField(null=True, blank=True)
    as_of = models.BigIntegerField(null=True, blank=True)  # the last entry that was looked at
    statement = models.TextField(blank=True)  # canonical JSON (RFC 8785)
    statement_sha256 = models.CharField(max_length=64, blank=True)
    event_id = models.CharField(max_length=128, blank=True)  # the entry that binds the statement
    entry = models.BigIntegerField(null=True, blank=True)

    json_file = models.CharField(max_length=200, blank=True)  # below VESTIGE_DOCUMENTS
    json_sha256 = models.CharField(max_length=64, blank=True)
    pdf_file = models.CharField(max_length=200, blank=True)
    pdf_sha256 = models.CharField(max_length=64, blank=True)
    pdf_bytes = models.BigIntegerField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def content(self) -> dict[str, Any] | None:
        """The statement, once it is fixed."""
        return json.loads(self.statement) if self.statement else None

    @property
    def is_under_way(self) -> bool:
        return self.state in (self.State.DUE, self.State.RENDERING)


class Report(Document):
    """A compliance report that somebody asked for."""

    class Kind(models.TextChoices):
        COMPLIANCE = "compliance", "Compliance report"

    kind = models.CharField(max_length=20, choices=Kind)
    resource = models.CharField(max_length=512)
    start_text = models.CharField(max_length=40)  # as asked, and so in the document
    end_text = models.CharField(max_length=40)
    start_at = models.DateTimeField()
    before_at = models.DateTimeField()  # the period ends just before
    events = models.BigIntegerField(null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "render_after"], name="report_due")]
        constraints = [
            models.CheckConstraint(
                condition=Q(before_at__gt=models.F("start_at")), name="report_period_has_a_length"
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | ~Q(json_sha256="") & ~Q(pdf_sha256=""),
                name="report_done_has_files",
            ),
        ]

    def __str__(self) -> str:
        return f"report {self.pk} on {self.resource}"

    @property
    def log_resource(self) -> str:
        return f"report:{self.pk}"


class Certificate(Document):
    """The certificate of an erasure. A later one supersedes it and never replaces its files."""

    class Edition(models.TextChoices):
        AUDITOR = "auditor", "Auditor's edition"

    request = models.ForeignKey(
        "compliance.Request", on_delete=models.PROTECT, related_name="certificates"
    )
    edition = models.CharField(max_length=10, choices=Edition, default=Edition.AUDITOR)
    number = models.CharField(max_length=30, unique=True)
    due_at = models.DateTimeField()  # the request's certificate_due_at that this one answers
    supersedes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="superseded_by"
    )

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "render_after"], name="certificate_due")]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "edition", "due_at"], name="certificate_once_a_due_time"
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | ~Q(json_sha256="") & ~Q(pdf_sha256=""),
                name="certificate_done_has_files",
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def log_resource(self) -> str:
        return f"certificate:{self.number}"
