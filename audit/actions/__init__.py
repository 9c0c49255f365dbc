"""Writing the log: record a change, append what pipelines send, sequence, forget, check."""

from audit.actions.acting import OPERATOR, VERIFIER, Actor
from audit.actions.anchoring import claim_anchoring, note_anchor, note_anchor_fault
from audit.actions.checking import (
    mark_announced,
    request_verification,
    run_verification,
    verify_new_entries,
    verify_stored_log,
)
from audit.actions.exporting import note_export
from audit.actions.forgetting import SubjectUnknownError, forget_subject
from audit.actions.publishing import PublicationFailedError, publish_due, publish_now
from audit.actions.recording import (
    NotInTransactionError,
    append,
    append_declared,
    append_signed,
    record,
    sequence,
)

__all__ = [
    "OPERATOR",
    "VERIFIER",
    "Actor",
    "NotInTransactionError",
    "PublicationFailedError",
    "SubjectUnknownError",
    "append",
    "append_declared",
    "append_signed",
    "claim_anchoring",
    "forget_subject",
    "mark_announced",
    "note_anchor",
    "note_anchor_fault",
    "note_export",
    "publish_due",
    "publish_now",
    "record",
    "request_verification",
    "run_verification",
    "sequence",
    "verify_new_entries",
    "verify_stored_log",
]
