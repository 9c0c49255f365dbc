"""Checks of the whole log: ask for one, see how far it is and what it found."""

from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse

from audit.actions import request_verification
from audit.doors import actor_of, log_asked, machine_door
from audit.intake import time_text
from audit.logs import log_of, logs_visible_to
from audit.models import Verification
from audit.problems import ProblemError
from audit.queries import verification


@machine_door("log.verify", methods=("POST",))
def ask(request: HttpRequest) -> HttpResponse:
    """Makes a check due; the one under way, if there is one."""
    log = log_asked(request)
    row = request_verification(by=actor_of(request), full=_full(request), log=log)
    answer = HttpResponse(orjson.dumps(described(row)), content_type="application/json", status=202)
    answer["Location"] = request.build_absolute_uri(f"{request.path.rstrip('/')}/{row.pk}")
    return answer


@machine_door("log.read", methods=("GET",))
def one(request: HttpRequest, pk: str) -> HttpResponse:
    row = verification(int(pk))
    if row is None or row.log_id not in {log.id for log in logs_visible_to(request.user)}:
        raise ProblemError(404, "Not Found", f"There is no check {pk} of the log.")
    return HttpResponse(orjson.dumps(described(row)), content_type="application/json")


def described(row: Verification) -> dict[str, Any]:
    done = row.finished_at is not None
    state = "holds" if row.ok else "does not hold"
    return {
        "id": row.pk,
        "log": log_of(row.log_id).name,
        "state": state if done else "under way" if row.entries or row.claimed_until else "due",
        "full": row.full,
        "entries": row.entries,
        "size": row.size,
        "started_at": time_text(row.started_at),
        "finished_at": time_text(row.finished_at) if row.finished_at else None,
        "root": row.root or None,
        "first_bad": row.first_bad,
        "faults": row.faults,
        "warnings": row.warnings,
    }


def _full(request: HttpRequest) -> bool:
    body: bytes = request.door_body  # type: ignore[attr-defined]
    if not body.strip():
        return False
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise ProblemError(400, "Bad Request", "The body is not JSON.") from exc
    full = asked.get("full", False) if isinstance(asked, dict) else None
    if not isinstance(full, bool) or asked.keys() - {"full"}:
        reason = 'Send {"full": true}, {"full": false}, or nothing.'
        raise ProblemError(
            422,
            "Unprocessable Content",
            f"full: {reason}",
            errors=[{"field": "full", "reason": reason}],
        )
    return full
