"""Checks the subjects' keys against the log, and that what is sealed under living keys opens."""

from collections.abc import Iterator
from typing import Any

from audit.events import KEYS_CREATED, SUBJECT_ERASED
from audit.ledger import canonical
from audit.ledger.leaf import unpack
from audit.models import Entry, Pending, SubjectKey
from audit.sealing import LiveKey, SealError, unseal, unwrap
from audit.verification.outcome import Finding

_LOG = "main"
_AT_A_TIME = 500


def findings(log_id: int) -> Iterator[Finding]:
    """What is wrong with keys and sealed facts. The log itself must have been verified before."""
    committed = _committed(log_id)
    erased = _erased(log_id)
    waits = Pending.objects.filter(log_id=log_id).exists()
    for row in SubjectKey.objects.order_by("pk").iterator(_AT_A_TIME):
        logged = committed.get(row.pseudonym)
        if logged != row.commitment and not (logged is None and waits):
            yield Finding(None, f"the log knows another key of subject {row.pseudonym}, or none.")
        if row.destroyed_at is not None:
            if row.pseudonym not in erased and not waits:
                yield Finding(None, f"no entry tells that {row.pseudonym} was erased.")
            continue
        try:
            key = unwrap(row)
        except SealError as exc:
            yield Finding(None, str(exc))
        else:
            yield from _unreadable(log_id, key)


def _committed(log_id: int) -> dict[str, str]:
    """pseudonym → commitment, as the log has it."""
    found: dict[str, str] = {}
    for event in _events(log_id, KEYS_CREATED.name):
        found |= {key["pseudonym"]: key["commitment"] for key in event["details"]["keys"]}
    return found


def _erased(log_id: int) -> set[str]:
    return {event["details"]["pseudonym"] for event in _events(log_id, SUBJECT_ERASED.name)}


def _events(log_id: int, event_type: str) -> Iterator[dict[str, Any]]:
    rows = Entry.objects.filter(log_id=log_id, type=event_type).order_by("seq")
    for leaf in rows.values_list("leaf", flat=True).iterator(_AT_A_TIME):
        yield canonical.decode(unpack(bytes(leaf)).event)


def _unreadable(log_id: int, key: LiveKey) -> Iterator[Finding]:
    rows = Entry.objects.filter(log_id=log_id, subject=key.pseudonym).order_by("seq")
    for seq, leaf in rows.values_list("seq", "leaf").iterator(_AT_A_TIME):
        event = canonical.decode(unpack(bytes(leaf)).event)
        if "sealed" not in event:
            continue
        try:
            unseal(event["sealed"], key=key, log=_LOG, event_id=event["id"])
        except SealError as exc:
            yield Finding(seq, str(exc))
