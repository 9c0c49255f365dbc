"""What reports write into the log: numbers, counts and digests."""

from audit.events import define

REPORT_REQUESTED = define("report.requested", "kind", "resource", "start", "end")
REPORT_ISSUED = define(
    "report.issued",
    "kind",
    "resource",
    "start",
    "end",
    "as_of",
    "events",
    "events_sha256",
    "statement_sha256",
)
REPORT_FAILED = define("report.failed", "fault")
REPORT_RETRIED = define("report.retried")
CERTIFICATE_ISSUED = define(
    "certificate.issued", "certificate", "edition", "supersedes", "as_of", "statement_sha256"
)
CERTIFICATE_FAILED = define("certificate.failed", "certificate", "fault")
CERTIFICATE_RETRIED = define("certificate.retried", "certificate")
DOCUMENT_RENDERED = define(
    "document.rendered",
    "document",
    "json_sha256",
    "pdf_sha256",
    "pdf_bytes",
    "signer_sha256",
    permanent=True,
)
DOCUMENT_EXPORTED = define("document.exported", "document", "format", "sha256")
