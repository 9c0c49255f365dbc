"""The keys that sign checkpoints: the active one, one that is being retired, those of the past.

Without a ring there is one key, `log.key`. The first rotation writes `log.keyring`, a JSON file in
the folder of the keys, where whoever owns the database cannot write:

    {"keys": [{"public": <base64>, "file": "log-1a2b3c4d.key", "since": {<origin>: <size>},
               "until": null, "signs_until": "", "announced": true, "retired": false}, …]}

The active key stands first. Every key with a file and without `until` signs. `since` and `until`
bound the tree sizes for which a key's signature counts, by log. A key of the past has no file any
more; its public half stays, so that what it signed can be verified.

Each log has a ring of its own, in the folder of its keys: see audit.keys.
"""

import fcntl
import json
import os
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit import keys
from audit.ledger.checkpoint import (
    Checkpoint,
    InvalidNoteError,
    parse,
    parse_vkey,
    verify_note,
    vkey,
)
from audit.models import MAIN_NAME

_RING = "log.keyring"


@dataclass(frozen=True, slots=True)
class RingKey:
    """One key of the ring, as the file has it."""

    public: str
    file: str
    since: Mapping[str, int] = field(default_factory=dict)
    until: Mapping[str, int] | None = None
    signs_until: str = ""  # RFC 3339: the end of the overlap, for a key that is being retired
    announced: bool = True  # the log tells of it
    retired: bool = False  # the log tells of its end

    @property
    def signs(self) -> bool:
        return bool(self.file) and self.until is None

    def vkey(self, origin: str) -> str:
        return _vkey(origin, self.public)

    def counts(self, origin: str, size: int) -> bool:
        """Whether its signature under a tree of this size counts."""
        if size < self.since.get(origin, 0):
            return False
        return self.until is None or size <= self.until.get(origin, -1)


@dataclass(frozen=True, slots=True, eq=False)
class Ring:
    """All keys, the active one first, and the private halves of those that sign.

    Two rings are never equal: what was verified with one is verified again with the next.
    """

    keys: tuple[RingKey, ...]
    signing: tuple[Ed25519PrivateKey, ...]
    log: str = MAIN_NAME
    _vkeys: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)  # by origin

    def vkeys(self, origin: str) -> tuple[str, ...]:
        """The verifier keys of a log, the active one first, those of the past last."""
        if origin not in self._vkeys:
            ordered = sorted(self.keys, key=lambda key: not key.signs)
            self._vkeys[origin] = tuple(key.vkey(origin) for key in ordered)
        return self._vkeys[origin]

    def checkpoint(self, note: str, origin: str) -> Checkpoint:
        """The checkpoint in a note that a key signed while it counted. Raises InvalidNoteError."""
        made = verify_note(note, self.vkeys(origin))
        if not self.counted(note, origin):
            raise InvalidNoteError(
                f"the key that signed it was not in use for a tree of {made.size} entries"
            )
        return made

    def counted(self, note: str, origin: str) -> list[str]:
        """The vkeys in whose name the note is signed and counts; signatures are not verified."""
        made, signatures = parse(note)
        signed = {(signature.name, signature.key_id) for signature in signatures}
        return [
            key.vkey(origin)
            for key in self.keys
            if _named(key.vkey(origin)) in signed and key.counts(origin, made.size)
        ]


_Identity = tuple[Path, str, int, int]  # folder, VESTIGE_LOG_KEY_FILE, the ring's inode and time
_loaded: dict[str, tuple[_Identity, Ring]] = {}  # by log


def ring(log: str = MAIN_NAME) -> Ring:
    """The keys of a log as they are now; another process may have rotated them.

    Called for each signature: one look at the file's inode, and nothing else in the usual case.
    Raises KeyFileError.
    """
    folder, elsewhere = keys.log_folder(log), os.environ.get("VESTIGE_LOG_KEY_FILE", "")
    try:
        found = os.stat(f"{folder}/{_RING}")  # noqa: PTH116
        identity = (folder, elsewhere, found.st_ino, found.st_mtime_ns)
    except FileNotFoundError:
        identity = (folder, elsewhere, 0, 0)
    known = _loaded.get(log)
    if known is None or known[0] != identity:
        known = _loaded[log] = (identity, _read(log) if identity[2] else _of_one_key(log))
    return known[1]


def ring_file(log: str = MAIN_NAME) -> Path:
    return keys.log_folder(log) / _RING


def add_key(since: Mapping[str, int], *, signs_until: str, log: str = MAIN_NAME) -> RingKey:
    """A new active key; those before it sign on beside it until then. Sizes are by origin."""
    private = Ed25519PrivateKey.generate()
    public = b64encode(private.public_key().public_bytes_raw()).decode()
    name = f"log-{sha256(b64decode(public)).hexdigest()[:8]}.key"
    keys.make_once(_beside(name, log), keys.pem(private))
    made = RingKey(public, name, since=dict(since), announced=False)
    with _held(log):
        before = (replace(k, signs_until=signs_until) if k.signs else k for k in ring(log).keys)
        _write(made, *before, log=log)
    return made


def change(public: str, *, log: str = MAIN_NAME, **members: Any) -> RingKey:
    """The key with this public half, changed in the ring."""
    with _held(log):
        known = {key.public: key for key in ring(log).keys}
        known[public] = replace(known[public], **members)
        _write(*known.values(), log=log)
    return known[public]


def destroy(key: RingKey, *, log: str = MAIN_NAME) -> RingKey:
    """Overwrite and remove the private half of a key that signs no more."""
    if key.until is None:
        raise AssertionError("a key that signs is not destroyed")
    keys.destroy_file(_beside(key.file, log))
    return change(key.public, log=log, file="")


@contextmanager
def _held(log: str) -> Iterator[None]:
    """One process at a time changes the ring: it is read, changed and written anew."""
    with (ring_file(log).with_name(".log.keyring.lock")).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(log: str) -> Ring:
    path = ring_file(log)
    try:
        known = tuple(RingKey(**item) for item in json.loads(path.read_text())["keys"])
    except (ValueError, KeyError, TypeError) as exc:
        raise keys.KeyFileError(f"{path} is no ring of keys. Restore it from your backup.") from exc
    signing = []
    for key in known:
        if not key.signs:
            continue
        private = keys.read_signing_key(_beside(key.file, log))
        if b64encode(private.public_key().public_bytes_raw()).decode() != key.public:
            raise keys.KeyFileError(
                f"{key.file} is not the key that {path.name} names. Restore it from your backup."
            )
        signing.append(private)
    if not signing or not known[0].signs:
        raise keys.KeyFileError(f"{path} names no active key. Restore it from your backup.")
    return Ring(known, tuple(signing), log)


def _of_one_key(log: str) -> Ring:
    path = keys.log_key_file(log)
    strays = sorted(path.parent.glob("log-????????.key"))
    if strays and not path.exists():
        raise keys.KeyFileError(
            f"{ring_file(log)} is missing, and {strays[0].name} is there: the signing key was"
            " rotated. Restore the ring from your backup."
        )
    private = keys.log_key(log)
    public = b64encode(private.public_key().public_bytes_raw()).decode()
    return Ring((RingKey(public, path.name),), (private,), log)


def _write(*members: RingKey, log: str) -> None:
    path = ring_file(log)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".log.keyring.")
    with os.fdopen(handle, "w") as file:
        json.dump({"keys": [asdict(key) for key in members]}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(path)
    keys.flush_folder(path.parent)


def _beside(name: str, log: str) -> Path:
    return keys.log_key_file(log).with_name(name)


@cache
def _named(vkey: str) -> tuple[str, bytes]:
    """How a note names this key."""
    known = parse_vkey(vkey)
    return known.name, known.key_id


@cache
def _vkey(origin: str, public: str) -> str:
    return vkey(origin, Ed25519PublicKey.from_public_bytes(b64decode(public)))
