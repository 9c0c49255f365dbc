"""What travels between coordinator and workers: packed, and closed under a key that both have.

A cluster may keep what it is sent: Apache Spark writes the function of each job into its log, and
with it the identifiers that are looked for. The key is given to both sides by reference and never
travels. Without one, identifiers are packed, but whoever reads the cluster's log can unpack them.
"""

import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connectors.adapters.base import OptionError
from connectors.references import secret

OPTIONS = ("engine_key_env", "engine_key_file")
_NONCE_BYTES = 12


@dataclass(frozen=True)
class Seal:
    """`references`: the options that name the key."""

    references: Mapping[str, Any]
    key: bytes = field(repr=False)  # empty: nothing is closed

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Seal":
        """Raises OptionError where this process does not have the key."""
        references = {name: options[name] for name in OPTIONS if options.get(name)}
        text = secret(references, "engine_key", example="SPARK_TASK_KEY", ending="TASK_KEY")
        if references and not text:
            raise OptionError("The key that the engine's tasks are sealed under is empty.")
        derived = hashlib.blake2b(text.encode(), digest_size=32, person=b"vestige engine")
        return cls(references, derived.digest() if text else b"")

    def closed(self, body: bytes, what: bytes) -> bytes:
        """`what`: "task" or "result", so that one cannot pass for the other."""
        packed = zlib.compress(body, 1)
        if not self.key:
            return packed
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, packed, what)

    def opened(self, body: bytes, what: bytes) -> bytes:
        """Raises OptionError where it was not closed under this key."""
        try:
            if self.key:
                nonce, body = body[:_NONCE_BYTES], body[_NONCE_BYTES:]
                body = AESGCM(self.key).decrypt(nonce, body, what)
            return zlib.decompress(body)
        except (InvalidTag, ValueError, zlib.error) as exc:
            raise OptionError(
                "What came was not sealed under the key that this machine has. Give the same key "
                "to the workers of the cluster and to this installation."
            ) from exc
