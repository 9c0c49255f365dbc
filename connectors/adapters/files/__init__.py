"""Plain files: Parquet, CSV and JSON Lines in a folder. Find a person, rewrite, prove."""

from connectors.adapters.files.store import FilesStore

__all__ = ["FilesStore"]
