"""The subject index: which physical files of a store hold which identifiers, as keyed hashes."""

from connectors.index.index import Hits, Indexed, Size, SubjectIndex

__all__ = ["Hits", "Indexed", "Size", "SubjectIndex"]
