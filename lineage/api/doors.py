"""Where pipelines pour in: OpenLineage events and data usage. Plain views, msgspec."""

import functools
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from msgspec import Meta, Struct

from accounts.auth import actor_of
from accounts.models import User
from audit.doors import machine_door
from audit.intake import EventRefusedError, parse_time
from audit.problems import ProblemError, problem
from audit.subjects import SubjectRef
from lineage.actions import (
    LineageError,
    NewUsage,
    Received,
    UsageRefusedError,
    receive,
    record_usage,
)
from lineage.intake import openlineage
from lineage.intake.reports import IntakeError, Report
from lineage.queries import GraphError, NodeError, NodeUnknownError, graph

RETRY_AFTER_SECONDS = 2
DEADLOCK_RETRIES = 3
_GAVE_WAY = ("40P01", "40001")  # deadlock detected, serialization failure
MAX_SHOWN_ERRORS = 100
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
Door = Callable[[HttpRequest], HttpResponse]


def busy_is_503(door: Door) -> Door:
    """A database that is locked or restarting is a 503 with Retry-After.

    OpenLineage's client repeats on 503 and gives up on 429 (and raises into the user's job on 500).
    """

    @functools.wraps(door)
    def guarded(request: HttpRequest) -> HttpResponse:
        try:
            return door(request)
        except OperationalError:
            answer = problem(
                503, "Service Unavailable", "The database is busy. Send the same body again."
            )
            answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
            return answer

    return guarded


# Lineage


@machine_door("lineage.write")
@busy_is_503
def receive_openlineage(request: HttpRequest) -> HttpResponse:
    """One OpenLineage event."""
    event_id, repeated = _take_in(request.door_body, request)  # type: ignore[attr-defined]
    return JsonResponse({"id": event_id, "repeated": repeated}, status=201)


@machine_door("lineage.write")
@busy_is_503
def receive_openlineage_batch(request: HttpRequest) -> HttpResponse:
    """A JSON array of events, each taken or refused by itself."""
    try:
        bodies = openlineage.decode_batch(request.door_body)  # type: ignore[attr-defined]
    except IntakeError as exc:
        raise _refused(exc) from exc
    failed: list[dict[str, Any]] = []
    for index, body in enumerate(bodies):
        try:
            _take_in(body, request)
        except ProblemError as exc:
            failed.append({"index": index, "reason": exc.detail, "retriable": False})
        except OperationalError:
            failed.append({"index": index, "reason": "The database is busy.", "retriable": True})
    retriable = sum(f["retriable"] for f in failed)
    status = "success" if not failed else "partial_success"
    if failed and len(failed) == len(bodies):
        status = "failure"
    return JsonResponse({
        "status": status,
        "summary": {
            "received": len(bodies),
            "successful": len(bodies) - len(failed),
            "failed": len(failed),
            "retriable": retriable,
            "non_retriable": len(failed) - retriable,
        },
        "failed_events": failed,
    })  # fmt: skip


def _take_in(body: bytes, request: HttpRequest) -> tuple[str, bool]:
    try:
        received = _receive(body, openlineage.decode(body), actor_of(request))
    except IntakeError as exc:
        raise _refused(exc) from exc
    except (LineageError, EventRefusedError) as exc:
        field = getattr(exc, "field", "body")
        raise ProblemError(
            422, "Unprocessable Content", str(exc), errors=[{"field": field, "reason": str(exc)}]
        ) from exc
    return received.event_id, received.repeated


def _receive(body: bytes, report: Report, by: User) -> Received:
    """Again when PostgreSQL gave up one of two transactions that waited for each other."""
    for _ in range(DEADLOCK_RETRIES):
        try:
            return receive(body, report, protocol="openlineage", by=by)
        except OperationalError as exc:
            if getattr(exc.__cause__, "sqlstate", None) not in _GAVE_WAY:
                raise
    return receive(body, report, protocol="openlineage", by=by)


def _refused(exc: IntakeError) -> ProblemError:
    error = {"field": exc.field, "reason": exc.reason}
    title = "Bad Request" if exc.status == 400 else "Unprocessable Content"
    return ProblemError(
        exc.status,
        title,
        f"{exc} {exc.fix}".strip(),
        errors=[error | ({"fix": exc.fix} if exc.fix else {})],
    )


@machine_door("lineage.read", methods=("GET",))
def show_graph(request: HttpRequest) -> HttpResponse:
    """The graph around a node."""
    try:
        answer = graph(
            _required(request, "node"),
            request.GET.get("direction", "both"),
            _whole_number(request, "depth", 10),
            _moment(request, "as_of"),
        )
    except NodeUnknownError as exc:
        raise ProblemError(
            404, "Not Found", str(exc), errors=[{"field": "node", "reason": str(exc)}]
        ) from exc
    except NodeError as exc:
        raise _wrong("node", str(exc)) from exc
    except GraphError as exc:
        raise _wrong(exc.field, str(exc)) from exc
    return JsonResponse(answer)


def lineage(request: HttpRequest) -> HttpResponse:
    """One address, two doors: POST takes an event in, GET shows the graph."""
    if request.method in ("GET", "HEAD"):
        return show_graph(request)
    return receive_openlineage(request)


lineage.csrf_exempt = True  # type: ignore[attr-defined]  # both doors see to it themselves


def _required(request: HttpRequest, name: str) -> str:
    value = request.GET.get(name, "")
    if not value:
        raise _wrong(name, f"The parameter {name} is missing.")
    return value


def _whole_number(request: HttpRequest, name: str, default: int) -> int:
    text = request.GET.get(name, str(default))
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise _wrong(name, "Send a whole number.")
    return int(text)


def _moment(request: HttpRequest, name: str) -> datetime | None:
    text = request.GET.get(name, "")
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError as exc:
        raise _wrong(name, "Send a time as in 2026-01-31T12:00:00Z.") from exc


def _wrong(field: str, reason: str) -> ProblemError:
    return ProblemError(400, "Invalid input", reason, errors=[{"field": field, "reason": reason}])


# Usage


class WireSubject(Struct, forbid_unknown_fields=True):
    type: str
    value: str


class WireUsage(Struct, forbid_unknown_fields=True):
    subject: WireSubject
    data_id: Annotated[str, Meta(min_length=1, max_length=800)]
    model_id: Annotated[str, Meta(max_length=800)] | None = None
    prediction_id: Annotated[str, Meta(max_length=255)] | None = None
    occurred_at: datetime | None = None


class _Envelope(Struct):
    """Tells {"usage": […]} from a single record without reading either."""

    usage: msgspec.Raw = msgspec.Raw()


_one = msgspec.json.Decoder(WireUsage)
_many = msgspec.json.Decoder(list[WireUsage])
_envelope = msgspec.json.Decoder(_Envelope)
_PLACE = re.compile(r"^(?P<reason>.*?)(?: - at `\$(?P<place>.*)`)?$", re.DOTALL)


@machine_door("usage.write")
@busy_is_503
def receive_usage(request: HttpRequest) -> HttpResponse:
    """One record, {"usage": […]}, or one record a line (NDJSON)."""
    body: bytes = request.door_body  # type: ignore[attr-defined]
    lines = (request.content_type or "").lower() in _NDJSON
    wire, single = (list(_lines(body)), False) if lines else _json(body)
    try:
        kept = record_usage([_new_usage(record) for record in wire], by=actor_of(request))
    except UsageRefusedError as exc:
        errors = [
            {"field": fault.field if single else f"usage[{fault.index}].{fault.field}",
             "reason": fault.reason}
            | ({"fix": fault.fix} if fault.fix else {})
            for fault in exc.faults[:MAX_SHOWN_ERRORS]
        ]  # fmt: skip
        raise ProblemError(
            422, "Unprocessable Content", f"Nothing was recorded. {exc}", errors=errors
        ) from exc
    return JsonResponse(
        {
            "recorded": len(kept),
            "usage": [
                {
                    "id": usage.event_id,
                    "data_id": usage.data_id,
                    "data_version": usage.dataset_version.version
                    if usage.dataset_version
                    else None,
                    "model_id": usage.model_id or None,
                    "model_version": usage.model_version.version if usage.model_version else None,
                }
                for usage in kept
            ],
        },
        status=201,
    )


def _new_usage(wire: WireUsage) -> NewUsage:
    at = wire.occurred_at
    if at is not None:
        try:
            at = parse_time(at.isoformat())
        except ValueError as exc:
            reason = "Send a time with its zone, as in 2026-01-31T12:00:00Z."
            raise ProblemError(
                422, "Unprocessable Content", reason,
                errors=[{"field": "occurred_at", "reason": reason}],
            ) from exc  # fmt: skip
    return NewUsage(
        subject=SubjectRef(wire.subject.type, wire.subject.value),
        data_id=wire.data_id,
        model_id=wire.model_id or "",
        prediction_id=wire.prediction_id or "",
        occurred_at=at,
    )


def _json(body: bytes) -> tuple[list[WireUsage], bool]:
    try:
        if body.lstrip()[:1] == b"[":
            return _many.decode(body), False
        inside = _envelope.decode(body).usage
        if inside:
            return _many.decode(inside), False
        return [_one.decode(body)], True
    except msgspec.ValidationError as exc:
        raise _malformed(str(exc), "") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _no_json(f"{exc}") from exc


def _lines(body: bytes) -> Iterator[WireUsage]:
    for number, line in enumerate(body.splitlines()):
        if not line.strip():
            continue
        try:
            yield _one.decode(line)
        except msgspec.ValidationError as exc:
            raise _malformed(str(exc), f"usage[{number}]") from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise _no_json(f"line {number + 1}: {exc}") from exc


def _malformed(message: str, prefix: str) -> ProblemError:
    found = _PLACE.match(message)
    assert found is not None  # noqa: S101  # the pattern matches every text
    place = found["place"] or ""
    missing = re.search(r"field `(\w+)`", found["reason"])
    field = f"{prefix or 'usage' * place.startswith('[')}{place}"
    if missing:
        field = f"{field}.{missing[1]}"
    reason = f"{found['reason']}."
    return ProblemError(
        422,
        "Unprocessable Content",
        f"Nothing was recorded. {reason}",
        errors=[{"field": field.strip(".") or "body", "reason": reason}],
    )


def _no_json(detail: str) -> ProblemError:
    return ProblemError(400, "Bad Request", f"This is not JSON: {detail}.")
