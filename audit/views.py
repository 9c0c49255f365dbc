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
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from audit import export, health, proofs, pruned
from audit.actions import (
    VERIFIER,
    LogRefusedError,
    complete_evidence,
    create_log,
    note_export,
    request_verification,
    run_verification,
)
from audit.completeness import NotShownError, TooManyEntriesError
from audit.doors import actor_of, log_asked, page
from audit.forms import LogFilterForm, NewLogForm
from audit.heads import HeadsMissingError
from audit.intake import time_text
from audit.integrity import integrity
from audit.ledger import bundle
from audit.ledger.leaf import unpack
from audit.logs import LogRef, logs_visible_to
from audit.models import Entry
from audit.names import names_of
from audit.overview import overview_of
from audit.queries import (
    EntryPrunedError,
    EntryUnknownError,
    NothingSignedError,
    actor_names,
    entry,
    event_of,
    evidence,
    failure_of,
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
from audit.templatetags.vestige import in_log

_ROWS = 50
_NOTED = 5  # pruned ranges beside a page
_AT_ONCE = 20_000  # entries; about a tenth of a second
_FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


@page("log.read")
@require_GET
def log(request: HttpRequest) -> HttpResponse:
    query, asked = request.GET.dict(), log_asked(request)
    form = LogFilterForm(query or None, logs=logs_visible_to(request.user))
    form.is_valid()
    try:
        filters = filters_from(query, asked)
        found = page_of(filters, cursor=query.get("cursor", ""), limit=_ROWS)
    except FilterError as exc:
        form.add_error(exc.field if exc.field in form.fields else None, str(exc))
        filters, found = Filters(log=asked), None
    rows = found.entries if found else []
    strip = integrity(asked)
    context = {
        "form": form,
        "log": asked,
        "filters": filters,
        "export_query": address("", filters),
        "complete_query": address("", Filters(resource=filters.resource, log=asked)),
        "rows": _lines(rows, strip.entries if strip.sound else 0),
        "actors": actor_names(row.actor for row in rows),
        "integrity": strip,
        "newer": _cursor_address(request, filters, found.newer if found else None),
        "older": _cursor_address(request, filters, found.older if found else None),
        "summary": _span(found),
        "pruned": pruned_on(found, asked)[:_NOTED] if found else [],
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
    log = log_asked(request)
    try:
        row = entry(seq, log)
    except EntryPrunedError as exc:
        return _pruned_entry(request, log, exc)
    except EntryUnknownError as exc:
        raise Http404(str(exc)) from exc
    leaf, event = unpack(bytes(row.leaf)), event_of(row)
    signed = latest_checkpoint(log)
    covered = signed is not None and seq < signed.size
    strip = integrity(log)
    context = {
        "log": log,
        "entry": row,
        "event": event,
        "canonical": leaf.event.decode(),
        "previous_hash": leaf.previous,
        "leaf_bytes": len(row.leaf),
        "checkpoint": signed if covered else None,
        "proof": proofs.inclusion(log.id, seq, signed.size) if signed and covered else [],
        "actors": actor_names([row.actor, row.by]),
        "resource": names_of([row.resource])[row.resource],
        "key_alive": key_is_alive(row.subject) if row.subject else None,
        "verified": strip.sound and seq < strip.entries,
        "integrity": strip,
        "citation": _citation(log, row, signed if covered else None),
        "last": (now := head(log)) is not None and seq == now.size - 1,
    }
    return render(request, "audit/entry.html", context)


def _pruned_entry(request: HttpRequest, log: LogRef, exc: EntryPrunedError) -> HttpResponse:
    """What is left of it: its hash, its proof, and the entry that says why it went."""
    signed = latest_checkpoint(log)
    covered = signed is not None and exc.seq < signed.size
    context = {
        "log": log,
        "seq": exc.seq,
        "range": exc.range,
        "told": pruned.details_of(log.id, exc.range.entry),
        "leaf_hash": proofs.leaf_hash_at(log.id, exc.seq),
        "checkpoint": signed if covered else None,
        "proof": proofs.inclusion(log.id, exc.seq, signed.size) if signed and covered else [],
    }
    return render(request, "audit/pruned_entry.html", context, status=410)


def _citation(log: LogRef, row: Entry, signed: object) -> str:
    name = "log" if log.is_main else f"log {log.name}"
    text = (
        f"Vestige {name}, entry {row.seq} of {time_text(row.recorded_at)},"
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
    log = log_asked(request)
    try:
        made = evidence([seq], purpose="entry", log=log)
    except (EntryUnknownError, NothingSignedError) as exc:
        raise Http404(str(exc)) from exc
    answer = HttpResponse(bundle.dumps(made), content_type="application/json")
    name = "entry" if log.is_main else f"{log.name}-entry"
    answer["Content-Disposition"] = f'attachment; filename="vestige-{name}-{seq}.json"'
    return answer


@page("log.read")
@require_GET
def complete_evidence_file(request: HttpRequest) -> HttpResponse:
    """All entries of a resource up to now, and the proof that none is left out."""
    log = log_asked(request)
    try:
        made = complete_evidence(span_from(request.GET.dict(), log), by=actor_of(request))
    except FilterError as exc:
        messages.error(request, f"{exc.field}: {exc}")
        return redirect("audit:log")
    except (TooManyEntriesError, NotShownError, HeadsMissingError, NothingSignedError) as exc:
        messages.error(request, str(exc))
        return redirect(f"{reverse('audit:log')}{in_log(log.id)}")
    answer = HttpResponse(bundle.dumps(made), content_type="application/json")
    answer["Content-Disposition"] = 'attachment; filename="vestige-complete.json"'
    return answer


@page("log.read")
@require_GET
def export_log(request: HttpRequest, file_format: str) -> HttpResponse:
    """The whole population of the filter, not only the page; that it was taken is recorded."""
    try:
        filters = filters_from(request.GET.dict(), log_asked(request))
    except FilterError as exc:
        messages.error(request, f"{exc.field}: {exc}")
        return redirect("audit:log")
    now = head(filters.log)
    end = now.size if now else 0
    note_export(
        filters=filters.as_query(),
        file_format=file_format,
        size=end,
        by=actor_of(request),
        entries=matching(filters).filter(seq__lt=end).count(),
        log=filters.log,
    )
    name = "log" if filters.log.is_main else f"log-{filters.log.name}"
    lines = export.csv_lines if file_format == "csv" else export.json_lines
    answer = StreamingHttpResponse(lines(filters, end), content_type=_FORMATS[file_format])
    answer["Content-Disposition"] = f'attachment; filename="vestige-{name}-{end}.{file_format}"'
    return cast(HttpResponse, answer)  # all that `page` asks of it


@page("log.verify")
@require_POST
def verify_now(request: HttpRequest) -> HttpResponse:
    """A check at once where the log is small; else a worker does it, and the page shows how far."""
    log = log_asked(request)
    failed = failure_of(log.id)
    # As thorough as the one that failed, so that a good one may take its banner away.
    full = failed is not None and failed.full
    row = request_verification(by=actor_of(request), full=full, log=log)
    found = run_verification(row.pk) if row.size <= _AT_ONCE else None
    if found is not None and found.ok:
        messages.success(request, f"All {found.entries:,} entries were verified. The log holds.")
    elif found is not None:
        bad = found.first_bad
        where = "" if bad is None else f" The first bad entry is number {bad}."
        messages.error(request, f"The log does not hold.{where}")
    return redirect(f"{reverse('audit:verification')}{in_log(log.id)}")


@page("log.read")
@require_GET
def verification(request: HttpRequest) -> HttpResponse:
    log = log_asked(request)
    strip, under_way = integrity(log), list(verifications_under_way().filter(log_id=log.id))
    context = {
        "log": log,
        "integrity": strip,
        "found": strip.failed or strip.verification,
        "checkpoint": latest_checkpoint(log),
        "under_way": under_way,
        "actors": actor_names(row.by for row in under_way),
        "refresh": bool(under_way),
        "scrub_hours": settings.VESTIGE_SCRUB_HOURS,
        "scheduled_by": VERIFIER.actor,
    }
    return render(request, "audit/verification.html", context)


@page("log.create")
def logs(request: HttpRequest) -> HttpResponse:
    """Every log and how far the main one holds it; POST makes one."""
    form = NewLogForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = create_log(**form.cleaned_data, by=actor_of(request))
        except LogRefusedError as exc:
            form.add_error(exc.field, str(exc))
        else:
            messages.success(request, f"The log {made.name} is there. Bind a key to it next.")
            return redirect("audit:logs")
    rows = [overview_of(log) for log in logs_visible_to(request.user)]
    status = 422 if form.errors else 200
    return render(request, "audit/logs.html", {"rows": rows, "form": form}, status=status)


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
