"""Delta Lake tables: read every version, find a person, erase, purge, prove."""

from connectors.adapters.delta.store import DeltaStore

__all__ = ["DeltaStore"]
