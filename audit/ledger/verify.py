"""Verification of an evidence bundle, alone or inside a PDF (RFC 6962, C2SP tlog-checkpoint).

Nothing here reads a database or asks a server, and broken input never raises: it ends in a
Verdict that says what failed. `ChainVerifier`, which reads whole logs and exports, belongs to
audit.ledger.chain and is to be had from here as well.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from audit.ledger import canonical
from audit.ledger.attachment import AttachmentError, attached_evidence
from audit.ledger.bundle import (
    STATEMENT_FIELD,
    Bundle,
    BundleEntry,
    BundleError,
    decode,
    parse,
    statement_digest,
)
from audit.ledger.chain import ChainError, ChainStateError, ChainVerifier
from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, parse_vkey, verify_note
from audit.ledger.completeness import (
    Conclusion,
    IncompleteError,
    Read,
    conclusion,
    statement_faults,
)
from audit.ledger.document import EVIDENCE_MEMBER, document_faults
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import GENESIS, Leaf, LeafError, unpack
from audit.ledger.tree import InvalidProofError, verify_inclusion
from audit.ledger.verdict import Check, Commitment, Verdict

__all__ = [
    "ChainError",
    "ChainStateError",
    "ChainVerifier",
    "Check",
    "Commitment",
    "Verdict",
    "verify_bundle",
    "verify_document",
    "verify_file",
    "verify_pdf",
]

# PDF readers accept some bytes before the header.
_PDF_HEADER_WITHIN = 1024
# A note names this many entries; the rest it counts.
_LISTED = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NOTE_KEY = (
    "Whose key this is, the evidence cannot say: the file itself names it. Compare {vkey} with the"
    " key that the organisation publishes, or give that key (--vkey)."
)
_NOTE_PURPOSE = "The purpose {purpose} is the file's own label; no entry commits to it."
_NOTE_NO_STATEMENT = "The file makes no statement: it proves the entries in it and nothing else."
_NOTE_UNPROVEN = "The statement names entries that the file does not prove: {entries}."
_NOTE_COMPLETE = (
    "The evidence shows that these entries are in the log, not that the log holds nothing else."
)
_NOTE_COUNTED = (
    "What is said to be complete is so by the log's own count of each resource's entries. That the"
    " log counted rightly, whoever holds all of it can check (verify FOLDER --full)."
)
_NOTE_PAGES = (
    "The proof covers the attached evidence, not the printed pages: compare the pages with the"
    " statement in it."
)

# An entry whose leaf could be read: the entry, its leaf, and its event if that is an object.
_Read = tuple[BundleEntry, Leaf, dict[str, Any]]


def verify_bundle(bundle: object, *, trusted_vkey: str | Iterable[str] | None = None) -> Verdict:
    """Judge an evidence bundle, given as JSON text or as the object in it. Never raises.

    `trusted_vkey`: one or more verifier keys that came from elsewhere; one of them must have
    signed the checkpoint. Without it, a note says that the file itself names the key.
    """
    verdict = Verdict()
    try:
        parsed = parse(decode(bundle) if isinstance(bundle, bytes | str) else bundle)
    except BundleError as error:
        verdict.record("format", [f"This is no evidence bundle: {error}."])
        return verdict
    verdict.record("format", [], f"This is an evidence bundle ({parsed.format}).")
    changed = "The bundle was changed after it was written: its digest does not match."
    verdict.record("digest", [] if parsed.intact else [changed], "The bundle's digest matches.")
    verdict.purpose, verdict.vkey, verdict.statement = parsed.purpose, parsed.vkey, parsed.statement
    verdict.entries = [entry.seq for entry in parsed.entries]
    checkpoint = _check_checkpoint(verdict, parsed)
    if checkpoint is None:
        return verdict
    _check_key(verdict, parsed, checkpoint, trusted_vkey)
    events = _check_entries(verdict, parsed, checkpoint)
    conclusions = _check_complete(verdict, parsed, events)
    _check_statement(verdict, parsed, events, conclusions)
    verdict.note(_NOTE_COUNTED if conclusions else _NOTE_COMPLETE)
    return verdict


def verify_document(
    document: Mapping[str, Any], *, trusted_vkey: str | Iterable[str] | None = None
) -> Verdict:
    """Judge a certificate or report in JSON by the bundle that it carries. Never raises."""
    evidence = document.get(EVIDENCE_MEMBER)
    if not isinstance(evidence, dict):
        evidence = {}
    verdict = verify_bundle(evidence, trusted_vkey=trusted_vkey)
    if verdict.checkpoint is None:
        return verdict
    try:
        faults = list(
            document_faults(
                document,
                verdict.statement,
                checkpoint=evidence["checkpoint"],
                commits=[item.seq for item in verdict.commitments],
            )
        )
    except canonical.CanonicalError as error:
        faults = [f"The document has no canonical form: {error}."]
    verdict.record("document", faults, "The document says what the statement says.")
    return verdict


def verify_pdf(
    source: str | Path | bytes, *, trusted_vkey: str | Iterable[str] | None = None
) -> Verdict:
    """Judge the evidence bundle in a PDF, given as a path or as bytes. Never raises."""
    try:
        data = attached_evidence(source)
    except AttachmentError as error:
        verdict = Verdict()
        verdict.record("attachment", [str(error)])
        return verdict
    verdict = verify_bundle(data, trusted_vkey=trusted_vkey)
    attached = Check("attachment", ok=True, sentence="The PDF carries one evidence bundle.")
    verdict.checks.insert(0, attached)
    verdict.note(_NOTE_PAGES)
    return verdict


def verify_file(data: bytes, *, trusted_vkey: str | Iterable[str] | None = None) -> Verdict:
    """Judge a file by its content: a PDF, a bundle, or a JSON document with one. Never raises."""
    if b"%PDF-" in data[:_PDF_HEADER_WITHIN]:
        return verify_pdf(data, trusted_vkey=trusted_vkey)
    try:
        value = decode(data)
    except BundleError:
        return verify_bundle(data, trusted_vkey=trusted_vkey)
    if isinstance(value, dict) and EVIDENCE_MEMBER in value:
        return verify_document(value, trusted_vkey=trusted_vkey)
    return verify_bundle(value, trusted_vkey=trusted_vkey)


def _check_checkpoint(verdict: Verdict, bundle: Bundle) -> Checkpoint | None:
    """The signed checkpoint, or None when nothing below it is worth checking."""
    try:
        checkpoint = verify_note(bundle.checkpoint, [bundle.vkey])
    except InvalidNoteError as error:
        verdict.record("checkpoint", [f"The signed checkpoint does not hold: {error}."])
        return None
    names = {checkpoint.origin, bundle.origin, parse_vkey(bundle.vkey).name}
    if len(names) > 1:
        listed = " and ".join(sorted(_shown(name) for name in names))
        verdict.record("checkpoint", [f"Checkpoint, key and bundle name different logs: {listed}."])
        return None
    verdict.checkpoint = checkpoint
    verdict.record(
        "checkpoint",
        [],
        f"The log {_shown(checkpoint.origin)} has signed a checkpoint of {checkpoint.size:,}"
        f" entries with the key {parse_vkey(bundle.vkey).key_id.hex()}.",
    )
    return checkpoint


def _check_key(
    verdict: Verdict,
    bundle: Bundle,
    checkpoint: Checkpoint,
    trusted_vkey: str | Iterable[str] | None,
) -> None:
    if trusted_vkey is None:
        verdict.note(_NOTE_KEY.format(vkey=_shown(bundle.vkey)))
        return
    vkeys = [trusted_vkey] if isinstance(trusted_vkey, str) else list(trusted_vkey)
    try:
        # A witness's key, under another name, does not stand for the log.
        verify_note(
            bundle.checkpoint,
            [vkey for vkey in vkeys if parse_vkey(vkey).name == checkpoint.origin],
        )
    except InvalidNoteError as error:
        verdict.record("key", [f"The key that you trust has not signed the checkpoint: {error}."])
    else:
        verdict.record("key", [], "A key that you trust has signed the checkpoint.")


def _check_entries(verdict: Verdict, bundle: Bundle, checkpoint: Checkpoint) -> list[_Read]:
    """Check leaves, proofs and chain; give the entries that could be read."""
    read: list[_Read] = []
    leaf_faults: list[str] = []
    proof_faults: list[str] = []
    for entry in bundle.entries:
        try:
            verify_inclusion(
                entry.seq, checkpoint.size, leaf_hash(entry.leaf), entry.proof, checkpoint.root
            )
        except InvalidProofError as error:
            proof_faults.append(f"Entry {entry.seq} is not in the signed log: {error}.")
        try:
            leaf, event = read_leaf(entry.seq, entry.leaf)
        except (LeafError, canonical.CanonicalError) as error:
            leaf_faults.append(f"Entry {entry.seq} is no entry of a log: {error}.")
        else:
            read.append((entry, leaf, event))
    count = f"{len(bundle.entries):,} {'entry' if len(bundle.entries) == 1 else 'entries'}"
    verdict.record("inclusion", proof_faults, f"{count} proven to be in the signed log.")
    verdict.record("leaves", leaf_faults, f"{count} well formed, with canonical events.")
    verdict.record("chain", _chain_faults(read), "Order, times and hashes of the entries agree.")
    return read


def read_leaf(seq: int, data: bytes) -> tuple[Leaf, dict[str, Any]]:
    """The leaf of entry `seq` and its event. Raises LeafError and CanonicalError."""
    leaf = unpack(data)
    if leaf.seq != seq:
        raise LeafError(f"its leaf says that it is number {leaf.seq}")
    event = canonical.decode(leaf.event)
    if not isinstance(event, dict) or canonical.encode_strict(event) != leaf.event:
        raise LeafError("its event is not a JSON object in canonical form")
    return leaf, event


def _chain_faults(read: list[_Read]) -> Iterator[str]:
    if read and read[0][1].seq == 0 and read[0][1].previous != GENESIS:
        yield "Entry 0 names an entry before it."
    for (entry, leaf, _), (_, later, _) in pairwise(read):
        if later.seq == leaf.seq + 1 and later.previous != leaf_hash(entry.leaf):
            yield f"Entry {later.seq} names another hash for the entry before it."
        if later.timestamp_us < leaf.timestamp_us:
            yield f"Entry {later.seq} is dated before entry {leaf.seq}."


def _check_complete(verdict: Verdict, bundle: Bundle, read: list[_Read]) -> list[Conclusion]:
    """What the bundle shows to be complete, of what it claims to be."""
    entries = {leaf.seq: Read(leaf.timestamp_us, event) for _, leaf, event in read}
    found: list[Conclusion] = []
    faults = []
    for claim in bundle.complete:
        try:
            found.append(conclusion(claim, entries))
        except IncompleteError as error:
            faults.append(str(error))
    if bundle.complete:
        verdict.record("complete", faults, " ".join(item.sentence for item in found))
    return found


def _check_statement(
    verdict: Verdict, bundle: Bundle, read: list[_Read], conclusions: list[Conclusion]
) -> None:
    statement = bundle.statement
    if statement is None or "purpose" not in statement:
        verdict.note(_NOTE_PURPOSE.format(purpose=_shown(bundle.purpose)))
    if statement is None:
        verdict.note(_NOTE_NO_STATEMENT)
        return
    digest = statement_digest(statement)
    verdict.commitments = [
        _commitment(item) for item in read if _committed_digest(item[2]) == digest
    ]
    faults = [*_statement_faults(bundle, statement), *statement_faults(statement, conclusions)]
    if not verdict.commitments:
        faults.insert(0, "No entry commits to the statement: the log does not vouch for it.")
    sentences = [
        f"Entry {item.seq} ({item.type} by {item.actor}, {item.time}) commits to the statement."
        for item in verdict.commitments
    ]
    verdict.record("statement", faults, " ".join(sentences))
    unproven = sorted(set(_named_entries(statement)) - set(verdict.entries))
    if unproven:
        verdict.note(_NOTE_UNPROVEN.format(entries=_listed(unproven)))


def _statement_faults(bundle: Bundle, statement: dict[str, Any]) -> Iterator[str]:
    if "purpose" in statement and statement["purpose"] != bundle.purpose:
        yield f"The statement is for another purpose than {_shown(bundle.purpose)}."
    rests_on = statement.get("entries")
    if isinstance(rests_on, list):
        present = {entry.seq for entry in bundle.entries}
        for seq in sorted({seq for seq in rests_on if type(seq) is int} - present):
            yield f"The statement rests on entry {seq}, which is missing."


def _named_entries(value: Any) -> Iterator[int]:
    """The numbers under "entry" anywhere in a statement."""
    if isinstance(value, dict):
        if type(value.get("entry")) is int:
            yield value["entry"]
        for item in value.values():
            yield from _named_entries(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named_entries(item)


def _listed(numbers: list[int]) -> str:
    more = len(numbers) - _LISTED
    listed = ", ".join(map(str, numbers[:_LISTED]))
    return f"{listed} and {more} more" if more > 0 else listed


def _committed_digest(event: dict[str, Any]) -> object:
    details = event.get("details")
    return details.get(STATEMENT_FIELD) if isinstance(details, dict) else None


def _commitment(item: _Read) -> Commitment:
    _, leaf, event = item
    return Commitment(
        seq=leaf.seq,
        type=_shown(event.get("type")),
        actor=_shown(event.get("actor")),
        time=_time(leaf.timestamp_us),
    )


def _time(timestamp_us: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=timestamp_us)).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return f"{timestamp_us} microseconds after 1970"


def _shown(value: object) -> str:
    """A value out of an unverified file, kept short."""
    return str(value)[:200]
