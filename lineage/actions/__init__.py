"""What changes lineage: every write of this app goes through these."""

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

__all__ = [
    "LineageError",
    "ModelRetiredError",
    "NotAModelError",
    "Received",
    "describe",
    "put_model_in_use",
    "receive",
    "register_version",
    "retire_model_version",
    "set_owner",
]
