"""Writing the log: record a change, append what pipelines send, sequence, forget, check."""

from audit.actions.acting import SWEEPER, Actor
from audit.actions.anchoring import claim_anchoring, note_anchor, note_anchor_fault
from audit.actions.checking import verify_new_entries, verify_stored_log
from audit.actions.exporting import note_export
from audit.actions.forgetting import SubjectUnknownError, forget_subject
from audit.actions.heads import complete_evidence, record_heads
from audit.actions.recording import (
    NotInTransactionError,
    append,
    append_declared,
    append_signed,
    record,
    sequence,
)

__all__ = [
    "SWEEPER",
    "Actor",
    "NotInTransactionError",
    "SubjectUnknownError",
    "append",
    "append_declared",
    "append_signed",
    "claim_anchoring",
    "complete_evidence",
    "forget_subject",
    "note_anchor",
    "note_anchor_fault",
    "note_export",
    "record",
    "record_heads",
    "sequence",
    "verify_new_entries",
    "verify_stored_log",
]
