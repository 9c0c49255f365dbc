"""Apache Iceberg tables, through an SQL or a REST catalog, with their files on a disk or in S3."""

from connectors.adapters.iceberg.location import Place, local_file, parse_place
from connectors.adapters.iceberg.store import IcebergStore

__all__ = ["IcebergStore", "Place", "local_file", "parse_place"]
