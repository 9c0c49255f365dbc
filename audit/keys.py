"""The installation's secrets on disk, each made at first use and readable by us alone.

log.key      Ed25519, PEM: signs checkpoints (VESTIGE_LOG_KEY_FILE names another place); after a
             rotation log-*.key, and log.keyring says which (audit.keyring)
logs/NAME/   the same of each unit's log, which has keys of its own
lookup.key   32 bytes: HMAC of identifiers, for finding a person without storing who it is
epochs/      32 bytes each: wrap the data keys of the subjects (audit.epochs)
data.key     32 bytes: the vault, for case data outside the log
"""

import contextlib
import os
import secrets
import tempfile
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from audit.models import MAIN_NAME

KEY_BYTES = 32


class KeyFileError(RuntimeError):
    """A key file is there but cannot be used."""


def lookup_key() -> bytes:
    return _secret(settings.VESTIGE_KEYS / "lookup.key")


def data_key() -> bytes:
    return _secret(settings.VESTIGE_KEYS / "data.key")


def named_key(name: str) -> bytes:
    """32 bytes of `<name>.key`: for an upper app's own keyed hashes, apart from all others."""
    return _secret(settings.VESTIGE_KEYS / f"{name}.key")


def log_folder(log: str = MAIN_NAME) -> Path:
    """Where what signs this log lies."""
    keys: Path = settings.VESTIGE_KEYS
    return keys if log == MAIN_NAME else keys / "logs" / log


def log_key(log: str = MAIN_NAME) -> Ed25519PrivateKey:
    """The first signing key of a log. Raises KeyFileError."""
    return _signing_key(log_key_file(log))


def log_key_file(log: str = MAIN_NAME) -> Path:
    elsewhere = os.environ.get("VESTIGE_LOG_KEY_FILE") if log == MAIN_NAME else None
    return Path(elsewhere or log_folder(log) / "log.key")


def read_secret(path: Path) -> bytes:
    """The 32 bytes in a file that is there. Raises FileNotFoundError and KeyFileError."""
    secret = path.read_bytes()
    if len(secret) != KEY_BYTES:
        raise KeyFileError(f"{path} must hold {KEY_BYTES} bytes. Restore it from your backup.")
    return secret


def destroy_file(path: Path) -> None:
    """Overwrite a file and remove it; nothing happens when it is gone.

    File systems that copy on write and flash that levels wear may keep the old blocks: see the
    threat model.
    """
    try:
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            file.write(secrets.token_bytes(size))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    path.unlink(missing_ok=True)
    flush_folder(path.parent)


@lru_cache
def _secret(path: Path) -> bytes:
    make_once(path, secrets.token_bytes(KEY_BYTES))
    return read_secret(path)


@lru_cache
def _signing_key(path: Path) -> Ed25519PrivateKey:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_once(path, pem(Ed25519PrivateKey.generate()))
    return read_signing_key(path)


def pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in a PEM file that is there. Raises KeyFileError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as exc:
        raise KeyFileError(f"{path} is not a private key in PEM. Restore your backup.") from exc
    except FileNotFoundError as exc:
        raise KeyFileError(f"{path} is missing. Restore it from your backup.") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 key. The log's checkpoints need one.")
    return key


def make_once(path: Path, content: bytes) -> None:
    """The file with this content unless it exists; of several processes at once, one wins."""
    if path.exists():
        return
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        flush_folder(path.parent)
    finally:
        Path(draft).unlink()


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut as the files do."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
