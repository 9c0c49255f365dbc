"""Reading the workflow."""

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core import signing
from django.db.models import Min, Q, QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.queries import system_user
from accounts.roles import Role
from audit import vault
from audit.keys import named_key
from audit.subjects import SubjectError, SubjectRef, normalise
from compliance.errors import NotErasedError
from compliance.leases import LEASE
from compliance.models import Mail, Notice, Plan, Request, Step, Suppression, Tail
from compliance.states import NOTICE_OPEN, OPEN, State
from connectors.models import Connector

STATUS_LINK_DAYS = 180
WHOLE_NUMBERS = frozenset({"byte", "short", "integer", "long"})  # as stores name their types


def requests_visible_to(user: Any) -> QuerySet[Request]:
    """Staff and auditors see every case (without identities); a pipeline sees what it filed."""
    rows = Request.objects.select_related("filed_by", "planned_by", "merged_into")
    if not user.is_authenticated:
        return rows.none()
    if user.has_perm("requests.read"):
        return rows
    if user.has_perm("requests.file"):
        return rows.filter(filed_by=user)
    return rows.none()


def notices_visible_to(user: Any) -> QuerySet[Notice]:
    rows = Notice.objects.select_related(
        "request", "model_version__dataset", "replacement", "acknowledged_by"
    )
    if not user.is_authenticated or not user.has_perm("notices.read"):
        return rows.none()
    return rows


def resources_of_open_cases() -> list[str]:
    """What the log must keep for open or held requests and open notices, whatever the policies."""
    open_requests = Request.objects.filter(Q(state__in=OPEN) | Q(held_at__isnull=False))
    open_notices = Notice.objects.filter(state__in=NOTICE_OPEN)
    references = set(open_requests.values_list("reference", flat=True))
    references |= set(open_notices.values_list("request__reference", flat=True))
    return [f"request:{reference}" for reference in sorted(references)] + [
        f"notice:{pk}" for pk in open_notices.order_by("pk").values_list("pk", flat=True)
    ]


def requests_awaiting_approval() -> QuerySet[Request]:
    return Request.objects.filter(state__in=[State.REVIEW, State.APPROVAL])


def current_plan(request: Request) -> Plan | None:
    return request.plans.filter(superseded_at=None).select_related("author").first()


def identifiers_of(request: Request) -> list[SubjectRef]:
    """Whom the request is about, as filed; empty once the erasure is verified.

    For those parts that search and erase, and the staff member who checks the identity. Never
    for pages of auditors, logs or documents.
    """
    if not request.sealed_identity:
        return []
    plain = vault.decrypt(bytes(request.sealed_identity), context=f"identity:{request.reference}")
    return [SubjectRef(item["type"], item["value"]) for item in json.loads(plain)]


def contact_of(request: Request) -> str | None:
    if not request.sealed_contact:
        return None
    plain = vault.decrypt(bytes(request.sealed_contact), context=f"contact:{request.reference}")
    return plain.decode()


def masked(ref: SubjectRef) -> str:
    """Enough for a clerk to recognise, too little to identify: `e-mail c…@customers.example`."""
    kept = ref.value[:1] + "…"
    if "@" in ref.value:
        return f"{kept}@{ref.value.rpartition('@')[2]}"
    return kept + ref.value[-2:] if len(ref.value) > 4 else kept


def status_token(request: Request) -> str:
    """The address of the person's status page: signed, expiring, and saying nothing by itself."""
    return signing.dumps(request.pk, salt="privacy-status", compress=False)


def request_of_status_token(token: str) -> Request | None:
    try:
        pk = signing.loads(token, salt="privacy-status", max_age=STATUS_LINK_DAYS * 86400)
    except signing.BadSignature:
        return None
    found = Request.objects.filter(pk=pk).select_related("merged_into").first()
    return found.merged_into if found and found.merged_into else found


def keyed_hash(purpose: str, value: str) -> str:
    """HMAC-SHA256 under a key of its own purpose, hex: for equality, never to be reversed."""
    return hmac.new(named_key(purpose), value.encode(), hashlib.sha256).hexdigest()


def suppression_digest(ref: SubjectRef) -> str:
    plain = normalise(ref)
    return keyed_hash("suppression", f"{plain.type}\0{plain.value}")


def number_digest(kind: str, value: str) -> str | None:
    """The same for an identifier that stands in a column of whole numbers; None: it cannot."""
    try:
        number = int(value)
    except ValueError:
        return None
    return keyed_hash("suppression", f"{kind}\0#{number}")


def hits_among(
    values: Iterable[str], kind: str, gone: Collection[str], *, as_numbers: bool
) -> tuple[int, int]:
    """How many of the identifiers have one of these suppression digests, and how many were read.

    A person known as "00004" is 4 in a column of whole numbers; in a text column "4" is another.
    """
    hits = count = 0
    for value in values:
        count += 1
        try:
            digest = (
                number_digest(kind, value)
                if as_numbers
                else suppression_digest(SubjectRef(kind, value))
            )
        except SubjectError:
            continue  # blanks, or longer than any identifier may be
        hits += digest in gone
    return hits, count


def suppressed(refs: Sequence[SubjectRef]) -> list[bool]:
    """For each person, whether they were erased and must not come in again."""
    digests = [suppression_digest(ref) for ref in refs]
    known = set(Suppression.objects.filter(digest__in=digests).values_list("digest", flat=True))
    return [digest in known for digest in digests]


def open_request_for(lookup: str) -> Request | None:
    return (
        Request.objects.filter(subject_lookup=lookup)
        .exclude(state__in=[State.DUPLICATE, State.WITHDRAWN, State.REFUSED])
        .order_by("-pk")
        .first()
    )


def claimable(moment: str = "claimed_at") -> Q:
    """Rows that nobody works on: never claimed, or the claim's lease has run out."""
    return Q(**{moment: None}) | Q(**{f"{moment}__lt": timezone.now() - LEASE})


def due_steps() -> QuerySet[Step]:
    """Steps that a worker should take up now, also those that a dead worker left behind."""
    working = [Step.Phase.DUE, Step.Phase.ERASING, Step.Phase.PURGING]
    scanning = [Step.Phase.TO_VERIFY, Step.Phase.VERIFYING]
    return Step.objects.filter(
        claimable(),
        Q(request__state=State.EXECUTING, phase__in=working)
        | Q(request__state=State.VERIFYING_ERASURE, phase__in=scanning),
        request__held_at=None,
    )


def next_steps() -> QuerySet[Step]:
    """One due step for each store that nobody works on: who takes it up takes along what goes with
    it, and a store has one worker at a time."""
    in_work = Step.objects.filter(~claimable()).values("connector")
    waiting = due_steps().exclude(connector__in=in_work)
    return Step.objects.filter(
        pk__in=waiting.values("connector").annotate(Min("pk")).values("pk__min")
    )


def nodes_being_erased_in() -> set[str]:
    """The datasets of the stores whose files a worker is rewriting or removing now."""
    rewriting = [Step.Phase.ERASING, Step.Phase.PURGING]
    working = Step.objects.filter(~claimable(), phase__in=rewriting).values("connector")
    return {store.dataset_node for store in Connector.objects.filter(pk__in=working)}


def waits_for_erasure(scope: Collection[str], nodes: Set[str]) -> bool:
    """Whether a search of this scope would read one of these: files would vanish from under it."""
    return not nodes.isdisjoint(scope) if scope else bool(nodes)


def due_discoveries() -> QuerySet[Request]:
    return Request.objects.filter(
        claimable(), state=State.DISCOVERY, discovery_due_at__lte=timezone.now()
    )


def next_discoveries() -> list[int]:
    """Requests whose search is due, but for those that wait for an erasure in one of the stores."""
    nodes = nodes_being_erased_in()
    due = due_discoveries().values_list("pk", "scope")
    return [pk for pk, scope in due if not waits_for_erasure(scope, nodes)]


def due_mail() -> QuerySet[Mail]:
    return Mail.objects.filter(claimable(), sent_at=None, due_at__lte=timezone.now())


def tails_of(request: Request) -> QuerySet[Tail]:
    """Copies that the request's erasures could not reach, those of earlier plans as well: what a
    plan that failed later has erased is in the backups all the same."""
    return Tail.objects.filter(step__request=request).select_related("step__connector", "closed_by")


def copies_until(request: Request) -> datetime | None:
    """When the last of the copies that are still there ends."""
    last = tails_of(request).filter(closed_at=None).order_by("until").last()
    return last.until if last else None


def open_tails(*, asked_before: datetime | None = None) -> QuerySet[Tail]:
    """Of all requests; with `asked_before` those about which nobody was asked since then."""
    rows = Tail.objects.filter(closed_at=None)
    if asked_before is None:
        return rows
    return rows.filter(Q(asked_at=None) | Q(asked_at__lte=asked_before))


def approvals_missing(plan: Plan) -> list[str]:
    """The roles that have not signed this plan yet."""
    given = set(plan.approvals.filter(voided_at=None).values_list("role", flat=True))
    return [role for role in (Role.DPO, Role.DATA_OWNER) if role not in given]


def may_approve(user: User, plan: Plan) -> str:
    """Why this user may not approve this plan; empty when they may."""
    if plan.author_id == user.pk:
        return "You made this plan. Somebody else must approve it."
    if plan.approvals.filter(approver=user, voided_at=None).exists():
        return "You have approved this plan already. The second approval must be somebody else's."
    if not user.has_role(*approvals_missing(plan)):
        return "The approval of your role is not the one that is missing."
    return ""


def plan_json(request: Request) -> dict[str, Any] | None:
    plan = current_plan(request)
    if plan is None:
        return None
    return {"hash": plan.hash, "author": plan.author.actor, "number": plan.number, **plan.body}


def affected_models(request: Request) -> list[dict[str, Any]]:
    plan = current_plan(request)
    return list(plan.body["affected_models"]) if plan else []


@dataclass(frozen=True)
class Signed:
    name: str
    role: str
    at: datetime
    plan_hash: str


@dataclass(frozen=True)
class Location:
    """What happened in one store. Paths of objects stay out: they may carry identifiers."""

    dataset: str
    store: str
    kind: str
    method: str
    outcome: str
    rows_found: int
    rows_erased: int
    rows_by_version: Mapping[str, int]
    versions_lost: list[str]
    versions_renamed: Mapping[str, str]  # old → now, where keeping them took their names
    history_kept: bool
    new_version: str | None
    objects_removed: int
    removed_sha256: str
    objects_purged: int
    tool: str
    operator: str
    started_at: datetime | None
    erased_at: datetime | None
    verifier: str
    scan: Mapping[str, Any]
    finished_at: datetime | None
    exemption: Mapping[str, str] | None
    unreached: list[str]  # what the store's adapter names without a date


@dataclass(frozen=True)
class TailFacts:
    """A copy that an erasure could not reach. `closed_by` says that it is gone."""

    dataset: str
    what: str
    until: datetime
    closed_at: datetime | None
    closed_by: str


@dataclass(frozen=True)
class AffectedModelFacts:
    model: str
    version: str
    in_use: bool
    path: list[str]
    notice: int | None
    notice_state: str
    replacement: str
    checks: list[Mapping[str, Any]]


@dataclass(frozen=True)
class CertificateFacts:
    """All that an erasure certificate states. Holds nothing that identifies the person."""

    reference: str
    rights: list[str]
    regime: Mapping[str, Any]
    channel: str
    received_at: datetime
    due_at: datetime
    extended_at: datetime | None
    verified_at: datetime | None
    verification: str
    erased_at: datetime
    pseudonyms: list[str]
    plan_number: int
    plan_hash: str
    plan_author: str
    approvals: list[Signed]
    locations: list[Location]
    tails: list[TailFacts]
    affected_models: list[AffectedModelFacts]
    suppressed: int
    keys_destroyed: int

    @property
    def partial(self) -> bool:
        return any(place.outcome == "retained" for place in self.locations)

    @property
    def notices_open(self) -> int:
        return sum(1 for m in self.affected_models if m.notice and m.notice_state in NOTICE_OPEN)

    @property
    def tails_open(self) -> int:
        return sum(1 for tail in self.tails if tail.closed_at is None)


def certificate_facts(request: Request) -> CertificateFacts:
    """The facts of a verified erasure. Raises `NotErasedError` before every store was scanned."""
    plan = current_plan(request)
    if request.erased_at is None or plan is None:
        raise NotErasedError(
            f"The erasure of {request.reference} is not verified; a certificate would be false."
        )
    return CertificateFacts(
        reference=request.reference,
        rights=list(request.rights),
        regime=request.regime,
        channel=request.get_channel_display(),
        received_at=request.received_at,
        due_at=request.due_at,
        extended_at=request.extended_at,
        verified_at=request.verified_at,
        verification=request.verification,
        erased_at=request.erased_at,
        pseudonyms=list(request.pseudonyms),
        plan_number=plan.number,
        plan_hash=plan.hash,
        plan_author=str(plan.author),
        approvals=[
            Signed(str(a.approver), Role(a.role).label, a.created_at, a.plan_hash)
            for a in plan.approvals.filter(voided_at=None).select_related("approver")
        ],
        locations=[
            _location(step, plan)
            for step in plan.steps.select_related("connector").order_by("number")
        ],
        tails=[
            TailFacts(
                tail.step.connector.dataset_node,
                tail.what,
                tail.until,
                tail.closed_at,
                str(tail.closed_by) if tail.closed_by else "",
            )
            for tail in tails_of(request)
        ],
        affected_models=_model_facts(request, plan),
        suppressed=request.suppressions.filter(as_number=False).count(),
        keys_destroyed=len(request.pseudonyms),
    )


def _location(step: Step, plan: Plan) -> Location:
    body = plan.body["steps"][step.number - 1]
    purged = step.result.get("purged", {})
    return Location(
        dataset=body["dataset"],
        store=body["store"],
        kind=body["kind"],
        method=body["method"],
        outcome=step.outcome,
        rows_found=body["rows"],
        rows_erased=step.rows_erased or 0,
        rows_by_version=body["rows_by_version"],
        versions_lost=body["versions_lost"] if purged.get("objects_removed") else [],
        versions_renamed=purged.get("renamed", {}),
        history_kept=body.get("mode") == "keep_history",
        new_version=step.result.get("new_version"),
        objects_removed=step.result.get("objects_removed", 0),
        removed_sha256=step.result.get("removed_sha256", ""),
        objects_purged=purged.get("objects_removed", 0),
        tool=step.result.get("tool", ""),
        operator=str(system_user("executor")),
        started_at=step.started_at,
        erased_at=step.erased_at,
        verifier=str(system_user("verifier")),
        scan={k: v for k, v in step.report.items() if k not in ("traces", "unreadable")}
        | {
            "traces": len(step.report.get("traces", [])),
            "unreadable": len(step.report.get("unreadable", [])),
        },
        finished_at=step.finished_at,
        exemption=body["retain"],
        unreached=list(step.result.get("unreached", [])),
    )


def _model_facts(request: Request, plan: Plan) -> list[AffectedModelFacts]:
    notices = {n.model_version_id: n for n in request.notices.select_related("replacement")}
    facts = []
    for item in plan.body["affected_models"]:
        notice = notices.get(item["id"])
        facts.append(
            AffectedModelFacts(
                model=item["model"],
                version=item["version"],
                in_use=item["in_use"],
                path=list(item["path"]),
                notice=notice.pk if notice else None,
                notice_state=notice.state if notice else "",
                replacement=notice.replacement.version if notice and notice.replacement else "",
                checks=list(notice.checks) if notice else [],
            )
        )
    return facts
