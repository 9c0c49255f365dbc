"""Where a repository is, without secrets.

    https://lakefs.example#shop                 (all of the repository "shop")
    https://lakefs.example:8443#shop/exports/   (what lies below exports/)

No sentence of this module quotes a location: a password that somebody wrote into one must not reach
a log.
"""

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from connectors.adapters.base import StoreError
from connectors.addresses import PORTS, web_base
from connectors.references import HOW_TO_SIGN_IN

_EXAMPLE = "https://host#repository or https://host#repository/path/"
_REPOSITORY = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")  # by lakeFS' own rule


@dataclass(frozen=True)
class Place:
    """`base`: the server's address. `prefix`: "" or a path that ends with "/"."""

    base: str
    host: str
    port: int
    repository: str
    prefix: str = ""

    @property
    def shown(self) -> str:
        """For messages."""
        return f"the repository {self.repository} at {self.host}:{self.port}"

    @property
    def name(self) -> str:
        """What the dataset is called by default."""
        return f"{self.repository}/{self.prefix}".rstrip("/")

    @property
    def location(self) -> str:
        """The one spelling of this place, by which a store is connected once."""
        return f"{self.base}#{quote(f'{self.repository}/{self.prefix}'.rstrip('/'))}"


def parse_place(location: str) -> Place:
    """Raises StoreError with a sentence that says how to write it."""
    text = location.strip()
    address, _, fragment = text.partition("#")
    if "@" in address:
        raise StoreError(f"The location holds a user name or a password. {HOW_TO_SIGN_IN}")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise StoreError(f"The location is no address. Write it as in {_EXAMPLE}.") from None
    host = (parts.hostname or "").lower()
    if parts.scheme not in PORTS or not host:
        raise StoreError(
            f"The location of a lakeFS repository begins with its server, as in {_EXAMPLE}."
        )
    if parts.query:
        raise StoreError("The location has parameters. Give the server's address alone.")
    repository, _, path = unquote(fragment).partition("/")
    if not _REPOSITORY.fullmatch(repository):
        raise StoreError(f"The location names no repository. Append it, as in {_EXAMPLE}.")
    port = port or PORTS[parts.scheme]
    base = web_base(parts, host, port, what="A lakeFS server").removesuffix("/api/v1")
    return Place(base, host, port, repository, _prefix(path))


def _prefix(path: str) -> str:
    if not path.strip("/"):
        return ""
    if "\x00" in path or ".." in path.split("/"):
        raise StoreError("After the repository stands a path from its top, as in #shop/exports/.")
    return posixpath.normpath(path.strip("/")) + "/"
