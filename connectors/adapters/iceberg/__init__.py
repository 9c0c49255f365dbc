"""Apache Iceberg tables, through an SQL or a REST catalog, with their files on this machine."""

from connectors.adapters.iceberg.location import Place, parse_place
from connectors.adapters.iceberg.store import IcebergStore

__all__ = ["IcebergStore", "Place", "parse_place"]
