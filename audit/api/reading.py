"""Reading the log from outside: entries and their proofs, checkpoints, tiles, the key."""

from base64 import b64encode
from collections.abc import Callable
from functools import wraps
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse

from audit import proofs
from audit.actions import complete_evidence
from audit.completeness import NotShownError, TooManyEntriesError, span_from
from audit.doors import actor_of, machine_door
from audit.heads import HeadsMissingError
from audit.intake import time_text
from audit.ledger import bundle
from audit.ledger.leaf import unpack
from audit.ledger.tiles import (
    ENTRIES,
    TILE_WIDTH,
    TileError,
    encode_entries,
    parse_tile_path,
    tile_width,
)
from audit.models import MAIN_LOG, Checkpoint, Entry
from audit.problems import ProblemError, problem
from audit.queries import (
    EntryUnknownError,
    NothingSignedError,
    entries,
    entry,
    event_of,
    latest_checkpoint,
    verifier_key,
)
from audit.search import MAX_PAGE, FilterError, address, filters_from, page

_DEFAULT_PAGE = 100


def _json(answer: dict[str, Any]) -> HttpResponse:
    return HttpResponse(orjson.dumps(answer), content_type="application/json")


def public(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A plain GET that needs no key: hashes and signatures, nothing that they cover."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            answer = problem(405, "Method Not Allowed", "Use GET here.")
            answer["Allow"] = "GET, HEAD"
            return answer
        try:
            return view(request, *args, **kwargs)
        except ProblemError as exc:
            return problem(exc.status, exc.title, exc.detail, errors=exc.errors)

    return guarded


def described(row: Entry) -> dict[str, Any]:
    """An entry for JSON: what its leaf says, its place, its hash."""
    return event_of(row) | {
        "seq": row.seq,
        "recorded_at": time_text(row.recorded_at),
        "leaf_hash": bytes(row.leaf_hash).hex(),
    }


@machine_door("log.read", methods=("GET",))
def list_events(request: HttpRequest) -> HttpResponse:
    query = request.GET.dict()
    try:
        filters = filters_from(query)
        limit = min(_number(query, "limit", _DEFAULT_PAGE), MAX_PAGE)
        found = page(filters, cursor=query.get("cursor", ""), limit=max(1, limit))
    except FilterError as exc:
        raise _bad_parameter(exc.field, str(exc)) from exc

    def link(cursor: str | None) -> str | None:
        if cursor is None:
            return None
        path = address(request.path, filters, cursor=cursor, limit=str(limit))
        return request.build_absolute_uri(path)

    return _json(
        {
            "next": link(found.older),
            "previous": link(found.newer),
            "results": [described(row) for row in found.entries],
        }
    )


@machine_door("log.read", methods=("GET",))
def one_event(request: HttpRequest, seq: str) -> HttpResponse:
    row = _entry(int(seq))
    leaf = bytes(row.leaf)
    return _json(
        described(row)
        | {"leaf": b64encode(leaf).decode(), "previous_hash": unpack(leaf).previous.hex()}
    )


@machine_door("log.read", methods=("GET",))
def complete_events(request: HttpRequest) -> HttpResponse:
    """An evidence bundle with all entries of a resource in a range, and the proof that it has."""
    try:
        made = complete_evidence(span_from(request.GET.dict()), by=actor_of(request))
    except FilterError as exc:
        raise _bad_parameter(exc.field, str(exc)) from exc
    except TooManyEntriesError as exc:
        raise ProblemError(413, "Content Too Large", str(exc)) from exc
    except (NotShownError, HeadsMissingError, NothingSignedError) as exc:
        raise ProblemError(409, "Conflict", str(exc)) from exc
    return HttpResponse(bundle.dumps(made), content_type="application/json")


@machine_door("log.read", methods=("GET",))
def inclusion_proof(request: HttpRequest, seq: str) -> HttpResponse:
    row = _entry(int(seq))
    newest = _newest()
    size = _number(request.GET.dict(), "size", newest.size)
    if size > newest.size:
        raise _bad_parameter("size", f"The newest checkpoint covers {newest.size} entries.")
    if row.seq >= size:
        raise ProblemError(
            404, "Not Found", f"Entry {row.seq} is not among the first {size} of the log."
        )
    return _json(
        {
            "seq": row.seq,
            "leaf_hash": bytes(row.leaf_hash).hex(),
            "size": size,
            "root": (newest.root if size == newest.size else proofs.root_at(MAIN_LOG, size)).hex(),
            "proof": [item.hex() for item in proofs.inclusion(MAIN_LOG, row.seq, size)],
            "checkpoint": _note_at(size, newest.size, newest.note),
        }
    )


@public
def checkpoint(request: HttpRequest) -> HttpResponse:
    answer = HttpResponse(_newest().note, content_type="text/plain; charset=utf-8")
    answer["Cache-Control"] = "no-store"
    return answer


@public
def vkey(request: HttpRequest) -> HttpResponse:
    return HttpResponse(verifier_key() + "\n", content_type="text/plain; charset=utf-8")


@public
def consistency(request: HttpRequest) -> HttpResponse:
    query = request.GET.dict()
    newest = _newest()
    second = _number(query, "second", newest.size)
    first = _number(query, "first", None)
    if second > newest.size:
        raise _bad_parameter("second", f"The newest checkpoint covers {newest.size} entries.")
    if first > second:
        raise _bad_parameter("first", f"{first} is more than {second}.")
    return _json(
        {
            "first": first,
            "second": second,
            "first_root": proofs.root_at(MAIN_LOG, first).hex(),
            "second_root": proofs.root_at(MAIN_LOG, second).hex(),
            "proof": [item.hex() for item in proofs.consistency(MAIN_LOG, first, second)],
            "checkpoint": _note_at(second, newest.size, newest.note),
        }
    )


@public
def tile(request: HttpRequest, path: str) -> HttpResponse:
    """C2SP tlog-tiles. Hash tiles are public; bundles of entries need log.read."""
    try:
        level, index, width = parse_tile_path(path)
    except TileError as exc:
        raise ProblemError(404, "Not Found", f"{exc}.") from exc
    newest = latest_checkpoint()
    size = newest.size if newest else 0
    if tile_width(level, index, size) < width:
        raise ProblemError(404, "Not Found", "The log has not grown to this tile yet.")
    if level == ENTRIES:
        return _entry_bundle(request, index, width)
    data = proofs.tile_reader(MAIN_LOG, size)(int(level), index)[: width * 32]
    answer = HttpResponse(data, content_type="application/octet-stream")
    answer["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer


@machine_door("log.read", methods=("GET",))
def _entry_bundle(request: HttpRequest, index: int, width: int) -> HttpResponse:
    start = index * TILE_WIDTH
    leaves = (
        entries()
        .filter(seq__gte=start, seq__lt=start + width)
        .order_by("seq")
        .values_list("leaf", flat=True)
    )
    data = encode_entries(bytes(leaf) for leaf in leaves)
    answer = HttpResponse(data, content_type="application/octet-stream")
    answer["Cache-Control"] = "private, max-age=31536000, immutable"
    return answer


def _entry(seq: int) -> Entry:
    try:
        return entry(seq)
    except EntryUnknownError as exc:
        raise ProblemError(404, "Not Found", str(exc)) from exc


def _newest() -> Any:
    found = latest_checkpoint()
    if found is None:
        raise ProblemError(404, "Not Found", "The log has no signed checkpoint yet.")
    return found


def _note_at(size: int, newest_size: int, newest_note: str) -> str | None:
    if size == newest_size:
        return newest_note
    kept = Checkpoint.objects.filter(log_id=MAIN_LOG, size=size).first()
    return kept.note if kept else None


def _number(query: dict[str, str], name: str, default: int | None) -> int:
    text = query.get(name, "")
    if not text and default is not None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise _bad_parameter(name, "A whole number, 0 or more, is needed here.")
    return int(text)


def _bad_parameter(name: str, reason: str) -> ProblemError:
    return ProblemError(
        400, "Bad Request", f"{name}: {reason}", errors=[{"field": name, "reason": reason}]
    )
