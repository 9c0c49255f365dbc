"""What the installation finds wrong with itself: counts that ought to be nought."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from compliance.models import Notice, Request, Step
from compliance.queries import notices_visible_to, requests_visible_to
from compliance.states import NOTICE_OPEN, OPEN, UNANSWERED, State
from lineage.models import Dataset, Version
from lineage.queries import models_trained_on_purged, written_versions
from reports.models import Certificate, Document
from reports.queries import certificates_visible_to, reports_visible_to

_CLOSED = (State.COMPLETED, State.COMPLETED_PARTIAL)


@dataclass(frozen=True)
class SelfCheck:
    """`kind`: how bad a count above nought is, "warn" or "bad"."""

    label: str
    count: int
    url: str
    kind: str

    @property
    def shown_kind(self) -> str:
        return self.kind if self.count else "ok"


@dataclass(frozen=True)
class _Definition:
    label: str
    permission: str
    kind: str
    count: Callable[[User], int]
    url_name: str
    query: str = ""


def self_checks(user: User) -> list[SelfCheck]:
    """The checks whose lists this user may open."""
    return [
        SelfCheck(d.label, d.count(user), reverse(d.url_name) + d.query, d.kind)
        for d in _DEFINITIONS
        if user.has_perm(d.permission)
    ]


def closed_without_certificate(user: User) -> Any:
    done = Certificate.objects.filter(request=OuterRef("pk"), state=Document.State.DONE)
    return requests_visible_to(user).filter(~Exists(done), state__in=_CLOSED)


def closed_without_scan(user: User) -> Any:
    """Completed erasures in which a store was left without a verifier's report."""
    unscanned = Step.objects.filter(
        request=OuterRef("pk"), plan__superseded_at=None, report={}
    ).exclude(phase=Step.Phase.RETAINED)
    return requests_visible_to(user).filter(Exists(unscanned), state__in=_CLOSED)


def models_without_notice() -> list[int]:
    """Model versions in use that descend from purged data, and were never part of a notice."""
    told = Notice.objects.filter(model_version=OuterRef("pk"))
    in_use = Version.objects.filter(~Exists(told), in_use=True).values_list("pk", flat=True)
    return sorted(_common(in_use, models_trained_on_purged))


def _common(some: Iterable[int], others: Callable[[], set[int]]) -> set[int]:
    few = set(some)
    return few & others() if few else few


def _overdue(user: User) -> int:
    return requests_visible_to(user).filter(state__in=UNANSWERED, due_at__lt=timezone.now()).count()


def _late_notices(user: User) -> int:
    return notices_visible_to(user).filter(state__in=NOTICE_OPEN, due_at__lt=timezone.now()).count()


def _unproduced(user: User) -> int:
    return written_versions().filter(dataset__kind=Dataset.Kind.DATASET, produced_by=None).count()


def _failed_documents(user: User) -> int:
    failed = Document.State.FAILED
    certificates = certificates_visible_to(user).filter(state=failed, superseded_by=None)
    return certificates.count() + reports_visible_to(user).filter(state=failed).count()


def _blocked(user: User) -> int:
    return requests_visible_to(user).filter(state=State.BLOCKED).count()


_DEFINITIONS = (
    _Definition(
        "Closed erasures without a certificate",
        "requests.read",
        "bad",
        lambda user: closed_without_certificate(user).count(),
        "compliance:requests",
        "?show=ended",
    ),
    _Definition(
        "Closed erasures with a store that was not scanned",
        "requests.read",
        "bad",
        lambda user: closed_without_scan(user).count(),
        "compliance:requests",
        "?show=ended",
    ),
    _Definition(
        "Erasures stopped by residue or an error",
        "requests.read",
        "bad",
        _blocked,
        "compliance:requests",
        "?show=blocked",
    ),
    _Definition(
        "Requests past their due date",
        "requests.read",
        "bad",
        _overdue,
        "compliance:requests",
        "?show=overdue",
    ),
    _Definition(
        "Models in use that learned from data purged since, without a notice",
        "notices.read",
        "bad",
        lambda user: len(models_without_notice()),
        "lineage:models",
    ),
    _Definition(
        "Retraining notices past their date",
        "notices.read",
        "warn",
        _late_notices,
        "compliance:notices",
    ),
    _Definition(
        "Documents that could not be rendered",
        "reports.create",
        "bad",
        _failed_documents,
        "reports:reports",
    ),
    _Definition(
        "Dataset versions without a known producer",
        "lineage.read",
        "warn",
        _unproduced,
        "lineage:datasets",
    ),
)


def requests_needing_an_eye(user: User, most: int) -> list[Request]:
    """Stopped and overdue requests first, then open ones by due date, then the last ended."""
    rows = requests_visible_to(user)
    found: list[Request] = []
    for part in (
        rows.filter(state=State.BLOCKED),
        rows.filter(state__in=UNANSWERED, due_at__lt=timezone.now()),
        rows.filter(state__in=OPEN),
        rows.exclude(state__in=OPEN).order_by("-closed_at"),
    ):
        known = {row.pk for row in found}
        found += [row for row in part[:most] if row.pk not in known]
    return found[:most]
