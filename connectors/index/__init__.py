"""The subject index: which physical files of a store hold which identifiers, as keyed hashes."""

from connectors.index.building import ParquetSource, Source, build, prune
from connectors.index.index import Columns, Size, SubjectIndex
from connectors.index.lookup import Hits, Indexed, look_up

__all__ = [
    "Columns",
    "Hits",
    "Indexed",
    "ParquetSource",
    "Size",
    "Source",
    "SubjectIndex",
    "build",
    "look_up",
    "prune",
]
