"""The tables of the log, its keys and its checks."""

from audit.models.anchors import Anchor, AnchorAttempt
from audit.models.checks import Verification
from audit.models.heads import HeadsMap, ResourceHead
from audit.models.keys import FIRST_EPOCH, KeyEpoch, Subject, SubjectKey
from audit.models.log import MAIN_LOG, MAIN_NAME, Checkpoint, Entry, Log, Pending, Tile
from audit.models.retention import LogHold, PrunedPlace, PrunedRange, Pruning, RetentionPolicy

__all__ = [
    "FIRST_EPOCH",
    "MAIN_LOG",
    "MAIN_NAME",
    "Anchor",
    "AnchorAttempt",
    "Checkpoint",
    "Entry",
    "HeadsMap",
    "KeyEpoch",
    "Log",
    "LogHold",
    "Pending",
    "PrunedPlace",
    "PrunedRange",
    "Pruning",
    "ResourceHead",
    "RetentionPolicy",
    "Subject",
    "SubjectKey",
    "Tile",
    "Verification",
]
