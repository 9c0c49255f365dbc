"""What the log tells of keys: made, destroyed, lost, and the epochs that wrapped them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from audit.events import (
    KEK_CREATED,
    KEK_DESTROYED,
    KEYS_CREATED,
    KEYS_LOST,
    SUBJECT_ERASED,
    SUBJECT_ERASURE_REPLAYED,
)
from audit.keyring import ring
from audit.ledger import canonical
from audit.ledger.leaf import unpack
from audit.models import MAIN_LOG, Entry, KeyEpoch, SubjectKey

_AT_A_TIME = 500


class Told(NamedTuple):
    """An entry that tells of a key: its number, whose key (or which epoch's), the commitment."""

    entry: int
    of: str
    commitment: str


def committed(log_id: int = MAIN_LOG) -> dict[str, str]:
    """pseudonym → commitment, as the log has it."""
    found: dict[str, str] = {}
    for _, details in _details(log_id, KEYS_CREATED.name):
        found |= {key["pseudonym"]: key["commitment"] for key in details["keys"]}
    return found


def erasures(log_id: int = MAIN_LOG) -> Iterator[Told]:
    """Every subject.erased, in order, by pseudonym."""
    for seq, details in _details(log_id, SUBJECT_ERASED.name):
        yield Told(seq, details["pseudonym"], details["commitment"])


def erasure_of(pseudonym: str, log_id: int = MAIN_LOG) -> list[tuple[int, dict[str, Any]]]:
    """(entry, facts) of subject.erased for this person; one, unless somebody tampered."""
    return list(_details(log_id, SUBJECT_ERASED.name, resource=f"subject:{pseudonym}"))


def creation_of(pseudonym: str, log_id: int = MAIN_LOG) -> Told | None:
    """The entry that announced this person's key."""
    for seq, details in _details(log_id, KEYS_CREATED.name):
        for key in details["keys"]:
            if key["pseudonym"] == pseudonym:
                return Told(seq, pseudonym, key["commitment"])
    return None


def replays_of(pseudonym: str, log_id: int = MAIN_LOG) -> list[int]:
    """The entries that tell of a restore that had brought this person's key back."""
    name = SUBJECT_ERASURE_REPLAYED.name
    return [seq for seq, _ in _details(log_id, name, resource=f"subject:{pseudonym}")]


def lost(log_id: int = MAIN_LOG) -> set[str]:
    """The pseudonyms whose keys were given up because nobody could open them."""
    return {name for _, told in _details(log_id, KEYS_LOST.name) for name in told["keys"]}


def epochs_created(log_id: int = MAIN_LOG) -> dict[int, Told]:
    return _epochs(log_id, KEK_CREATED.name)


def epochs_destroyed(log_id: int = MAIN_LOG) -> dict[int, Told]:
    return _epochs(log_id, KEK_DESTROYED.name)


def highest_epoch(log_id: int = MAIN_LOG) -> int:
    """The highest epoch that the log tells of; 0 when there is none."""
    return max([*epochs_created(log_id), *epochs_destroyed(log_id)], default=0)


def missing_keys(log_id: int = MAIN_LOG) -> list[str]:
    """The living persons, by pseudonym, whose keys the key store does not have.

    A key store that is older than the log lacks the keys that were made since.
    """
    gone = {told.of for told in erasures(log_id)} | lost(log_id)
    expected = [name for name in committed(log_id) if name not in gone]
    found: set[str] = set()
    for start in range(0, len(expected), _AT_A_TIME):
        rows = SubjectKey.objects.filter(pseudonym__in=expected[start : start + _AT_A_TIME])
        found |= set(rows.filter(destroyed_at=None).values_list("pseudonym", flat=True))
    return [name for name in expected if name not in found]


def rotation_plan() -> list[str]:
    """What a rotation of all keys would do now, in sentences."""
    living = SubjectKey.objects.filter(destroyed_at=None)
    open_epochs = list(KeyEpoch.objects.filter(destroyed_at=None).order_by("number"))
    said = []
    if len(open_epochs) > 1:
        newest = open_epochs[-1].number
        said.append(f"A rotation is under way: it would go on into epoch {newest}.")
        left, ended = living.filter(epoch__lt=newest).count(), open_epochs[:-1]
    else:
        said.append("A new epoch would be opened.")
        left, ended = living.count(), open_epochs
    said.append(f"{left:,} living keys would be wrapped anew.")
    said += [f"The key of epoch {row.number} would be destroyed." for row in ended]
    signing = [key for key in ring().keys if key.signs]
    if len(signing) > 1:
        until = signing[1].signs_until
        said.append(f"The signing key would not be rotated: an overlap is under way until {until}.")
    else:
        said.append("A new signing key would be made; the one of now would sign beside it.")
    return said


def _epochs(log_id: int, event_type: str) -> dict[int, Told]:
    return {
        told["epoch"]: Told(seq, str(told["epoch"]), told["commitment"])
        for seq, told in _details(log_id, event_type)
    }


def _details(log_id: int, event_type: str, **where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = Entry.objects.filter(log_id=log_id, type=event_type, **where).order_by("seq")
    for seq, leaf in rows.values_list("seq", "leaf").iterator(_AT_A_TIME):
        yield seq, canonical.decode(unpack(bytes(leaf)).event)["details"]
