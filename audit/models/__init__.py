"""The tables of the log, its keys and its checks."""

from audit.models.anchors import Anchor, AnchorAttempt
from audit.models.checks import Verification
from audit.models.heads import HeadsMap, ResourceHead
from audit.models.keys import SubjectKey
from audit.models.log import MAIN_LOG, Checkpoint, Entry, Log, Pending, Tile

__all__ = [
    "MAIN_LOG",
    "Anchor",
    "AnchorAttempt",
    "Checkpoint",
    "Entry",
    "HeadsMap",
    "Log",
    "Pending",
    "ResourceHead",
    "SubjectKey",
    "Tile",
    "Verification",
]
