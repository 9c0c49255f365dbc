"""The checkpoint of a log that lies in files, and whose signature under it counts."""

from audit.ledger.checkpoint import (
    MAX_NOTE_CHARACTERS,
    Checkpoint,
    InvalidNoteError,
    parse_vkey,
    verify_note,
)
from audit.ledger.files import CHECKPOINT, VKEY, Files, UnreadableError
from audit.ledger.verdict import Verdict

_NOTE_KEY = (
    "Whose key this is, the folder cannot say: its own file names it. Compare {vkey} with the key"
    " that the organisation publishes, or give that key (--vkey)."
)


class Keyring:
    """The log's keys: those that are trusted, else the folder's own."""

    def __init__(self, verdict: Verdict, trusted: list[str] | None) -> None:
        self._verdict, self._trusted = verdict, trusted
        self._own: list[str] = []

    def check(self, files: Files) -> Checkpoint | None:
        """The signed checkpoint, or None when nothing below it is worth checking."""
        verdict = self._verdict
        try:
            note = _text(files, CHECKPOINT)
            if note is None:
                raise InvalidNoteError("the file checkpoint is missing")
            self._own = _lines(_text(files, VKEY))
            if not self._own and self._trusted is None:
                raise InvalidNoteError("the file vkey is missing, and no key was given (--vkey)")
            made = verify_note(note, self._own or self._trusted or [])
            for key in self._own:  # each of them is said to have signed
                if verify_note(note, [key]).origin != parse_vkey(key).name:
                    raise InvalidNoteError("a key in the file vkey is that of another log")
        except (InvalidNoteError, UnreadableError) as error:
            verdict.record("checkpoint", [f"The signed checkpoint does not hold: {error}."])
            return None
        verdict.checkpoint, verdict.vkey = made, [*self._own, *(self._trusted or [])][0]
        verdict.record(
            "checkpoint",
            [],
            f"The log {made.origin:.200} has signed a checkpoint of {made.size:,} entries with the"
            f" key {parse_vkey(verdict.vkey).key_id.hex()}.",
        )
        self._check_trusted(note, made)
        return made

    def _check_trusted(self, note: str, made: Checkpoint) -> None:
        if self._trusted is None:
            self._verdict.note(_NOTE_KEY.format(vkey=self._verdict.vkey[:200]))
            return
        try:
            self.verified(note, made.origin)
        except InvalidNoteError as error:
            fault = f"The key that you trust has not signed the checkpoint: {error}."
            self._verdict.record("key", [fault])
        else:
            self._verdict.record("key", [], "A key that you trust has signed the checkpoint.")

    def verified(self, note: str, origin: str) -> Checkpoint:
        """The checkpoint in a note of this log, by the keys that count. Raises InvalidNoteError."""
        keys = self._own if self._trusted is None else self._trusted
        # A witness's key, under another name, does not stand for the log.
        made = verify_note(note, [key for key in keys if parse_vkey(key).name == origin])
        if made.origin != origin:
            raise InvalidNoteError(f"it is that of {made.origin:.200}")
        return made


def _text(files: Files, path: str) -> str | None:
    """Raises UnreadableError."""
    data = files.read(path, MAX_NOTE_CHARACTERS)
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"the file {path} is not UTF-8") from error


def _lines(text: str | None) -> list[str]:
    """The keys in the file vkey. Raises UnreadableError."""
    if text is None:
        return []
    if not text.endswith("\n"):
        raise UnreadableError("the file vkey is no list of keys, one a line")
    return text[:-1].split("\n")
