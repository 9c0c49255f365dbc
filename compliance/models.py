"""Requests of data subjects, plans and approvals, the erasure's steps, notices, due mail.

Identifiers and addresses of persons are kept only encrypted (`audit.vault`) or as keyed hashes,
and only as long as the case needs them.
"""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from compliance.states import NOTICE_OPEN, OPEN, UNANSWERED, NoticeState, State


class Request(models.Model):
    """One person's request. `sealed_identity` is emptied when the erasure is verified."""

    class Channel(models.TextChoices):
        FORM = "form", "Public form"
        API = "api", "REST interface"
        STAFF = "staff", "Entered by staff"

    reference = models.CharField(max_length=20, unique=True)
    state = models.CharField(max_length=20, choices=State, default=State.RECEIVED)
    rights = models.JSONField(default=list)
    regime = models.JSONField()  # compliance.clock.Regime.snapshot() on the day of receipt
    channel = models.CharField(max_length=10, choices=Channel)
    filed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    scope = models.JSONField(default=list)  # dataset nodes; empty: everywhere
    # Dataset node → what becomes of its older versions; the store's own way if it is not here.
    modes = models.JSONField(default=dict)
    received_at = models.DateTimeField()
    due_at = models.DateTimeField()
    extended_at = models.DateTimeField(null=True, blank=True)
    extension_reason = models.TextField(blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    verification = models.CharField(max_length=200, blank=True)
    held_at = models.DateTimeField(null=True, blank=True)
    hold_reason = models.TextField(blank=True)
    reason = models.TextField(blank=True)  # why refused, withdrawn or blocked
    pseudonyms = models.JSONField(default=list)  # how the log names the person; keys destroyed
    subject_lookup = models.CharField(max_length=64, db_index=True)
    sealed_identity = models.BinaryField(null=True)
    sealed_contact = models.BinaryField(null=True)
    origin = models.CharField(max_length=64, blank=True, db_index=True)  # keyed hash of the address
    merged_into = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT)
    discovery_due_at = models.DateTimeField(null=True, blank=True)
    stores_searched = models.PositiveIntegerField(default=0)
    stores_to_search = models.PositiveIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    planned_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    scheduled_for = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True)  # every store scanned clean
    certificate_due_at = models.DateTimeField(null=True, blank=True)
    certificate_issued_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["due_at", "pk"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=State.values), name="request_state_known"),
            models.CheckConstraint(
                condition=Q(certificate_due_at=None) | Q(erased_at__isnull=False),
                name="request_no_certificate_before_erasure",
            ),
        ]
        indexes = [models.Index(fields=["state", "due_at"])]

    def __str__(self) -> str:
        return self.reference

    @property
    def resource(self) -> str:
        return f"request:{self.reference}"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_overdue(self) -> bool:
        return self.state in UNANSWERED and self.due_at < timezone.now()


class ReferenceCounter(models.Model):
    """The last number given out in a year; taken under a lock, so references have no gaps."""

    year = models.IntegerField(primary_key=True)
    last = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.year}: {self.last}"


class Challenge(models.Model):
    """A code sent to an address that we already hold. Only the code's keyed hash is kept."""

    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="challenges")
    token = models.CharField(max_length=43, unique=True)  # in the page's address; says nothing
    code_hash = models.CharField(max_length=64, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)  # the code is still to be sent
    expires_at = models.DateTimeField()
    tries_left = models.PositiveSmallIntegerField(default=5)
    used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"challenge {self.pk} of {self.request_id}"


class Plan(models.Model):
    """What will be erased where. Immutable; a change is a new plan with another hash."""

    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="plans")
    number = models.PositiveIntegerField()
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    body = models.JSONField()
    hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())
    superseded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["request", "number"], name="plan_number_once"),
            models.UniqueConstraint(
                fields=["request"], condition=Q(superseded_at=None), name="plan_one_current"
            ),
        ]

    def __str__(self) -> str:
        return f"plan {self.number} of {self.request.reference}"


class Approval(models.Model):
    """A signature under one plan's hash, by somebody who is not its author."""

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="approvals")
    approver = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    role = models.CharField(max_length=20)
    plan_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())
    voided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "approver"], name="approval_once_a_person"),
            models.UniqueConstraint(fields=["plan", "role"], name="approval_once_a_role"),
        ]

    def __str__(self) -> str:
        return f"{self.role} for plan {self.plan_id}"


class Batch(models.Model):
    """Steps of one store, of several persons, that are carried out in one pass.

    `plan` was made when the work began, and does nothing but what the approved plans say of each.
    """

    connector = models.ForeignKey("connectors.Connector", on_delete=models.PROTECT)
    plan = models.JSONField()
    rows = models.JSONField()  # step → how many of the rows in the current version are its person's
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"batch {self.pk}"


class Step(models.Model):
    """The erasure in one store. Its row is the queue: due, claimed by a worker, done or failed."""

    class Phase(models.TextChoices):
        DUE = "due", "Waiting for a worker"
        ERASING = "erasing", "Erasing"
        PURGING = "purging", "Purging history"
        TO_VERIFY = "to_verify", "Waiting for the verifier"
        VERIFYING = "verifying", "Re-scanning every byte"
        DONE = "done", "Done, scanned clean"
        FAILED = "failed", "Failed"
        RETAINED = "retained", "Kept by exemption"

    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="steps")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="steps")
    connector = models.ForeignKey("connectors.Connector", on_delete=models.PROTECT)
    dataset = models.ForeignKey("lineage.Dataset", null=True, on_delete=models.PROTECT)
    number = models.PositiveIntegerField()
    batch = models.ForeignKey(Batch, null=True, on_delete=models.PROTECT, related_name="steps")
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.DUE)
    claimed_at = models.DateTimeField(null=True, blank=True)  # renewed while the worker lives
    claim = models.CharField(max_length=32, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    activity = models.CharField(max_length=60, blank=True)
    activity_at = models.DateTimeField(null=True, blank=True)  # since when it goes on
    done_bytes = models.BigIntegerField(default=0)
    rows_erased = models.PositiveIntegerField(null=True, blank=True)
    result = models.JSONField(default=dict)  # what was erased and purged: counts and digests
    report = models.JSONField(default=dict)  # the verifier's scan
    failure = models.TextField(blank=True)
    outcome = models.CharField(max_length=20, blank=True)  # erased | not_found | retained
    started_at = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "number"], name="step_number_once"),
        ]

    def __str__(self) -> str:
        return f"step {self.number} of {self.request.reference}"

    @property
    def approved(self) -> dict[str, Any]:
        """What the approvals say of this store."""
        body: dict[str, Any] = self.plan.body["steps"][self.number - 1]
        return body

    @property
    def carried_out(self) -> dict[str, Any]:
        """The plan by which the store is worked on: the approved one, or that of the batch."""
        return self.batch.plan if self.batch else self.approved


class Tail(models.Model):
    """A copy that the erasure in a store could not reach. It is asked about once it should be
    gone, and again until somebody says that it is."""

    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="tails")
    what = models.CharField(max_length=120)
    until = models.DateTimeField()
    asked_at = models.DateTimeField(null=True, blank=True)  # last, since it should be gone
    note = models.TextField(blank=True)  # why it lasts longer, or how it is known to be gone
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["until", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["step", "what"], name="tail_once_a_step"),
            models.CheckConstraint(
                condition=Q(closed_at=None) | Q(closed_by__isnull=False), name="tail_closed_by"
            ),
        ]
        indexes = [models.Index(fields=["closed_at", "until"])]

    def __str__(self) -> str:
        return f"tail {self.pk}"


class Notice(models.Model):
    """A model learned from the person: its owner is told, and told again until it is answered."""

    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="notices")
    model_version = models.ForeignKey(
        "lineage.Version", on_delete=models.PROTECT, related_name="notices"
    )
    path = models.JSONField(default=list)  # how the model descends from the person's data
    was_in_use = models.BooleanField(default=False)
    state = models.CharField(max_length=20, choices=NoticeState, default=NoticeState.ISSUED)
    issued_at = models.DateTimeField()
    due_at = models.DateTimeField()
    mail_due_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    replacement = models.ForeignKey(
        "lineage.Version", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    disposition = models.CharField(max_length=20, blank=True)  # retrain | retire | waiver
    checks = models.JSONField(default=list)  # [{"check", "passed", "finding"}]
    waived_until = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["due_at", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "model_version"], name="notice_once_a_model_version"
            ),
            models.CheckConstraint(
                condition=Q(state__in=NoticeState.values), name="notice_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"notice {self.pk}"

    @property
    def resource(self) -> str:
        return f"notice:{self.pk}"

    @property
    def is_open(self) -> bool:
        return self.state in NOTICE_OPEN


class Suppression(models.Model):
    """A person who was erased must not come in again. Only a keyed hash, under its own key."""

    digest = models.CharField(max_length=64, unique=True)
    # Of the identifier as a number: "00004" is 4 in a table that keeps customer numbers so.
    as_number = models.BooleanField(default=False)
    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="suppressions")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"suppression {self.pk}"


class Mail(models.Model):
    """A mail that is due. Address and text are encrypted, and emptied once it is sent."""

    request = models.ForeignKey(Request, null=True, on_delete=models.CASCADE, related_name="mails")
    purpose = models.CharField(max_length=30)
    message_id = models.CharField(max_length=80, unique=True)  # stays the same if sent again
    sealed_to = models.BinaryField(null=True)
    sealed_body = models.BinaryField(null=True)
    subject = models.CharField(max_length=200)
    due_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    failure = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [models.Index(fields=["sent_at", "due_at"])]

    def __str__(self) -> str:
        return f"mail {self.pk} ({self.purpose})"
