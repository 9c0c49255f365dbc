"""What the workflow writes into the log: ids, counts, digests. Identities only sealed."""

from audit.events import define

REQUEST_FILED = define("request.filed", "rights", "regime", "channel", "due_at", "scope")
REQUEST_CODE_SENT = define("request.code_sent")
REQUEST_CODE_REFUSED = define("request.code_refused", "reason", "tries_left")
REQUEST_VERIFIED = define("request.verified", "method")
REQUEST_MERGED = define("request.merged", "into")
DISCOVERY_STARTED = define("discovery.started")
DISCOVERY_FAILED = define("discovery.failed", "reason")
PLAN_MADE = define("plan.made", "number", "plan_hash", "rows", "steps", "models")
PLAN_APPROVED = define("plan.approved", "number", "plan_hash", "role")
APPROVAL_REFUSED = define("plan.approval_refused", "plan_hash", "reason")
APPROVALS_VOIDED = define("plan.approvals_voided", "number", "plan_hash", "count")
REQUEST_SCHEDULED = define("request.scheduled", "scheduled_for")
REQUEST_EXTENDED = define("request.extended", "due_at", "reason_sha256")
REQUEST_HELD = define("request.held", "reason_sha256")
REQUEST_RELEASED = define("request.released")
REQUEST_REFUSED = define("request.refused", "ground", "reason_sha256")
REQUEST_WITHDRAWN = define("request.withdrawn")
REQUEST_REOPENED = define("request.reopened", "reason_sha256")
ERASURE_STARTED = define("erasure.started", "plan_hash", "steps")
SUBJECT_SUPPRESSED = define("subject.suppressed", "identifiers")
STEP_ERASED = define(
    "erasure.step_erased",
    "step",
    "dataset",
    "connector",
    "rows",
    "together",
    "objects_removed",
    "objects_added",
    "new_version",
    "removed_sha256",
    "added_sha256",
    "signatures_dropped",
)
STEP_PURGED = define(
    "erasure.step_purged",
    "step",
    "dataset",
    "connector",
    "objects_removed",
    "removed_sha256",
    "versions_lost",
    "versions_renamed",
    "renamed_sha256",
)
STEP_VERIFIED = define(
    "erasure.step_verified",
    "step",
    "dataset",
    "connector",
    "files",
    "bytes",
    "scan_sha256",
    "control_found",
    "method",
)
STEP_FAILED = define(
    "erasure.step_failed", "step", "dataset", "connector", "reason", "traces", "unreadable", "files"
)
ERASURE_VERIFIED = define("erasure.verified", "plan_hash", "steps", "rows", "files", "bytes")
TAIL_LEFT = define("erasure.tail_left", "tail", "dataset", "what", "until")
TAIL_ASKED = define("erasure.tail_asked", "tail", "recipients")
TAIL_PROLONGED = define("erasure.tail_prolonged", "tail", "until", "reason_sha256")
TAIL_CLOSED = define("erasure.tail_closed", "tail", "note_sha256")
REQUEST_BLOCKED = define("request.blocked", "reason")
REQUEST_TAIL_OPEN = define("request.tail_open", "tails", "until", "certificate", "statement_sha256")
REQUEST_COMPLETED = define("request.completed", "outcome", "certificate", "statement_sha256")
NOTICE_ISSUED = define("notice.issued", "model", "version", "request", "due_at", "in_use")
NOTICE_SENT = define("notice.sent", "recipients")
NOTICE_ACKNOWLEDGED = define("notice.acknowledged")
NOTICE_STARTED = define("notice.started")
NOTICE_EVIDENCE_REJECTED = define("notice.evidence_rejected", "replacement", "failed")
NOTICE_CLOSED = define("notice.closed", "replacement", "disposition", "checks")
NOTICE_WAIVED = define("notice.waived", "until", "reason_sha256")
MERGE_JUDGED = define(
    "gate.merge_judged", "verdict", "let_in", "rules", "branch_sha256", "destination", "source"
)
MAIL_SENT = define("mail.sent", "purpose", "message_id")
