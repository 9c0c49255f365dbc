"""Encryption of case data outside the log: AES-256-GCM under the installation's data key.

For what must be read again later, such as a contact address. What is lost with `data.key` is
lost. The text: version (1 byte) | nonce (12) | ciphertext and tag.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit import keys

_VERSION = b"\x01"
_NONCE_BYTES = 12


class VaultError(ValueError):
    """These bytes were not encrypted here for this context, or were changed since."""


def encrypt(plaintext: bytes, *, context: str) -> bytes:
    """`context` says what the bytes are ("request:7:contact"); decrypting needs the same."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _VERSION + nonce + AESGCM(keys.data_key()).encrypt(nonce, plaintext, context.encode())


def decrypt(ciphertext: bytes, *, context: str) -> bytes:
    """The inverse of `encrypt`. Raises VaultError."""
    data = bytes(ciphertext)
    nonce, body = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
    try:
        if data[:1] != _VERSION:
            raise InvalidTag
        return AESGCM(keys.data_key()).decrypt(nonce, body, context.encode())
    except (InvalidTag, ValueError) as exc:
        raise VaultError(
            f"What is kept for {context} cannot be decrypted: it was changed, or data.key was."
        ) from exc
