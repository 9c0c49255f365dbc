"""The log page, an entry's page, exports, the public verifier, and what a load balancer asks."""

from typing import cast

import orjson
from django.conf import settings
from django.contrib import messages
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from audit import export, health, proofs, pruned
from audit.actions import (
    VERIFIER,
    complete_evidence,
    note_export,
    request_verification,
    run_verification,
)
from audit.completeness import NotShownError, TooManyEntriesError
from audit.doors import actor_of, page
from audit.forms import LogFilterForm
from audit.heads import HeadsMissingError
from audit.intake import time_text
from audit.integrity import integrity
from audit.ledger import bundle
from audit.ledger.leaf import unpack
from audit.models import MAIN_LOG, Entry
from audit.names import names_of
from audit.queries import (
    EntryPrunedError,
    EntryUnknownError,
    NothingSignedError,
    actor_names,
    entry,
    event_of,
    evidence,
    failed_verification,
    head,
    key_is_alive,
    latest_checkpoint,
    verifications_under_way,
)
from audit.search import (
    FilterError,
    Filters,
    Page,
    address,
    filters_from,
    matching,
    pruned_on,
    span_from,
)
from audit.search import page as page_of

_ROWS = 50
_NOTED = 5  # pruned ranges beside a page
_AT_ONCE = 20_000  # entries; about a tenth of a second
_FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


@page("log.read")
@require_GET
def log(request: HttpRequest) -> HttpResponse:
    query = request.GET.dict()
    form = LogFilterForm(query or None)
    form.is_valid()
    try:
        filters = filters_from(query)
        found = page_of(filters, cursor=query.get("cursor", ""), limit=_ROWS)
    except FilterError as exc:
        form.add_error(exc.field if exc.field in form.fields else None, str(exc))
        filters, found = Filters(), None
    rows = found.entries if found else []
    strip = integrity()
    context = {
        "form": form,
        "filters": filters,
        "export_query": address("", filters),
        "complete_query": address("", Filters(resource=filters.resource)),
        "rows": _lines(rows, strip.entries if strip.sound else 0),
        "actors": actor_names(row.actor for row in rows),
        "integrity": strip,
        "newer": _cursor_address(request, filters, found.newer if found else None),
        "older": _cursor_address(request, filters, found.older if found else None),
        "summary": _span(found),
        "pruned": pruned_on(found)[:_NOTED] if found else [],
    }
    return render(request, "audit/log.html", context, status=400 if found is None else 200)


def _cursor_address(request: HttpRequest, filters: Filters, cursor: str | None) -> str:
    return address(request.path, filters, cursor=cursor) if cursor else ""


def _span(found: Page | None) -> str:
    if found is None or not found.entries:
        return ""
    return f"Entries {found.entries[-1].seq:,} to {found.entries[0].seq:,}, newest first"


def _lines(rows: list[Entry], verified: int) -> list[dict[str, object]]:
    names = names_of(row.resource for row in rows)
    return [
        {
            "entry": row,
            "resource": names[row.resource],
            "summary": _summary(event_of(row)),
            "verified": row.seq < verified,
        }
        for row in rows
    ]


def _summary(event: dict[str, object]) -> str:
    """The open facts in a few words."""
    details = event.get("details")
    parts = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in (details.items() if isinstance(details, dict) else ())
        if isinstance(value, str | int) and len(str(value)) <= 40
    ]
    if "sealed" in event:
        parts.append("sealed facts")
    return ", ".join(parts[:4])


@page("log.read")
@require_GET
def log_entry(request: HttpRequest, seq: int) -> HttpResponse:
    try:
        row = entry(seq)
    except EntryPrunedError as exc:
        return _pruned_entry(request, exc)
    except EntryUnknownError as exc:
        raise Http404(str(exc)) from exc
    leaf, event = unpack(bytes(row.leaf)), event_of(row)
    signed = latest_checkpoint()
    covered = signed is not None and seq < signed.size
    strip = integrity()
    context = {
        "entry": row,
        "event": event,
        "canonical": leaf.event.decode(),
        "previous_hash": leaf.previous,
        "leaf_bytes": len(row.leaf),
        "checkpoint": signed if covered else None,
        "proof": proofs.inclusion(MAIN_LOG, seq, signed.size) if signed and covered else [],
        "actors": actor_names([row.actor, row.by]),
        "resource": names_of([row.resource])[row.resource],
        "key_alive": key_is_alive(row.subject) if row.subject else None,
        "verified": strip.sound and seq < strip.entries,
        "integrity": strip,
        "citation": _citation(row, signed if covered else None),
        "last": (log_head := head()) is not None and seq == log_head.size - 1,
    }
    return render(request, "audit/entry.html", context)


def _pruned_entry(request: HttpRequest, exc: EntryPrunedError) -> HttpResponse:
    """What is left of it: its hash, its proof, and the entry that says why it went."""
    signed = latest_checkpoint()
    covered = signed is not None and exc.seq < signed.size
    context = {
        "seq": exc.seq,
        "range": exc.range,
        "told": pruned.details_of(MAIN_LOG, exc.range.entry),
        "leaf_hash": proofs.leaf_hash_at(MAIN_LOG, exc.seq),
        "checkpoint": signed if covered else None,
        "proof": proofs.inclusion(MAIN_LOG, exc.seq, signed.size) if signed and covered else [],
    }
    return render(request, "audit/pruned_entry.html", context, status=410)


def _citation(row: Entry, signed: object) -> str:
    text = (
        f"Vestige log, entry {row.seq} of {time_text(row.recorded_at)},"
        f" leaf hash {bytes(row.leaf_hash).hex()}"
    )
    if signed is None:
        return text
    return (
        f"{text}, in the tree of {signed.size} entries with root"  # type: ignore[attr-defined]
        f" {signed.root.hex()}"  # type: ignore[attr-defined]
    )


@page("log.read")
@require_GET
def entry_evidence(request: HttpRequest, seq: int) -> HttpResponse:
    try:
        made = evidence([seq], purpose="entry")
    except (EntryUnknownError, NothingSignedError) as exc:
        raise Http404(str(exc)) from exc
    answer = HttpResponse(bundle.dumps(made), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="vestige-entry-{seq}.json"'
    return answer


@page("log.read")
@require_GET
def complete_evidence_file(request: HttpRequest) -> HttpResponse:
    """All entries of a resource up to now, and the proof that none is left out."""
    try:
        made = complete_evidence(span_from(request.GET.dict()), by=actor_of(request))
    except FilterError as exc:
        messages.error(request, f"{exc.field}: {exc}")
        return redirect("audit:log")
    except (TooManyEntriesError, NotShownError, HeadsMissingError, NothingSignedError) as exc:
        messages.error(request, str(exc))
        return redirect("audit:log")
    answer = HttpResponse(bundle.dumps(made), content_type="application/json")
    answer["Content-Disposition"] = 'attachment; filename="vestige-complete.json"'
    return answer


@page("log.read")
@require_GET
def export_log(request: HttpRequest, file_format: str) -> HttpResponse:
    """The whole population of the filter, not only the page; that it was taken is recorded."""
    try:
        filters = filters_from(request.GET.dict())
    except FilterError as exc:
        messages.error(request, f"{exc.field}: {exc}")
        return redirect("audit:log")
    log_head = head()
    end = log_head.size if log_head else 0
    note_export(
        filters=filters.as_query(),
        file_format=file_format,
        size=end,
        by=actor_of(request),
        entries=matching(filters).filter(seq__lt=end).count(),
    )
    lines = export.csv_lines if file_format == "csv" else export.json_lines
    answer = StreamingHttpResponse(lines(filters, end), content_type=_FORMATS[file_format])
    answer["Content-Disposition"] = f'attachment; filename="vestige-log-{end}.{file_format}"'
    return cast(HttpResponse, answer)  # all that `page` asks of it


@page("log.verify")
@require_POST
def verify_now(request: HttpRequest) -> HttpResponse:
    """A check at once where the log is small; else a worker does it, and the page shows how far."""
    failed = failed_verification()
    # As thorough as the one that failed, so that a good one may take its banner away.
    row = request_verification(by=actor_of(request), full=failed is not None and failed.full)
    found = run_verification(row.pk) if row.size <= _AT_ONCE else None
    if found is not None and found.ok:
        messages.success(request, f"All {found.entries:,} entries were verified. The log holds.")
    elif found is not None:
        bad = found.first_bad
        where = "" if bad is None else f" The first bad entry is number {bad}."
        messages.error(request, f"The log does not hold.{where}")
    return redirect("audit:verification")


@page("log.read")
@require_GET
def verification(request: HttpRequest) -> HttpResponse:
    strip, under_way = integrity(), list(verifications_under_way())
    context = {
        "integrity": strip,
        "found": strip.failed or strip.verification,
        "checkpoint": latest_checkpoint(),
        "under_way": under_way,
        "actors": actor_names(row.by for row in under_way),
        "refresh": bool(under_way),
        "scrub_hours": settings.VESTIGE_SCRUB_HOURS,
        "scheduled_by": VERIFIER.actor,
    }
    return render(request, "audit/verification.html", context)


@require_GET
def verify_document(request: HttpRequest) -> HttpResponse:
    """Public: the file is verified by the browser and never leaves it."""
    return render(request, "audit/verify.html", {"checkpoint": latest_checkpoint()})


@never_cache
@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@never_cache
@require_GET
def readyz(request: HttpRequest) -> HttpResponse:
    found = health.readiness()
    ready = all(condition.ok for condition in found.values())
    body = {
        "ready": ready,
        "checks": {name: {"ok": c.ok, "detail": c.detail} for name, c in found.items()},
    }
    return HttpResponse(
        orjson.dumps(body), content_type="application/json", status=200 if ready else 503
    )
