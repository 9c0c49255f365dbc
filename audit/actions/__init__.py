"""Writing the log: record, append what pipelines send, sequence, forget, check, prune."""

from audit.actions.acting import OPERATOR, SWEEPER, VERIFIER, Actor
from audit.actions.adopting import adopt_subject_keys
from audit.actions.anchoring import (
    anchor_at,
    claim_anchoring,
    due_places,
    note_anchor,
    note_anchor_fault,
)
from audit.actions.checking import (
    mark_announced,
    request_verification,
    run_verification,
    verify_all_new_entries,
    verify_new_entries,
    verify_stored_log,
)
from audit.actions.exporting import note_export
from audit.actions.forgetting import SubjectUnknownError, destroy_due_keys, forget_subject
from audit.actions.heads import complete_evidence, record_heads
from audit.actions.pruning import (
    OwnPolicyError,
    PlanChangedError,
    PruningRefusedError,
    UnsoundEntryError,
    plan_pruning,
    prune,
    start_pruning,
)
from audit.actions.publishing import (
    PublicationFailedError,
    publication_place,
    publish_due,
    publish_now,
)
from audit.actions.receipting import KeyLivesError, erasure_receipt
from audit.actions.recording import (
    NotInTransactionError,
    append,
    append_declared,
    append_signed,
    record,
    sequence,
)
from audit.actions.replaying import replay_erasures, replay_if_restored
from audit.actions.resigning import (
    RotationUnderWayError,
    rotate_signing_key,
    settle_signing_keys,
)
from audit.actions.retaining import (
    LEAST_DAYS,
    MOST_DAYS,
    RetentionError,
    end_policy,
    place_hold,
    release_hold,
    replace_policies,
    set_policy,
)
from audit.actions.rotating import (
    KeysUnreachableError,
    announce_epochs,
    rotate_due_epoch,
    rotate_epoch,
)
from audit.actions.units import LogRefusedError, create_log, record_checkpoints

__all__ = [
    "LEAST_DAYS",
    "MOST_DAYS",
    "OPERATOR",
    "SWEEPER",
    "VERIFIER",
    "Actor",
    "KeyLivesError",
    "KeysUnreachableError",
    "LogRefusedError",
    "NotInTransactionError",
    "OwnPolicyError",
    "PlanChangedError",
    "PruningRefusedError",
    "PublicationFailedError",
    "RetentionError",
    "RotationUnderWayError",
    "SubjectUnknownError",
    "UnsoundEntryError",
    "adopt_subject_keys",
    "anchor_at",
    "announce_epochs",
    "append",
    "append_declared",
    "append_signed",
    "claim_anchoring",
    "complete_evidence",
    "create_log",
    "destroy_due_keys",
    "due_places",
    "end_policy",
    "erasure_receipt",
    "forget_subject",
    "mark_announced",
    "note_anchor",
    "note_anchor_fault",
    "note_export",
    "place_hold",
    "plan_pruning",
    "prune",
    "publication_place",
    "publish_due",
    "publish_now",
    "record",
    "record_checkpoints",
    "record_heads",
    "release_hold",
    "replace_policies",
    "replay_erasures",
    "replay_if_restored",
    "request_verification",
    "rotate_due_epoch",
    "rotate_epoch",
    "rotate_signing_key",
    "run_verification",
    "sequence",
    "set_policy",
    "settle_signing_keys",
    "start_pruning",
    "verify_all_new_entries",
    "verify_new_entries",
    "verify_stored_log",
]
