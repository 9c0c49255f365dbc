"""The logs of organisation units: which there are, and a new one."""

from typing import Any

import msgspec
import orjson
from django.http import HttpRequest, HttpResponse

from audit.actions import LogRefusedError, create_log
from audit.doors import actor_of, machine_door
from audit.intake import time_text
from audit.logs import logs_visible_to
from audit.overview import Overview, overview_of
from audit.problems import ProblemError


class _NewLog(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    title: str


_new_log = msgspec.json.Decoder(_NewLog)


def collection(request: HttpRequest) -> HttpResponse:
    """One address, two doors: POST makes a log, GET lists them."""
    return create(request) if request.method == "POST" else listed(request)


collection.csrf_exempt = True  # type: ignore[attr-defined]  # both doors see to it themselves


@machine_door("log.read", methods=("GET",))
def listed(request: HttpRequest) -> HttpResponse:
    found = [overview_of(log) for log in logs_visible_to(request.user)]
    return _json({"next": None, "results": [described(row) for row in found]}, 200)


@machine_door("log.create", methods=("POST",))
def create(request: HttpRequest) -> HttpResponse:
    body: bytes = request.door_body  # type: ignore[attr-defined]
    try:
        given = _new_log.decode(body)
    except msgspec.ValidationError as exc:
        raise _refused("log", f'Send {{"name": …, "title": …}}: {exc}.') from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProblemError(400, "Bad Request", "The body is not valid JSON.") from exc
    try:
        made = create_log(given.name, title=given.title, by=actor_of(request))
    except LogRefusedError as exc:
        raise _refused(exc.field, str(exc)) from exc
    return _json(described(overview_of(made)), 201)


def described(row: Overview) -> dict[str, Any]:
    told = row.told
    return {
        "name": row.log.name,
        "title": row.title,
        "origin": row.origin,
        "vkey": row.vkey,
        "size": row.size,
        "newest_entry_at": time_text(row.newest_at) if row.newest_at else None,
        "in_parent": None
        if told is None
        else {
            "entry": told.entry,
            "size": told.size,
            "recorded_at": time_text(told.recorded_at),
        },
    }


def _refused(field: str, reason: str) -> ProblemError:
    return ProblemError(
        422,
        "Unprocessable Content",
        f"{field}: {reason}",
        errors=[{"field": field, "reason": reason}],
    )


def _json(answer: dict[str, Any], status: int) -> HttpResponse:
    return HttpResponse(orjson.dumps(answer), content_type="application/json", status=status)
