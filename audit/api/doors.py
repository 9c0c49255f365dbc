"""Where pipelines pour events in: plain views, msgspec, the group-commit path."""

import re
from typing import Any

import msgspec
import orjson
from django.http import HttpRequest, HttpResponse

from audit.actions import append_signed
from audit.api.reading import list_events
from audit.doors import actor_of, log_asked, machine_door
from audit.intake import EventRefusedError, Fault, NewEvent
from audit.problems import ProblemError
from audit.receipts import sign_receipt

_TITLES = {409: "Conflict", 413: "Content Too Large", 422: "Unprocessable Content"}
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_SHOWN = 100

_one = msgspec.json.Decoder(NewEvent)
_many = msgspec.json.Decoder(list[NewEvent])
# What a body raises that is no JSON: msgspec lets the last two through as Python raised them.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:missing required|contains unknown) field `(?P<name>[^`]*)`")


class _Envelope(msgspec.Struct):
    """Tells {"events": […]} from a single event without reading either."""

    events: msgspec.Raw = msgspec.Raw()


_envelope = msgspec.json.Decoder(_Envelope)


@machine_door("log.append", methods=("POST",))
def append_events(request: HttpRequest) -> HttpResponse:
    body: bytes = request.door_body  # type: ignore[attr-defined]
    log = log_asked(request)
    events, single = decode(body, request.content_type or "")
    try:
        done = append_signed(events, by=actor_of(request), log=log)
    except EventRefusedError as exc:
        raise refusal(exc, single=single) from exc
    word = sign_receipt(done, log=log)
    answer = {
        "receipts": [
            {"id": receipt.id, "seq": receipt.seq, "leaf_hash": receipt.leaf_hash.hex()}
            for receipt in done.receipts
        ],
        "receipt": word.receipt,
        "log": word.origin,
        "vkey": word.vkey,
        "checkpoint": done.checkpoint.note if done.checkpoint else None,
    }
    return HttpResponse(orjson.dumps(answer), content_type="application/json", status=201)


def events(request: HttpRequest) -> HttpResponse:
    """One address, two doors: POST appends, GET lists."""
    return append_events(request) if request.method == "POST" else list_events(request)


events.csrf_exempt = True  # type: ignore[attr-defined]  # both doors see to it themselves


def decode(body: bytes, content_type: str) -> tuple[list[NewEvent], bool]:
    """The events in a body, and whether it was a single one. Raises ProblemError."""
    if content_type.lower() in _NDJSON:
        return _decode_lines(body), False
    try:
        if body.lstrip()[:1] == b"[":
            return _many.decode(body), False
        inside = _envelope.decode(body).events
        if inside:
            return _many.decode(inside), False
    except msgspec.ValidationError as exc:
        raise _malformed(exc, single=False) from exc
    except _NO_JSON as exc:
        raise _no_json(exc) from exc
    try:
        return [_one.decode(body)], True
    except msgspec.ValidationError as exc:
        raise _malformed(exc, single=True) from exc
    except _NO_JSON as exc:  # reading the envelope has not looked into it
        raise _no_json(exc) from exc


def _decode_lines(body: bytes) -> list[NewEvent]:
    try:
        return _one.decode_lines(body)
    except _NO_JSON:
        pass  # which line? (also: lines of spaces, which are let through)
    found = []
    for number, line in enumerate(body.splitlines()):
        if not line.strip():
            continue
        try:
            found.append(_one.decode(line))
        except msgspec.ValidationError as exc:
            raise _malformed(exc, single=False, index=len(found)) from exc
        except _NO_JSON as exc:
            raise _no_json(exc, f"Line {number + 1}: ") from exc
    return found


def refusal(exc: EventRefusedError, *, single: bool) -> ProblemError:
    """What was wrong with the events, as a problem that names index and field."""
    return ProblemError(
        exc.status,
        _TITLES[exc.status],
        f"Nothing was written. {exc}",
        errors=[_error(fault, single=single) for fault in exc.faults[:_SHOWN]],
    )


def _error(fault: Fault, *, single: bool) -> dict[str, str]:
    field = fault.field if single else f"events[{fault.index}].{fault.field}"
    error = {"field": field, "reason": fault.reason}
    return error | {"fix": fault.fix} if fault.fix else error


def _malformed(exc: msgspec.ValidationError, *, single: bool, index: int = 0) -> ProblemError:
    """msgspec's sentence, with the place it names taken apart. It never repeats a value."""
    text = str(exc)
    path = ""
    if at := _AT.search(text):
        path, text = at["path"], text[: at.start()]
    if not single and (element := re.match(r"\[(\d+)\]", path)):
        index, path = int(element[1]), path[element.end() :]
    if named := _NAMED.search(text):
        path = f"{path}.{named['name']}"
    fault = Fault(index, path.strip(".") or "event", f"{text}.", "See the schema of this door.")
    return refusal(EventRefusedError([fault]), single=single)


def _no_json(exc: Exception, where: str = "") -> ProblemError:
    return ProblemError(400, "Bad Request", f"{where}The body is not valid JSON: {exc}.")


def openapi_event() -> dict[str, Any]:
    """The schema of NewEvent, with what the checks beyond types demand."""
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["type", "actor", "resource"],
        "additionalProperties": False,
        "properties": {
            "id": text
            | {
                "maxLength": 128,
                "description": "Yours, or one is made. A repetition with the same content gets"
                " its earlier receipt; with other content, 409.",
            },
            "type": text
            | {
                "description": "CREATE, READ, UPDATE, DELETE, TRANSFORM, or a type of your own"
                " in dotted lower case.",
            },
            "actor": text | {"maxLength": 256},
            "resource": text | {"maxLength": 512, "example": "dataset:shop:purchases"},
            "resource_version": text | {"maxLength": 256},
            "occurred_at": text | {"format": "date-time"},
            "parent_id": text | {"maxLength": 128},
            "details": {
                "type": "object",
                "description": "Open facts: ids, counts, digests. No floating-point numbers"
                " (send decimals as text), keys in ASCII, whole numbers within ±(2^53 - 1).",
            },
            "subject": {
                "type": "object",
                "required": ["type", "value"],
                "properties": {"type": text, "value": text},
                "description": "The person spoken of. The log keeps a pseudonym.",
            },
            "sealed": {
                "type": "object",
                "description": "Facts kept under the subject's key, unreadable once it is"
                " destroyed.",
            },
        },
    }
