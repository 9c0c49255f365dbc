"""What changes lineage: every write of this app goes through these."""

from lineage.actions.gating import evaluate_gate
from lineage.actions.receiving import Received, receive
from lineage.actions.registry import (
    LineageError,
    ModelRetiredError,
    NotAModelError,
    describe,
    put_model_in_use,
    register_version,
    retire_model_version,
    set_owner,
)
from lineage.actions.stores import SyncResult, sync_connector
from lineage.actions.usage import (
    NewUsage,
    UsageFault,
    UsageRefusedError,
    forget_usage,
    note_explained,
    note_usage_read,
    record_usage,
)

__all__ = [
    "LineageError",
    "ModelRetiredError",
    "NewUsage",
    "NotAModelError",
    "Received",
    "SyncResult",
    "UsageFault",
    "UsageRefusedError",
    "describe",
    "evaluate_gate",
    "forget_usage",
    "note_explained",
    "note_usage_read",
    "put_model_in_use",
    "receive",
    "record_usage",
    "register_version",
    "retire_model_version",
    "set_owner",
    "sync_connector",
]
