"""Addresses of web services that stores are reached through.

No sentence of this module quotes an address: a password that somebody wrote into one must not reach
a log.
"""

from urllib.parse import SplitResult

from connectors.adapters.base import StoreError

PORTS = {"https": 443, "http": 80}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def web_base(parts: SplitResult, host: str, port: int, *, what: str) -> str:
    """The one spelling of a service's address, without a query. `what`: how messages call it.

    Raises StoreError where secrets would travel in the open.
    """
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise StoreError(
            f"{what} on another host is reached by https:// only: the address http:// would "
            "send its secrets and its answers in the open."
        )
    place = f"[{host}]" if ":" in host else host
    shown = "" if port == PORTS[parts.scheme] else f":{port}"
    path = parts.path.strip("/")
    return f"{parts.scheme}://{place}{shown}" + (f"/{path}" if path else "")
