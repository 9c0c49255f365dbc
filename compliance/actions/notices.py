"""Retraining notices: issued with the erasure, closed only by proof or a reasoned waiver."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.queries import system_user
from audit.actions import record
from compliance import events
from compliance.actions.mail import post
from compliance.actions.requests import digest_of
from compliance.errors import InvalidInputError, NotPermittedError, WrongStateError
from compliance.models import Notice, Plan, Request
from compliance.retraining import Check, checks_of_replacement, checks_of_retirement
from compliance.states import NOTICE_OPEN, NoticeState
from lineage.models import Version

DAYS_TO_ANSWER = 30
DAYS_BETWEEN_REMINDERS = 7


def issue_notices(request: Request, plan: Plan, *, by: User) -> None:
    """One notice per model version that learned from the person and is not retired."""
    now = timezone.now()
    for item in plan.body["affected_models"]:
        version = Version.objects.select_related("dataset").get(pk=item["id"])
        if version.retired_at:
            continue
        notice, made = Notice.objects.get_or_create(
            request=request,
            model_version=version,
            defaults={
                "path": item["path"],
                "was_in_use": item["in_use"],
                "issued_at": now,
                "due_at": now + timedelta(days=DAYS_TO_ANSWER),
                "mail_due_at": now,
            },
        )
        if made:
            record(
                events.NOTICE_ISSUED,
                by=by,
                resource=notice.resource,
                details={
                    "model": item["model"],
                    "version": item["version"],
                    "request": request.reference,
                    "due_at": notice.due_at.isoformat(),
                    "in_use": item["in_use"],
                },
            )


@transaction.atomic
def post_notice(notice: Notice, owners: Iterable[User], *, by: User) -> None:
    """Mails the notice, or a reminder of it, to the model's owner or all model owners."""
    now = timezone.now()
    if notice.mail_due_at is None or notice.mail_due_at > now:
        return  # another worker was here
    if not notice.is_open:
        Notice.objects.filter(pk=notice.pk).update(mail_due_at=None)
        return
    own = notice.model_version.dataset.owner
    addresses = sorted({u.email for u in ([own] if own and own.email else owners) if u.email})
    model = f"{notice.model_version.dataset.name} version {notice.model_version.version}"
    for address in addresses:
        post(
            None,
            to=address,
            purpose="notice",
            subject=f"Retraining notice {notice.pk} for {notice.model_version.dataset.name}",
            body=(
                f"The model {model} learned from data that have been erased on a person's "
                f"request ({notice.request.reference}).\n\n"
                f"Please acknowledge the notice and answer it by {notice.due_at:%d %B %Y}: with a "
                "version trained without these data, or by retiring the model.\n\n"
                f"{settings.VESTIGE_PUBLIC_URL}/notices/{notice.pk}/\n"
            ),
        )
    Notice.objects.filter(pk=notice.pk).update(
        mail_due_at=now + timedelta(days=DAYS_BETWEEN_REMINDERS)
    )
    record(
        events.NOTICE_SENT,
        by=by,
        resource=notice.resource,
        details={"recipients": len(addresses)},
    )


def _act(notice: Notice, sources: frozenset[NoticeState], by: User, **changes: object) -> None:
    if not by.has_perm("notices.answer"):
        raise NotPermittedError("Only a model owner answers a retraining notice.")
    if not Notice.objects.filter(pk=notice.pk, state__in=sources).update(**changes):
        notice.refresh_from_db()
        raise WrongStateError(f"This notice is “{notice.get_state_display()}” already.")
    notice.refresh_from_db()


@transaction.atomic
def acknowledge(notice: Notice, *, by: User) -> None:
    _act(
        notice,
        frozenset({NoticeState.ISSUED}),
        by,
        state=NoticeState.ACKNOWLEDGED,
        acknowledged_at=timezone.now(),
        acknowledged_by=by,
    )
    record(events.NOTICE_ACKNOWLEDGED, by=by, resource=notice.resource)


@transaction.atomic
def start_retraining(notice: Notice, *, by: User) -> None:
    sources = {NoticeState.ISSUED, NoticeState.ACKNOWLEDGED, NoticeState.REJECTED_EVIDENCE}
    _act(notice, frozenset(sources), by, state=NoticeState.IN_PROGRESS)
    record(events.NOTICE_STARTED, by=by, resource=notice.resource)


def submit_evidence(notice: Notice, *, replacement: Version | None, by: User) -> list[Check]:
    """Closes the notice if every check holds; otherwise keeps it open and says which failed.

    `replacement` is the model version trained without the person; None claims that the model is
    retired for good. Reading the training data takes as long as the data are large.
    """
    if not by.has_perm("notices.answer"):
        raise NotPermittedError("Only a model owner answers a retraining notice.")
    if notice.state not in NOTICE_OPEN:
        raise WrongStateError(f"This notice is “{notice.get_state_display()}” already.")
    if replacement is not None and replacement.dataset_id != notice.model_version.dataset_id:
        raise InvalidInputError(
            f"The notice is about {notice.model_version.dataset.name}; name one of its versions.",
            field="model_version",
        )
    checks = (
        checks_of_replacement(notice, replacement) if replacement else checks_of_retirement(notice)
    )
    _decide(notice, replacement, checks, by)
    return checks


@transaction.atomic
def _decide(notice: Notice, replacement: Version | None, checks: list[Check], by: User) -> None:
    passed = all(check.passed for check in checks)
    name = replacement.version if replacement else ""
    changes: dict[str, object] = {"checks": [check.as_json() for check in checks]}
    if passed:
        changes |= {
            "state": NoticeState.CLOSED,
            "replacement": replacement,
            "disposition": "retrain" if replacement else "retire",
            "closed_at": timezone.now(),
            "mail_due_at": None,
        }
    else:
        changes |= {"state": NoticeState.REJECTED_EVIDENCE}
    _act(notice, NOTICE_OPEN, by, **changes)
    if not passed:
        record(
            events.NOTICE_EVIDENCE_REJECTED,
            by=by,
            resource=notice.resource,
            details={
                "replacement": name,
                "failed": [c.name for c in checks if not c.passed],
            },
        )
        return
    # The owner submits, Vestige closes: nobody declares their own proof sufficient.
    record(
        events.NOTICE_CLOSED,
        by=system_user("verifier"),
        resource=notice.resource,
        details={
            "replacement": name,
            "disposition": notice.disposition,
            "checks": [check.name for check in checks],
        },
    )
    _renew_certificate(notice.request)


@transaction.atomic
def waive(notice: Notice, *, reason: str, until: datetime, by: User) -> None:
    """The DPO lets the model stay as it is for a while, for a stated reason."""
    if not by.has_perm("notices.decide"):
        raise NotPermittedError("Only the DPO waives a retraining notice.")
    if not reason.strip():
        raise InvalidInputError("State the reason for the waiver.", field="reason")
    if until <= timezone.now():
        raise InvalidInputError("The waiver must end in the future.", field="expires_at")
    won = Notice.objects.filter(pk=notice.pk, state__in=NOTICE_OPEN).update(
        state=NoticeState.WAIVED,
        reason=reason,
        waived_until=until,
        disposition="waiver",
        closed_at=timezone.now(),
        mail_due_at=None,
    )
    notice.refresh_from_db()
    if not won:
        raise WrongStateError(f"This notice is “{notice.get_state_display()}” already.")
    record(
        events.NOTICE_WAIVED,
        by=by,
        resource=notice.resource,
        details={"until": until.isoformat(), "reason_sha256": digest_of(reason)},
    )
    _renew_certificate(notice.request)


def _renew_certificate(request: Request) -> None:
    """When the last notice is answered, a certificate that says so supersedes the first."""
    if request.notices.filter(state__in=NOTICE_OPEN).exists():
        return
    Request.objects.filter(pk=request.pk, erased_at__isnull=False).update(
        certificate_due_at=timezone.now()
    )
