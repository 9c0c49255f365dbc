"""The home page's facts: does the evidence hold, what waits for this user, what needs an eye."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.urls import reverse
from django.utils.html import format_html

from accounts.models import User
from accounts.roles import Role
from audit.integrity import integrity as audit_integrity
from audit.queries import failed_verification, verifier_key
from audit.templatetags.vestige import ago, hash_text
from compliance.models import Plan, Request
from compliance.queries import (
    current_plan,
    may_approve,
    notices_visible_to,
    requests_awaiting_approval,
    requests_visible_to,
)
from compliance.states import NOTICE_OPEN, State
from reports.models import Document
from reports.queries import certificates_visible_to
from reports.self_checks import requests_needing_an_eye, self_checks

_MOST = 6
_FOR_ANALYSTS = {
    State.TRIAGE: "Search the stores and plan",
    State.VERIFYING: "Waits for a code that was sent; or check the identity by hand",
    State.RECEIVED: "Check the identity",
    State.SCHEDULED: "Approved: execute it",
    State.BLOCKED: "Stopped: find out why",
}


def dashboard(user: User) -> dict[str, Any]:
    """The context of the home page, without what the user may not see."""
    reads_requests = user.has_perm("requests.read")
    to_approve = _to_approve(user)
    return {
        "work": _work(user, to_approve),
        "plans_to_approve": len(to_approve),
        "has_work": user.has_role(Role.ANALYST, Role.DPO, Role.DATA_OWNER, Role.MODEL_OWNER),
        "strip": integrity() if user.has_perm("log.read") else None,
        "erasures": _erasures(user) if reads_requests else None,
        "checks": self_checks(user),
        "record": _record(user) if reads_requests else None,
    }


def integrity() -> dict[str, Any]:
    """Whether the log holds, as far as anybody has looked: green only if all of it was checked."""
    strip, failed = audit_integrity(), failed_verification()
    checkpoint, last, held = strip.checkpoint, strip.verification, strip.outside.newest
    name, key_id, _ = verifier_key().rsplit("+", 2)
    return {
        "kind": strip.kind,
        "word": strip.word,
        "verified": strip.entries,
        "total": strip.size,
        "at": last.checked_at if last else None,
        "faults": failed.faults[:3] if failed else [],
        "facts": [
            ("Root", hash_text(checkpoint.root) if checkpoint else "not signed yet"),
            ("Checkpoint", f"{checkpoint.size:,}" if checkpoint else "none"),
            ("Signed", ago(checkpoint.signed_at) if checkpoint else "never"),
            ("Gaps", "none" if strip.kind == "ok" else "not known"),
            ("Signing key", f"{name}+{key_id}"),
            (
                "Held outside",
                format_html("{} entries, {}", f"{held.size:,}", ago(held.made_at))
                if held
                else "by nobody",
            ),
        ],
        "verify_url": reverse("audit:verify_now"),
        "proof_url": reverse("audit:verify"),
    }


def _to_approve(user: User) -> list[Request]:
    if not user.has_perm("requests.approve"):
        return []
    return [
        case
        for case in requests_awaiting_approval().order_by("due_at")
        if (plan := current_plan(case)) is not None and not may_approve(user, plan)
    ]


def _work(user: User, to_approve: list[Request]) -> list[dict[str, Any]]:
    """What waits for this user and nobody else could do as well, most urgent first."""
    items = [_item(case, "Read the plan and approve it") for case in to_approve]
    if user.has_perm("requests.plan"):
        waiting = requests_visible_to(user).filter(state__in=_FOR_ANALYSTS).order_by("due_at")
        items += [_item(case, _for_analyst(case)) for case in waiting[:_MOST]]
    if user.has_perm("notices.answer"):
        items += _notices(user)
    return sorted(items, key=lambda item: item["due"])[:_MOST]


def _for_analyst(case: Request) -> str:
    """A code was sent only where the person filed the request themselves."""
    sent = case.channel == Request.Channel.FORM or case.state != State.VERIFYING
    return _FOR_ANALYSTS[State(case.state) if sent else State.RECEIVED]


def _item(case: Request, title: str) -> dict[str, Any]:
    return {
        "name": case.reference,
        "url": reverse("compliance:request", args=[case.reference]),
        "title": title,
        "state": case.state,
        "state_word": case.get_state_display(),
        "due": case.due_at,
    }


def _notices(user: User) -> list[dict[str, Any]]:
    rows = notices_visible_to(user).filter(state__in=NOTICE_OPEN)
    own = [n for n in rows if n.model_version.dataset.owner_id in (None, user.pk)]
    return [
        {
            "name": f"Notice {notice.pk}",
            "url": reverse("compliance:notice", args=[notice.pk]),
            "title": f"{notice.model_version.dataset} version {notice.model_version.version}: "
            "retrain without the person, or retire",
            "state": notice.state,
            "state_word": notice.get_state_display(),
            "due": notice.due_at,
        }
        for notice in own[:_MOST]
    ]


def _erasures(user: User) -> list[dict[str, Any]]:
    cases = requests_needing_an_eye(user, _MOST)
    plans = {
        plan.request_id: plan for plan in Plan.objects.filter(request__in=cases, superseded_at=None)
    }
    return [
        {
            "case": case,
            "late": case.is_overdue,
            **_where(plans.get(case.pk)),
        }
        for case in cases
    ]


def _where(plan: Plan | None) -> dict[str, Any]:
    if plan is None:
        return {"where": "not searched yet", "rows": None}
    steps = plan.body["steps"]
    stores = [step["store"] for step in steps if step["rows"]]
    where = ", ".join(stores[:3]) + (f" and {len(stores) - 3} more" if len(stores) > 3 else "")
    return {"where": where or "found nowhere", "rows": sum(step["rows"] for step in steps)}


def _record(user: User) -> dict[str, Any] | None:
    """The latest certified erasure, from receipt to certificate, each step with its entry."""
    row = certificates_visible_to(user).filter(state=Document.State.DONE).first()
    if row is None or row.content is None:
        return None
    return {"certificate": row, "items": story(row.content, row.entry)}


def story(said: Mapping[str, Any], certificate_entry: int | None) -> list[dict[str, Any]]:
    """A certificate's statement as the few steps that a reader walks through."""
    entry = _entries(said["timeline"])
    request, totals = said["request"], said["totals"]
    open_models = [m for m in said["models"] if m["notice"] and m["notice_state"] in NOTICE_OPEN]
    told = [m for m in said["models"] if m["notice"]]
    items = [
        {
            "title": "Request received",
            "text": f"{request['channel']}; identity by {request['identity_checked_by']}",
            "at": request["received_at"],
            "seq": entry.get("request.filed"),
            "kind": "ok",
        },
        {
            "title": f"Found in {_number(totals['versions'], 'version')}",
            "text": f"{_number(totals['rows_found'], 'row')}, "
            f"{_number(totals['locations'], 'store')}, {_number(len(said['models']), 'model')}",
            "seq": entry.get("plan.made"),
            "kind": "ok",
        },
        {
            "title": f"Approved by {len(said['approvals'])}",
            "text": ", ".join(f"{a['name']} ({a['role']})" for a in said["approvals"]),
            "at": said["approvals"][-1]["at"] if said["approvals"] else None,
            "seq": entry.get("plan.approved"),
            "kind": "ok",
        },
        {
            "title": "Erased and scanned",
            "text": f"{_number(totals['rows_found'], 'row')} gone; "
            f"{_number(totals['files_scanned'], 'file')} read again, "
            f"{_number(totals['traces'], 'trace')}",
            "at": request["erased_at"],
            "seq": entry.get("erasure.verified"),
            "kind": "warn" if said["retained"] else "ok",
        },
        {
            "title": "Certificate issued",
            "text": said["number"],
            "at": said["issued_at"],
            "seq": certificate_entry,
            "kind": "ok",
        },
    ]
    if told:
        # What is still open stands last, what is done before the certificate that says so.
        items.insert(
            len(items) if open_models else len(items) - 1,
            {
                "title": "Models dealt with" if not open_models else "Retraining",
                "text": f"{len(told) - len(open_models)} of {len(told)} notices closed",
                "seq": entry.get("notice.closed"),
                "kind": "waiting" if open_models else "ok",
            },
        )
    return items


def _entries(timeline: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Event type → its last entry."""
    return {line["type"]: line["entry"] for line in timeline}


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
