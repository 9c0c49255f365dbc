"""More than a thousand changes of a single byte in what is stored of the log: each is found.

Where they fall is drawn at random. VESTIGE_TEST_SEED repeats a run or makes another one.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from audit.actions import append
from audit.models import Entry
from audit.queries import covering_checkpoint
from tests.audit.builders import (
    around_all_tests,
    as_database_owner,
    event,
    log_with,
    sql,
    undone,
    verified,
)

pytestmark = pytest.mark.django_db

SIZE = 2000
SEED = int(os.environ.get("VESTIGE_TEST_SEED", "7"))

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Place:
    """A column, how often it is changed, and how its values are changed by one byte."""

    table: str
    column: str
    times: int
    change: Callable[[random.Random, Any], Any]
    keys: tuple[str, ...] = field(default=("log_id", "seq"))

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


def flipped(dice: random.Random, value: Any) -> bytes:
    data = bytearray(bytes(value))
    data[dice.randrange(len(data))] ^= dice.randrange(1, 256)
    return bytes(data)


def rewritten(dice: random.Random, value: str) -> Any:
    """The text with one byte changed; an empty one gets a byte."""
    data = value.encode()
    while True:
        made = flipped(dice, data) if data else bytes([dice.randrange(32, 127)])
        with suppress(UnicodeDecodeError):
            if "\0" not in made.decode():
                return made.decode()


def rewritten_at_will(dice: random.Random, value: str) -> Any:
    """As `rewritten`; SQLite keeps what is no UTF-8 and what has zeros in it, too."""
    data = value.encode()
    return flipped(dice, data) if data and connection.vendor == "sqlite" else rewritten(dice, value)


def respelled(dice: random.Random, value: str) -> str:
    """The text with one letter changed: an origin that is no name is another test's."""
    at = dice.randrange(len(value))
    return value[:at] + dice.choice([x for x in "abcxyz" if x != value[at]]) + value[at + 1 :]


def renumbered(dice: random.Random, value: int) -> int:
    return value ^ 1 << dice.randrange(40)


def moved(dice: random.Random, value: Any) -> Any:
    """A time: SQLite keeps it as text, PostgreSQL as a number of microseconds."""
    if connection.vendor == "sqlite":
        return rewritten(dice, value)
    return f"{1 << dice.randrange(48)} microseconds"


TILE, CHECKPOINT, HEAD = ("log_id", "level", "index"), ("id",), ("id",)
PLACES = [
    Place("audit_entry", "leaf", 120, flipped),
    Place("audit_entry", "leaf_hash", 80, flipped),
    Place("audit_entry", "seq", 20, renumbered),
    Place("audit_entry", "type", 5, rewritten_at_will),
    Place("audit_entry", "resource", 5, rewritten_at_will),
    Place("audit_tile", "hashes", 60, flipped, TILE),
    Place("audit_tile", "root", 30, flipped, TILE),
    Place("audit_tile", "index", 10, renumbered, TILE),
    Place("audit_checkpoint", "root", 20, flipped, CHECKPOINT),
    Place("audit_checkpoint", "note", 30, rewritten, CHECKPOINT),
    Place("audit_checkpoint", "size", 15, renumbered, CHECKPOINT),
    Place("audit_log", "origin", 10, respelled, HEAD),
    Place("audit_log", "last_hash", 15, flipped, HEAD),
    Place("audit_log", "frontier", 30, flipped, HEAD),
    Place("audit_log", "note", 30, rewritten, HEAD),
    Place("audit_log", "size", 10, renumbered, HEAD),
    Place("audit_log", "note_size", 10, renumbered, HEAD),
    Place("audit_log", "last_timestamp_us", 10, renumbered, HEAD),
]  # fmt: skip


COLUMNS = [
    *(
        Place("audit_entry", name, 60, rewritten)
        for name in (
            "event_id", "type", "actor", "by", "resource", "resource_version", "parent_id",
            "subject",
        )
    ),
    Place("audit_entry", "occurred_at", 60, moved),
    Place("audit_entry", "recorded_at", 60, moved),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def log(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """One log for all changes, each of which is undone, with some kept checkpoints."""
    keys = tmp_path_factory.mktemp("keys")
    with django_db_blocker.unblock(), override_settings(VESTIGE_KEYS=keys), around_all_tests():
        by = log_with(300)
        for size in (301, 700, 1_280, SIZE):
            append([event(n) for n in range(Entry.objects.count(), size)], by=by)
            covering_checkpoint()
        yield


def test_there_are_more_than_a_thousand_changes() -> None:
    assert sum(place.times for place in [*PLACES, *COLUMNS]) > 1_000


def test_the_log_holds_without_a_change() -> None:
    assert verified().findings == []


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_changed_byte_is_found(place: Place) -> None:
    dice = random.Random(f"{SEED} {place}")  # noqa: S311  # which byte
    rows = stored(place)
    with undone(), as_database_owner():
        for _ in range(place.times):
            keys, value = dice.choice(rows)
            with undone():
                change = write_changed(dice, place, keys, value)
                outcome = verified()
            where = f"seed {SEED}, {place} of {keys}: {value!r} became {change!r}"
            assert not outcome.ok, where
            if place.table == "audit_entry" and place.column != "seq":
                assert outcome.first_bad == keys[-1], where


@pytest.mark.parametrize("place", COLUMNS, ids=str)
def test_a_changed_byte_of_a_column_is_found_beside_others(place: Place) -> None:
    """A column does not break the chain, so that one check must name many changes, and no more."""
    dice = random.Random(f"{SEED} {place}")  # noqa: S311  # which byte
    rows = stored(place)
    with undone(), as_database_owner():
        chosen = dice.sample(rows, place.times)
        for keys, value in chosen:
            write_changed(dice, place, keys, value)
        found = {finding.seq for finding in verified().findings}
    missed = [(keys, value) for keys, value in chosen if keys[-1] not in found]
    assert not missed, f"seed {SEED}, {place}: {missed}"
    assert found == {keys[-1] for keys, _ in chosen}


UNREADABLE = [
    ("audit_log", "note", "CAST(x'ff' AS TEXT)"),
    ("audit_checkpoint", "note", "CAST(x'ff' AS TEXT)"),
    ("audit_log", "origin", "CAST(x'ff' AS TEXT)"),
    ("audit_log", "origin", "'a+b'"),
]


@pytest.mark.parametrize(("table", "column", "value"), UNREADABLE)
def test_text_above_the_entries_that_cannot_be_read_is_a_finding(
    table: str, column: str, value: str
) -> None:
    if connection.vendor != "sqlite" and value.startswith("CAST"):
        pytest.skip("PostgreSQL keeps no text that is no UTF-8")
    with undone(), as_database_owner():
        sql(f"UPDATE {table} SET {column} = {value}")  # noqa: S608
        assert not verified().ok


def stored(place: Place) -> list[tuple[Row, Any]]:
    """(key, value) of all rows that have a value."""
    names = ", ".join(f'"{name}"' for name in place.keys)
    # The cast leaves text as it is, where Django would make a time of it.
    value = f'CAST("{place.column}" AS TEXT)' if place.change is moved else f'"{place.column}"'
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT {names}, {value} FROM {place.table} WHERE "{place.column}" IS NOT NULL'  # noqa: S608
            f" ORDER BY {names}"
        )
        return [(row[:-1], row[-1]) for row in cursor.fetchall()]


def write_changed(dice: random.Random, place: Place, keys: Row, value: Any) -> Any:
    """Make a change that the database's own constraints let through."""
    while True:
        change = place.change(dice, value)
        try:
            with transaction.atomic():
                write(place, keys, change)
        except IntegrityError:
            continue
        return change


def write(place: Place, keys: Row, change: Any) -> None:
    given = "%s"
    if place.change in (rewritten, rewritten_at_will, moved) and connection.vendor == "sqlite":
        given = "CAST(%s AS TEXT)"
    elif place.change is moved:
        given = f'"{place.column}" + %s::interval'
    where = " AND ".join(f'"{name}" = %s' for name in place.keys)
    sql(
        f'UPDATE {place.table} SET "{place.column}" = {given} WHERE {where}',  # noqa: S608
        change, *keys,
    )  # fmt: skip
