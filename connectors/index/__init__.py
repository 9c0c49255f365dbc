"""The subject index: which physical files of a store hold which identifiers, as keyed hashes."""

from connectors.index.building import ParquetSource, Source, build, prune
from connectors.index.index import Columns, Size, SubjectIndex, Terms
from connectors.index.lookup import Hits, Indexed, Lookup, look_up

__all__ = [
    "Columns",
    "Hits",
    "Indexed",
    "Lookup",
    "ParquetSource",
    "Size",
    "Source",
    "SubjectIndex",
    "Terms",
    "build",
    "look_up",
    "prune",
]
