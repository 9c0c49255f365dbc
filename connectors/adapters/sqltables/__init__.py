"""Tables of SQL databases: find a person, erase, purge, prove."""

from connectors.adapters.sqltables.address import Address, parse_address
from connectors.adapters.sqltables.store import SqlStore

__all__ = ["Address", "SqlStore", "parse_address"]
