"""What others outside hold of the log, and what they say when they ask it again.

Small stand-ins of their own: they know the log's public key, what they were given, and the public
doors of the log. They share nothing with the log but the pure core.
"""

from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from django.test import Client

from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, verify_note
from audit.ledger.hashing import leaf_hash
from audit.ledger.tiles import TileHashSource, tile_path, tile_width
from audit.ledger.tree import (
    InvalidProofError,
    tree_root,
    verify_consistency,
    verify_inclusion,
)


class DistrustError(Exception):
    """The log contradicts what was given out; a sentence says how."""


@dataclass(frozen=True)
class Doors:
    """The log as it shows itself to the outside: its REST doors, and its key, learned earlier."""

    client: Client
    vkey: str

    def newest(self) -> Checkpoint:
        """Raises DistrustError."""
        answer = self.client.get("/log/checkpoint")
        if answer.status_code != 200:
            raise DistrustError("The log shows no checkpoint any more.")
        try:
            return verify_note(answer.content.decode(), [self.vkey])
        except InvalidNoteError as exc:
            raise DistrustError(f"The log's checkpoint does not hold: {exc}.") from exc

    def json(self, address: str, what: str) -> Any:
        """Raises DistrustError."""
        answer = self.client.get(address)
        if answer.status_code != 200:
            raise DistrustError(f"The log cannot give {what} ({answer.status_code}).")
        return answer.json()

    def tile(self, level: int, index: int, size: int) -> bytes:
        """Raises DistrustError."""
        path = tile_path(level, index, tile_width(level, index, size))
        answer = self.client.get(f"/log/{path}")
        if answer.status_code != 200:
            raise DistrustError(f"The log cannot give {path} ({answer.status_code}).")
        return bytes(answer.content)


@dataclass(frozen=True)
class Witness:
    """Has cosigned a checkpoint, and cosigns no other that does not extend it (tlog-witness)."""

    held: Checkpoint

    def look(self, doors: Doors) -> str:
        """What is wrong with the log's newest checkpoint; empty when nothing is."""
        try:
            newest = doors.newest()
            if newest.size < self.held.size:
                return (
                    f"I cosigned {self.held.size} entries; the log's newest checkpoint covers"
                    f" {newest.size}."
                )
            path = f"/log/consistency?first={self.held.size}&second={newest.size}"
            proof = hashes(doors.json(path, "a consistency proof"))
            verify_consistency(self.held.size, newest.size, self.held.root, newest.root, proof)
        except DistrustError as exc:
            return str(exc)
        except InvalidProofError as exc:
            return f"The log does not extend the {self.held.size} entries that I cosigned: {exc}."
        return ""


@dataclass(frozen=True)
class Pipeline:
    """Keeps the receipts of events that it has sent, number and leaf hash, and asks for them."""

    receipts: dict[int, bytes]

    def look(self, doors: Doors) -> str:
        """What is wrong with the first entry that the log cannot stand by; empty if it can."""
        for seq, digest in self.receipts.items():
            try:
                newest = doors.newest()
                leaf = b64decode(doors.json(f"/api/v1/events/{seq}", "that entry")["leaf"])
                proof = hashes(doors.json(f"/api/v1/events/{seq}/proof", "an inclusion proof"))
                verify_inclusion(seq, newest.size, digest, proof, newest.root)
            except DistrustError as exc:
                return f"I hold a receipt of entry {seq}. {exc}"
            except InvalidProofError as exc:
                return f"I hold a receipt of entry {seq}, which the log cannot prove: {exc}."
            if leaf_hash(leaf) != digest:
                return f"I hold a receipt of entry {seq}, and the log shows another entry."
        return ""


@dataclass(frozen=True)
class Auditor:
    """Keeps a copy of a checkpoint, and builds its tree again from the log's public hash tiles."""

    held: Checkpoint

    def look(self, doors: Doors) -> str:
        try:
            newest = doors.newest()
            if newest.size < self.held.size:
                return (
                    f"My copy of a checkpoint covers {self.held.size} entries; the log has signed"
                    f" {newest.size}."
                )
            source = TileHashSource(lambda level, at: doors.tile(level, at, newest.size))
            root = tree_root(self.held.size, source)
        except DistrustError as exc:
            return str(exc)
        if root != self.held.root:
            return f"The hash tiles of {self.held.size} entries give another root than my copy."
        return ""


def hashes(answer: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(item) for item in answer["proof"]]
