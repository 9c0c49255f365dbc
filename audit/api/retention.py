"""Retention from outside: policies, holds, what may go, and its execution by the plan's hash."""

from typing import Any

import msgspec
import orjson
from django.http import HttpRequest, HttpResponse

from audit.actions import (
    OwnPolicyError,
    PruningRefusedError,
    RetentionError,
    place_hold,
    plan_pruning,
    release_hold,
    replace_policies,
    start_pruning,
)
from audit.doors import actor_of, log_asked, machine_door
from audit.events import permanent_classes
from audit.intake import time_text
from audit.logs import LogRef
from audit.models import LogHold, Pruning
from audit.problems import ProblemError
from audit.pruned import described, ranges_within
from audit.queries import head
from audit.retention import held_by_cases, holds, planned, policies, prunings

_MOST = 1000


class _Policy(msgspec.Struct, forbid_unknown_fields=True):
    event_class: str
    days: int
    ground: str
    shorter_because: str = ""


class _Policies(msgspec.Struct, forbid_unknown_fields=True):
    policies: list[_Policy]


class _Hold(msgspec.Struct, forbid_unknown_fields=True):
    reason: str
    resource: str = ""
    subject: str = ""
    start: int | None = None
    stop: int | None = None


class _Pruning(msgspec.Struct, forbid_unknown_fields=True):
    plan_hash: str = ""


def retention(request: HttpRequest) -> HttpResponse:
    return _put_policies(request) if request.method == "PUT" else _get_policies(request)


@machine_door("retention.read", methods=("GET", "PUT"))
def _get_policies(request: HttpRequest) -> HttpResponse:
    return _json(_retention(log_asked(request)))


@machine_door("retention.manage", methods=("GET", "PUT"))
def _put_policies(request: HttpRequest) -> HttpResponse:
    wanted = _decoded(request, _Policies).policies
    try:
        replace_policies(
            map(msgspec.structs.asdict, wanted),
            by=actor_of(request),
            log_id=log_asked(request).id,
        )
    except RetentionError as exc:
        raise _refused(exc) from exc
    return _json(_retention(log_asked(request)))


def log_holds(request: HttpRequest) -> HttpResponse:
    return _place(request) if request.method == "POST" else _list_holds(request)


@machine_door("retention.read", methods=("GET", "POST"))
def _list_holds(request: HttpRequest) -> HttpResponse:
    return _json(
        {
            "results": [_hold(row) for row in holds(log_asked(request).id)],
            "cases": {name: held[:_MOST] for name, held in held_by_cases().items()},
        }
    )


@machine_door("retention.manage", methods=("GET", "POST"))
def _place(request: HttpRequest) -> HttpResponse:
    said = _decoded(request, _Hold)
    try:
        placed = place_hold(
            **msgspec.structs.asdict(said), by=actor_of(request), log_id=log_asked(request).id
        )
    except RetentionError as exc:
        raise _refused(exc) from exc
    return _json(_hold(placed), status=201)


@machine_door("retention.manage", methods=("DELETE",))
def log_hold(request: HttpRequest, pk: str) -> HttpResponse:
    try:
        release_hold(int(pk), by=actor_of(request), log_id=log_asked(request).id)
    except RetentionError as exc:
        raise ProblemError(404, "Not Found", str(exc)) from exc
    return HttpResponse(status=204)


def log_prunings(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _list_prunings(request)
    if not request.user.is_authenticated or request.user.has_perm("retention.prune"):
        return _plan_or_start(request)
    return _plan(request)


@machine_door("retention.read", methods=("GET", "POST"))
def _list_prunings(request: HttpRequest) -> HttpResponse:
    log = log_asked(request)
    newest = planned(log.id)
    return _json(
        {
            "planned": _pruning(newest) if newest else None,
            "results": [_pruning(row) for row in prunings(log.id)[:_MOST]],
        }
    )


@machine_door("retention.prune", methods=("GET", "POST"))
def _plan_or_start(request: HttpRequest) -> HttpResponse:
    plan_hash = _decoded(request, _Pruning).plan_hash
    if not plan_hash:
        return _planned(request)
    try:
        started = start_pruning(plan_hash, by=actor_of(request), log_id=log_asked(request).id)
    except OwnPolicyError as exc:
        raise ProblemError(403, "Forbidden", str(exc)) from exc
    except PruningRefusedError as exc:
        raise ProblemError(409, "Conflict", str(exc)) from exc
    return _json(_pruning(started), status=202)


@machine_door("retention.manage", methods=("GET", "POST"))
def _plan(request: HttpRequest) -> HttpResponse:
    if _decoded(request, _Pruning).plan_hash:
        raise ProblemError(403, "Forbidden", "This needs the permission retention.prune.")
    return _planned(request)


@machine_door("retention.read", methods=("GET",))
def log_pruning(request: HttpRequest, pk: str) -> HttpResponse:
    found = prunings(log_asked(request).id).filter(pk=int(pk)).first()
    if found is None:
        raise ProblemError(404, "Not Found", f"No pruning {pk} was started.")
    return _json(_pruning(found))


for _door in (retention, log_holds, log_prunings):
    _door.csrf_exempt = True  # type: ignore[attr-defined]  # the doors see to it themselves


def _planned(request: HttpRequest) -> HttpResponse:
    try:
        plan = plan_pruning(by=actor_of(request), log_id=log_asked(request).id)
    except PruningRefusedError as exc:
        raise ProblemError(409, "Conflict", str(exc)) from exc
    return _json(_pruning(plan) if plan else {})


def _retention(log: LogRef) -> dict[str, Any]:
    now = head(log)
    gone = ranges_within(log.id, 0, now.size if now else 0)
    return {
        "policies": [
            {
                "event_class": row.event_class,
                "days": row.days,
                "ground": row.ground,
                "shorter_because": row.shorter_because,
                "set_at": time_text(row.set_at),
                "set_by": row.set_by,
            }
            for row in policies(log.id)
        ],
        "permanent": permanent_classes(),
        "pruned": [described(row) for row in gone[:_MOST]],
    }


def _hold(row: LogHold) -> dict[str, Any]:
    return {
        "id": row.pk,
        "resource": row.resource,
        "subject": row.subject,
        "start": row.start,
        "stop": row.stop,
        "reason": row.reason,
        "placed_at": time_text(row.placed_at),
        "placed_by": row.placed_by,
    }


def _pruning(row: Pruning) -> dict[str, Any]:
    return {
        "id": row.pk,
        "state": row.state,
        "plan_hash": row.plan_hash,
        "plan": row.plan,
        "planned_at": time_text(row.planned_at),
        "planned_by": row.planned_by,
        "started_at": time_text(row.started_at) if row.started_at else None,
        "started_by": row.started_by or None,
        "finished_at": time_text(row.finished_at) if row.finished_at else None,
        "pruned": row.pruned,
        "kept_tiles": row.kept,
        "fault": row.fault or None,
    }


def _decoded(request: HttpRequest, kind: type[Any]) -> Any:
    """The body as this kind; an empty one is an empty object. Raises ProblemError."""
    body: bytes = request.door_body  # type: ignore[attr-defined]
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as exc:
        raise ProblemError(422, "Unprocessable Content", f"{exc}.") from exc
    except msgspec.DecodeError as exc:
        raise ProblemError(400, "Bad Request", f"The body is not valid JSON: {exc}.") from exc


def _refused(exc: RetentionError) -> ProblemError:
    errors = [{"field": exc.field, "reason": str(exc)}]
    return ProblemError(422, "Unprocessable Content", str(exc), errors=errors)


def _json(answer: dict[str, Any], *, status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(answer), content_type="application/json", status=status)
