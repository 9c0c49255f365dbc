"""The table as deltalake opens it, wherever its folder is."""

from deltalake import DeltaTable

from connectors.folders import Folder


def delta_table(folder: Folder, version: int | None = None) -> DeltaTable:
    """Raises deltalake's errors."""
    return DeltaTable(folder.uri, version=version, storage_options=folder.storage_options)
