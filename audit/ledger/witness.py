"""A witness by C2SP tlog-witness: it cosigns what extends all that it has seen, and nothing else.

The body of a request:

    old <size>
    <consistency proof, one base64 hash a line>
    <empty line>
    <checkpoint, a signed note>

The rules, in the order of the specification: 404 for a log that it does not know, 403 without a
signature by a key of that log, 400 when the old size is above the new, 409 with its own size when
the old size is another (also when the roots of equal sizes differ), 422 when the proof does not
hold, and else 200 with its cosignature. What it saw is durable before it answers.
"""

import fcntl
import json
import os
import re
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, parse, parse_vkey, verify_note
from audit.ledger.cosignature import cosign, witness_vkey
from audit.ledger.hashing import EMPTY_ROOT, HASH_BYTES
from audit.ledger.tree import InvalidProofError, verify_consistency

MAX_BODY_BYTES = 64 * 1024
MAX_PROOF_LINES = 63
SIZE_TYPE = "text/x.tlog.size"

_OLD = re.compile(r"old (0|[1-9][0-9]{0,19})", re.ASCII)


class StateError(RuntimeError):
    """What the witness has kept of a log cannot be read: it must not start afresh."""


class RequestError(ValueError):
    """The body is no request by the specification."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: HTTPStatus
    body: str
    media_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest tree of a log that the witness has cosigned."""

    size: int
    root: bytes


NOTHING_SEEN = Seen(0, EMPTY_ROOT)


class Memory:
    """The newest tree of each log, a file each: replaced in one step, and on disk before use."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    @contextmanager
    def locked(self, origin: str) -> Iterator[None]:
        """One request at a time for a log, also among several processes."""
        handle = os.open(self._path(origin, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def seen(self, origin: str) -> Seen:
        """Raises StateError."""
        try:
            kept = json.loads(self._path(origin, "json").read_bytes())
        except FileNotFoundError:
            return NOTHING_SEEN
        except ValueError as exc:
            raise StateError(f"What was kept of {origin} is damaged.") from exc
        try:
            seen = Seen(kept["size"], b64decode(kept["root"], validate=True))
        except (TypeError, KeyError, ValueError) as exc:
            raise StateError(f"What was kept of {origin} is damaged.") from exc
        if type(seen.size) is not int or len(seen.root) != HASH_BYTES or kept["origin"] != origin:
            raise StateError(f"What was kept of {origin} is damaged.")
        return seen

    def keep(self, origin: str, seen: Seen) -> None:
        kept = {"origin": origin, "size": seen.size, "root": b64encode(seen.root).decode()}
        handle, draft = tempfile.mkstemp(dir=self._folder, prefix=".draft.")
        with os.fdopen(handle, "w") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(self._path(origin, "json"))
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, origin: str, ending: str) -> Path:
        return self._folder / f"{sha256(origin.encode()).hexdigest()}.{ending}"


class Witness:
    """Answers requests; `now` gives POSIX time. Raises InvalidNoteError for keys of the wrong kind.

    `log_vkeys` are the keys of the logs it knows; a log that changes its key has two of them.
    """

    def __init__(
        self,
        name: str,
        key: Ed25519PrivateKey,
        log_vkeys: Iterable[str],
        memory: Memory,
        now: Callable[[], int],
    ) -> None:
        self.vkey = witness_vkey(name, key.public_key())
        self._name, self._key, self._memory, self._now = name, key, memory, now
        self._logs: dict[str, list[str]] = {}
        for vkey in log_vkeys:
            self._logs.setdefault(parse_vkey(vkey).name, []).append(vkey)

    @property
    def origins(self) -> list[str]:
        return list(self._logs)

    def add_checkpoint(self, body: bytes) -> Answer:
        """What the call `add-checkpoint` answers. Raises StateError."""
        try:
            old, proof, note = parse_request(body)
            origin = parse(note)[0].origin
        except (RequestError, InvalidNoteError) as exc:
            return _refused(HTTPStatus.BAD_REQUEST, f"{exc}.")
        if origin not in self._logs:
            return _refused(HTTPStatus.NOT_FOUND, "This witness does not know the log.")
        try:
            made = verify_note(note, self._logs[origin])
        except InvalidNoteError as exc:
            return _refused(HTTPStatus.FORBIDDEN, f"{exc}.")
        if old > made.size:
            return _refused(
                HTTPStatus.BAD_REQUEST, f"The old size {old} is above the new, {made.size}."
            )
        with self._memory.locked(origin):
            return self._judge(old, proof, note, made)

    def _judge(self, old: int, proof: list[bytes], note: str, made: Checkpoint) -> Answer:
        seen = self._memory.seen(made.origin)
        if old != seen.size or (seen.size == made.size and seen.root != made.root):
            return Answer(HTTPStatus.CONFLICT, f"{seen.size}\n", SIZE_TYPE)
        try:
            verify_consistency(seen.size, made.size, seen.root, made.root, proof)
        except InvalidProofError as exc:
            return _refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"Not consistent: {exc}.")
        line = cosign(note, self._name, self._key, self._now())
        if seen.size < made.size:
            self._memory.keep(made.origin, Seen(made.size, made.root))
        return Answer(HTTPStatus.OK, line)


def request_body(old: int, proof: Iterable[bytes], note: str) -> bytes:
    """The body of add-checkpoint."""
    lines = "".join(f"{b64encode(item).decode()}\n" for item in proof)
    return f"old {old}\n{lines}\n{note}".encode()


def parse_request(body: bytes) -> tuple[int, list[bytes], str]:
    """(old size, proof, note) of an add-checkpoint body. Raises RequestError."""
    try:
        head, separator, note = body.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise RequestError("the body is not UTF-8") from None
    first, *lines = head.split("\n")
    match = _OLD.fullmatch(first)
    if not separator or match is None:
        raise RequestError("the body must start with `old SIZE`, proof lines and an empty line")
    if len(lines) > MAX_PROOF_LINES:
        raise RequestError(f"a proof has at most {MAX_PROOF_LINES} lines")
    return int(match[1]), [_hash(line) for line in lines], note


def _hash(line: str) -> bytes:
    try:
        data = b64decode(line, validate=True)
    except ValueError:
        data = b""
    if len(data) != HASH_BYTES or b64encode(data).decode() != line:
        raise RequestError("a proof line is a hash of 32 bytes in base64")
    return data


def _refused(status: HTTPStatus, sentence: str) -> Answer:
    return Answer(status, f"{sentence[:1].upper()}{sentence[1:]}\n")
