"""Reading the log from outside: entries and their proofs, checkpoints, tiles, the key."""

from base64 import b64encode
from collections.abc import Callable
from functools import wraps
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from audit import proofs, pruned
from audit.actions import complete_evidence
from audit.completeness import NotShownError, TooManyEntriesError
from audit.doors import actor_of, log_asked, machine_door
from audit.heads import HeadsMissingError
from audit.held import Held, held_outside, witnessed_note
from audit.intake import time_text
from audit.ledger import bundle, proof_file
from audit.ledger.leaf import unpack
from audit.ledger.tiles import (
    ENTRIES,
    TILE_WIDTH,
    TileError,
    encode_entries,
    parse_tile_path,
    tile_width,
)
from audit.logs import LogRef
from audit.models import Checkpoint, Entry
from audit.problems import ProblemError, problem
from audit.queries import (
    EntryPrunedError,
    EntryUnknownError,
    NothingSignedError,
    entries,
    entry,
    event_of,
    latest_checkpoint,
    verifier_keys,
)
from audit.search import (
    MAX_PAGE,
    FilterError,
    address,
    filters_from,
    page,
    pruned_on,
    span_from,
)

_DEFAULT_PAGE = 100


def _json(answer: dict[str, Any]) -> HttpResponse:
    return HttpResponse(orjson.dumps(answer), content_type="application/json")


def public(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A plain GET that needs no key: hashes and signatures, nothing that they cover."""

    @csrf_exempt  # nothing is written here: a POST is to hear so, not of a missing cookie
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            answer = problem(405, "Method Not Allowed", "Use GET here.")
            answer["Allow"] = "GET, HEAD"
            return answer
        try:
            return view(request, *args, **kwargs)
        except ProblemError as exc:
            answer = problem(exc.status, exc.title, exc.detail, errors=exc.errors, more=exc.more)
            # A cache may keep a 404 by itself, and the tile will be there soon.
            answer["Cache-Control"] = "no-store"
            return answer

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
        filters = filters_from(query, log_asked(request))
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
            "pruned": [pruned.described(row) for row in pruned_on(found, filters.log)],
        }
    )


@machine_door("log.read", methods=("GET",))
def one_event(request: HttpRequest, seq: str) -> HttpResponse:
    row = _entry(int(seq), log_asked(request))
    leaf = bytes(row.leaf)
    return _json(
        described(row)
        | {"leaf": b64encode(leaf).decode(), "previous_hash": unpack(leaf).previous.hex()}
    )


@machine_door("log.read", methods=("GET",))
def complete_events(request: HttpRequest) -> HttpResponse:
    """An evidence bundle with all entries of a resource in a range, and the proof that it has."""
    try:
        span = span_from(request.GET.dict(), log_asked(request))
        made = complete_evidence(span, by=actor_of(request))
    except FilterError as exc:
        raise _bad_parameter(exc.field, str(exc)) from exc
    except TooManyEntriesError as exc:
        raise ProblemError(413, "Content Too Large", str(exc)) from exc
    except (NotShownError, HeadsMissingError, NothingSignedError) as exc:
        raise ProblemError(409, "Conflict", str(exc)) from exc
    return HttpResponse(bundle.dumps(made), content_type="application/json")


def inclusion_proof(request: HttpRequest, seq: str) -> HttpResponse:
    """Readers get all; whoever appends has receipts to compare, and gets the hashes alone."""
    sends = request.user.is_authenticated and request.user.has_perm("log.append")
    hashes = request.GET.get("as", "json") == "json"
    permission = "log.append" if sends and hashes else "log.read"
    return machine_door(permission, methods=("GET",))(_inclusion_proof)(request, seq)


inclusion_proof.csrf_exempt = True  # type: ignore[attr-defined]  # the door sees to it itself


def _inclusion_proof(request: HttpRequest, seq: str) -> HttpResponse:
    number, log = int(seq), log_asked(request)
    newest = _newest(log)
    size = _number(request.GET.dict(), "size", newest.size)
    if size > newest.size:
        raise _bad_parameter("size", f"The newest checkpoint covers {newest.size} entries.")
    hashed = _leaf_hash(number, log)
    if number >= size:
        raise ProblemError(
            404, "Not Found", f"Entry {number} is not among the first {size} of the log."
        )
    form = request.GET.get("as", "json")
    if form == "tlog-proof":
        return _proof_file(_entry(number, log), size, newest, log)
    if form != "json":
        raise _bad_parameter("as", "json and tlog-proof are what there is.")
    return _json(
        {
            "seq": number,
            "leaf_hash": hashed.hex(),
            "size": size,
            "root": (newest.root if size == newest.size else proofs.root_at(log.id, size)).hex(),
            "proof": [item.hex() for item in proofs.inclusion(log.id, number, size)],
            "checkpoint": _note_at(size, newest, log),
        }
    )


def _leaf_hash(seq: int, log: LogRef) -> bytes:
    """Of a pruned entry it is still known: what was written down elsewhere can be proved."""
    try:
        return bytes(entry(seq, log).leaf_hash)
    except EntryPrunedError:
        return proofs.leaf_hash_at(log.id, seq)
    except EntryUnknownError as exc:
        raise ProblemError(404, "Not Found", str(exc)) from exc


def _proof_file(row: Entry, size: int, newest: Any, log: LogRef) -> HttpResponse:
    note = _note_at(size, newest, log)
    if note is None:
        raise ProblemError(
            404, "Not Found", f"No checkpoint over {size} entries was kept. Leave out size."
        )
    path = proofs.inclusion(log.id, row.seq, size)
    text = proof_file.dumps(row.seq, path, note, extra=bytes(row.leaf))
    answer = HttpResponse(text, content_type=proof_file.MEDIA_TYPE)
    name = f"vestige-entry-{row.seq}{proof_file.SUFFIX}"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@public
def checkpoint(request: HttpRequest, log: str = "") -> HttpResponse:
    """The newest note; with `?witnessed=1` the newest that enough witnesses have cosigned."""
    asked = log_asked(request, log)
    note = _witnessed(asked) if request.GET.get("witnessed") == "1" else _newest(asked).note
    answer = HttpResponse(note, content_type="text/plain; charset=utf-8")
    answer["Cache-Control"] = "no-store"
    return answer


@public
def vkey(request: HttpRequest, log: str = "") -> HttpResponse:
    """One a line, the active key first; keys of the past stay, for what they signed."""
    lines = "".join(f"{text}\n" for text in verifier_keys(log_asked(request, log)))
    answer = HttpResponse(lines, content_type="text/plain; charset=utf-8")
    answer["Cache-Control"] = "public, max-age=300"
    return answer


@public
def consistency(request: HttpRequest, log: str = "") -> HttpResponse:
    query, asked = request.GET.dict(), log_asked(request, log)
    newest = _newest(asked)
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
            "first_root": proofs.root_at(asked.id, first).hex(),
            "second_root": proofs.root_at(asked.id, second).hex(),
            "proof": [item.hex() for item in proofs.consistency(asked.id, first, second)],
            "checkpoint": _note_at(second, newest, asked),
        }
    )


@public
def tile(request: HttpRequest, path: str, log: str = "") -> HttpResponse:
    """C2SP tlog-tiles. Bundles of entries need log.read; hash tiles too, if so configured."""
    asked = log_asked(request, log)
    try:
        level, index, width = parse_tile_path(path)
    except TileError as exc:
        raise ProblemError(404, "Not Found", f"{exc}.") from exc
    newest = latest_checkpoint(asked)
    size = newest.size if newest else 0
    if tile_width(level, index, size) < width:
        raise ProblemError(404, "Not Found", "The log has not grown to this tile yet.")
    if level == ENTRIES:
        return _entry_bundle(request, asked, index, width)
    if not settings.VESTIGE_PUBLIC_TILES:
        return _guarded_tile(request, asked, int(level), index, width, size)
    answer = _hash_tile(asked, int(level), index, width, size)
    answer["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer


def _hash_tile(log: LogRef, level: int, index: int, width: int, size: int) -> HttpResponse:
    data = proofs.tile_reader(log.id, size)(level, index)[: width * 32]
    return HttpResponse(data, content_type="application/octet-stream")


@machine_door("log.read", methods=("GET",))
def _guarded_tile(
    request: HttpRequest, log: LogRef, level: int, index: int, width: int, size: int
) -> HttpResponse:
    answer = _hash_tile(log, level, index, width, size)
    answer["Cache-Control"] = "private, max-age=31536000, immutable"
    return answer


@machine_door("log.read", methods=("GET",))
def _entry_bundle(request: HttpRequest, log: LogRef, index: int, width: int) -> HttpResponse:
    start = index * TILE_WIDTH
    if gone := pruned.range_of(log.id, start):
        raise _gone(EntryPrunedError(start, gone))
    leaves = (
        entries(log)
        .filter(seq__gte=start, seq__lt=start + width)
        .order_by("seq")
        .values_list("leaf", flat=True)
    )
    return _private(encode_entries(bytes(leaf) for leaf in leaves))


def _private(data: bytes) -> HttpResponse:
    answer = HttpResponse(data, content_type="application/octet-stream")
    answer["Cache-Control"] = "private, max-age=31536000, immutable"
    return answer


@machine_door("log.read", methods=("GET",))
def anchors(request: HttpRequest) -> HttpResponse:
    """Every place outside: the newest checkpoint that it holds, and how the last try went."""
    outside = held_outside(log_asked(request).id)
    return _json(
        {
            "quorum": outside.quorum or None,
            "fault": outside.fault or None,
            "results": [_held(item) for item in outside.places],
        }
    )


def _held(item: Held) -> dict[str, Any]:
    newest = item.newest
    return {
        "kind": item.kind,
        "name": item.name,
        "url": item.place.url if item.place else None,
        "state": item.word,
        "contradicts": item.grave,
        "late": item.late,
        "fault": item.fault or None,
        "tried_at": time_text(item.tried_at) if item.tried_at else None,
        "newest": None
        if newest is None
        else {
            "size": newest.size,
            "root": bytes(newest.root).hex(),
            "made_at": time_text(newest.made_at),
            "checkpoint": newest.note,
            "proof": b64encode(bytes(newest.proof)).decode(),
        },
    }


def _entry(seq: int, log: LogRef) -> Entry:
    try:
        return entry(seq, log)
    except EntryPrunedError as exc:
        raise _gone(exc) from exc
    except EntryUnknownError as exc:
        raise ProblemError(404, "Not Found", str(exc)) from exc


def _gone(exc: EntryPrunedError) -> ProblemError:
    return ProblemError(410, "Gone", str(exc), more={"pruned": pruned.described(exc.range)})


def _newest(log: LogRef) -> Any:
    found = latest_checkpoint(log)
    if found is None:
        raise ProblemError(404, "Not Found", "The log has no signed checkpoint yet.")
    return found


def _witnessed(log: LogRef) -> str:
    note = witnessed_note(log.id)
    if not note:
        raise ProblemError(
            404, "Not Found", "No checkpoint has the cosignatures of enough witnesses yet."
        )
    return note


def _note_at(size: int, newest: Any, log: LogRef) -> str | None:
    if size == newest.size:
        return str(newest.note)
    kept = Checkpoint.objects.filter(log_id=log.id, size=size).first()
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
