"""The PDF of a datasheet or model card, with the proofs of what it says inside."""

from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from accounts.models import User
from audit.actions import sequence
from audit.ledger import bundle
from audit.ledger.checkpoint import parse
from audit.queries import entries, entries_for, evidence
from datasheets.actions import issue_document
from datasheets.exports import as_json, as_markdown, page_url
from datasheets.queries.sheets import SheetView, sheet_view
from datasheets.rendering import Attachment, render_pdf
from lineage.models import Dataset

_MOST_ENTRIES = 300  # of the document's own events; the log has the rest


def issued_pdf(dataset: Dataset, *, by: User) -> bytes:
    """Bind the document as it stands now to the log, and print it.

    Call it outside of a transaction: the proofs need the entry to be in the log. Raises
    RenderError, and NothingSignedError when the log cannot sign.
    """
    view = sheet_view(dataset)
    document = as_json(view)
    event_id = issue_document(dataset, document, by=by)
    proofs = _proofs(view, document, event_id)
    said, _ = parse(proofs["checkpoint"])
    own = entries().filter(event_id=event_id).values_list("seq", flat=True)
    link = page_url(view)
    html = render_to_string(
        "datasheets/pdf/sheet.html",
        {
            "organisation": settings.VESTIGE_ORGANISATION,
            "view": view,
            "document": document,
            "entry": own[0],
            "proved": len(proofs["entries"]),
            "checkpoint": {"origin": said.origin, "size": said.size, "root": said.root.hex()},
            "vkey": proofs["log"]["vkey"],
            "statement_sha256": bundle.statement_digest(document),
            "file_name": file_name(view, "pdf"),
            "link": link,
        },
    )
    return render_pdf(
        html,
        title=f"{view.name}: {view.title}",
        created=view.at,
        author=settings.VESTIGE_ORGANISATION,
        subject=f"{view.name} of {dataset.node}",
        attachments=[
            Attachment(
                "evidence.json", bundle.dumps(proofs), "application/json", "Supplement",
                "Entries of the log with their proofs, and this document as data",
            ),
            Attachment(
                file_name(view, "md"), as_markdown(view).encode(), "text/markdown", "Alternative",
                "This document as Markdown",
            ),
        ],
    )  # fmt: skip


def _proofs(view: SheetView, document: dict[str, Any], event_id: str) -> dict[str, Any]:
    """The bundle: what the computed values point to, the document's own events, this issue."""
    sequence()
    pointed = {
        item.seq
        for entry in view.entries.values()
        if entry.finding
        for item in entry.finding.evidence
        if item.seq is not None
    }
    about = entries_for(view.dataset.node).filter(type__startswith="datasheet.")
    newest = about.order_by("-seq").values_list("seq", flat=True)[:_MOST_ENTRIES]
    own = entries().filter(event_id=event_id).values_list("seq", flat=True)
    purpose = view.name.lower()
    return evidence(pointed | set(newest) | set(own), purpose=purpose, statement=document)


def file_name(view: SheetView, ending: str) -> str:
    """What the file is called when somebody takes it away: ASCII letters, digits and hyphens."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in view.dataset.name)
    plain = "-".join(part for part in kept.split("-") if part)[:60] or str(view.dataset.pk)
    return f"{view.name.lower().replace(' ', '-')}-{plain}.{ending}"
