"""What of a log is gone: the tiles that its entries of the type log.pruned tell of."""

from collections.abc import Iterable

from audit.ledger import canonical
from audit.ledger.hashing import HASH_BYTES
from audit.ledger.leaf import LeafError, unpack

PRUNED_TYPE = "log.pruned"
_MARK = PRUNED_TYPE.encode()


def tiles_told(leaves: Iterable[bytes]) -> dict[int, bytes]:
    """Number and root of each tile whose entries are gone, by these leaves.

    The leaves must be verified by whoever relies on it. What is malformed tells nothing.
    """
    told: dict[int, bytes] = {}
    for data in leaves:
        if _MARK in data:
            told |= _told_by(data)
    return told


def _told_by(data: bytes) -> dict[int, bytes]:
    try:
        event = canonical.decode(unpack(data).event)
        if event["type"] != PRUNED_TYPE:
            return {}
        told = {item["tile"]: bytes.fromhex(item["root"]) for item in event["details"]["tiles"]}
    except (LeafError, ValueError, KeyError, TypeError):
        return {}
    if any(type(tile) is not int or len(root) != HASH_BYTES for tile, root in told.items()):
        return {}
    return told
