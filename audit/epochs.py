"""The keys that wrap subjects' keys, one file an epoch: NNNN.key, 32 bytes, mode 0600.

The files are the truth about which of these keys exist: unlike the rows of a database they do not
come back with a backup of it. A process keeps a key only as long as its file is there.
"""

import hmac
import os
import re
import secrets
from hashlib import sha256
from pathlib import Path

from django.conf import settings

from audit import keys
from audit.models import FIRST_EPOCH, KeyEpoch

_NAME = re.compile(r"([0-9]{4,9})\.key")
_Identity = tuple[str, int, int, int]
# epoch → (which file it was read from, the key)
_loaded: dict[int, tuple[_Identity, bytes]] = {}


class EpochKeyGoneError(RuntimeError):
    """The key of an epoch is not there: destroyed, or not brought to this machine."""


class EpochKeyReplacedError(keys.KeyFileError):
    """The file of an epoch holds another key than the one that the epoch began with."""


def epoch_file(number: int) -> Path:
    return Path(settings.VESTIGE_EPOCH_KEYS_DIR) / f"{number:04d}.key"


def epoch_key(number: int) -> bytes:
    """The key of this epoch. Raises EpochKeyGoneError, EpochKeyReplacedError, KeyFileError."""
    path = epoch_file(number)
    try:
        identity = _identity(path)
        known = _loaded.get(number)
        if known is None or known[0] != identity:
            known = _loaded[number] = (identity, _checked(number, keys.read_secret(path)))
    except FileNotFoundError as exc:
        _loaded.pop(number, None)
        raise EpochKeyGoneError(
            f"The key of epoch {number} ({path.name}) is not there. If the epoch was destroyed, the"
            " key store is an old copy: restore the newest one. Otherwise bring the file here."
        ) from exc
    return known[1]


def commitment(secret: bytes) -> str:
    """HMAC-SHA256(key, "commit") in hex, as for subjects' keys."""
    return hmac.new(secret, b"commit", sha256).hexdigest()


def make_file(number: int) -> bytes:
    """The key of a new epoch, on disk when this returns; of several processes one makes it.

    The first epoch takes over `subjects.key`, which wrapped all keys before there were epochs.
    """
    path = epoch_file(number)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    legacy = _before_epochs()
    if number == FIRST_EPOCH and not path.exists() and legacy.exists():
        keys.make_once(path, keys.read_secret(legacy))
    keys.make_once(path, secrets.token_bytes(keys.KEY_BYTES))
    secret = keys.read_secret(path)
    if number == FIRST_EPOCH and legacy.exists() and legacy.read_bytes() == secret:
        keys.destroy_file(legacy)
    return secret


def destroy_file(number: int) -> None:
    """Overwrite the file and remove it; nothing happens when it is gone already."""
    _loaded.pop(number, None)
    keys.destroy_file(epoch_file(number))
    if number == FIRST_EPOCH:  # a crash may have left it when the file took its place
        keys.destroy_file(_before_epochs())


def numbers_on_disk() -> list[int]:
    """The epochs whose files are here, in ascending order."""
    folder = Path(settings.VESTIGE_EPOCH_KEYS_DIR)
    if not folder.exists():
        return []
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def _before_epochs() -> Path:
    return Path(settings.VESTIGE_KEYS) / "subjects.key"


def _checked(number: int, secret: bytes) -> bytes:
    row = KeyEpoch.objects.filter(number=number).first()
    if row is None or row.commitment != commitment(secret):
        raise EpochKeyReplacedError(
            f"{epoch_file(number)} is not the key that epoch {number} began with. Restore that"
            " file from your backup."
        )
    return secret


def _identity(path: Path) -> _Identity:
    found = os.stat(path)  # noqa: PTH116  # called for each key that is opened
    return str(path), found.st_ino, found.st_mtime_ns, found.st_size
