"""Statements that are held back until the COMMIT of their transaction, on PostgreSQL."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)

from accounts.models import User
from audit import prepared
from audit.actions import record
from audit.events import define
from audit.models import Pending
from audit.prepared import Statement, read, run_last
from tests.audit.installations import own_database

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="a way of PostgreSQL alone"),
]
NOTE = Statement("note", "INSERT INTO notes VALUES ($1::text)")
COUNT = Statement("count", "SELECT count(*) FROM notes")
MOVED = define("test.moved_last", "rows")


@pytest.fixture
def database() -> Iterator[str]:
    """A database with a table of notes, none of which may come twice, as the default one."""
    with own_database() as url:
        with psycopg.connect(url) as owner:
            owner.execute("CREATE TABLE notes (text text UNIQUE)")
        ours: Any = connections[DEFAULT_DB_ALIAS]
        other = ours.copy()
        other.settings_dict["NAME"] = urlsplit(url).path[1:]
        connections[DEFAULT_DB_ALIAS] = other
        try:
            yield url
        finally:
            other.close()
            connections[DEFAULT_DB_ALIAS] = ours


def notes(url: str) -> list[str]:
    """Those that are committed, as another connection sees them."""
    with psycopg.connect(url) as other:
        return [text for (text,) in other.execute("SELECT text FROM notes ORDER BY text")]


def note(text: str) -> None:
    run_last(NOTE, [text.encode()])


def write(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (%s)", [text])


def change(*last: str, and_then: Callable[[], object] = lambda: None) -> None:
    """A transaction that writes, and has something held when it ends."""
    with transaction.atomic():
        write("change")
        for text in last:
            note(text)
        and_then()


class UndoneError(Exception):
    """Why a transaction is rolled back."""


def undone(work: Callable[[], object]) -> None:
    with transaction.atomic():
        work()
        raise UndoneError


def held() -> int:
    default: Any = connections[DEFAULT_DB_ALIAS]
    return len(default.held)


@pytest.fixture(params=["prepared", "not prepared"])
def _both_ways(request: pytest.FixtureRequest, settings: Any) -> None:
    settings.VESTIGE_PREPARE_STATEMENTS = request.param == "prepared"


@pytest.mark.usefixtures("_both_ways")
def test_what_is_held_is_committed_with_its_transaction(database: str) -> None:
    for turn in ("1", "2"):
        with transaction.atomic():
            write(f"change {turn}")
            note(f"held {turn}")
            note(f"held too {turn}")
            assert held() == 2
            assert f"held {turn}" not in notes(database)
    assert held() == 0
    assert notes(database) == sorted(
        f"{text} {turn}" for turn in "12" for text in ("change", "held", "held too")
    )


def test_outside_of_a_transaction_nothing_is_held(database: str) -> None:
    note("at once")
    assert notes(database) == ["at once"]


def test_as_the_first_statement_of_a_transaction_it_begins_it(database: str) -> None:
    with pytest.raises(UndoneError):
        undone(lambda: note("first"))
    assert notes(database) == []


def test_who_looks_sees_what_was_held(database: str) -> None:
    with transaction.atomic():
        write("change")
        note("held")
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM notes")
            assert cursor.fetchone() == (2,)
        note("held again")
        assert int.from_bytes(read(COUNT, [])[0][0], "big") == 3
    assert notes(database) == ["change", "held", "held again"]


def test_a_rollback_takes_along_what_was_held(database: str) -> None:
    def both() -> None:
        write("change")
        note("held")

    with pytest.raises(UndoneError):
        undone(both)
    assert held() == 0
    with transaction.atomic():
        write("kept")
        with pytest.raises(UndoneError):
            undone(lambda: note("held in a savepoint"))
        note("held")
    assert notes(database) == ["held", "kept"]


def test_a_savepoint_that_fails_takes_along_what_was_held_in_it(database: str) -> None:
    with transaction.atomic():
        write("kept")
        with connection.cursor() as earlier:
            with pytest.raises(ProgrammingError):
                change("held", and_then=lambda: earlier.execute("SELECT nonsense"))
            earlier.execute("SELECT 1")
    assert notes(database) == ["kept"]


def test_where_it_cannot_be_written_nothing_is_committed(database: str) -> None:
    note("twice")
    with pytest.raises(IntegrityError):
        change("held", "twice")
    assert notes(database) == ["twice"]
    change("held")  # the connection can be used as before
    assert notes(database) == ["change", "held", "twice"]


def test_a_commit_that_is_refused_is_an_error(database: str) -> None:
    with psycopg.connect(database) as owner:
        owner.execute("CREATE TABLE later (text text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        owner.execute("INSERT INTO later VALUES ('there')")
    later = Statement("later", "INSERT INTO later VALUES ('there')")
    with pytest.raises(IntegrityError):
        change("held", and_then=lambda: run_last(later, []))
    assert notes(database) == []


def test_a_connection_that_is_lost_before_the_commit_is_an_error(database: str) -> None:
    with (
        psycopg.connect(database, autocommit=True) as admin,
        pytest.raises(OperationalError),
    ):
        change(
            "held",
            and_then=lambda: admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ),
        )
    assert notes(database) == []
    connections[DEFAULT_DB_ALIAS].close()
    note("afterwards")
    assert notes(database) == ["afterwards"]


def test_who_is_interrupted_in_a_commit_leaves_no_connection(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepared, "_piped", interrupt)
        with pytest.raises(OperationalError) as failed:  # Django wants to go on with it
            change("held")
    before: Any = failed.value.__context__
    assert isinstance(before.__context__, KeyboardInterrupt)
    connections[DEFAULT_DB_ALIAS].close()
    note("afterwards")
    assert "afterwards" in notes(database)  # what became of the others is not known


def test_a_large_one_goes_out_in_parts(database: str) -> None:
    with psycopg.connect(database) as owner:
        owner.execute("ALTER TABLE notes DROP CONSTRAINT notes_text_key")
    text = "x" * 5_000_000  # more than a socket takes at once
    change(text, text)
    assert [len(found) for found in notes(database)] == [6, len(text), len(text)]


def test_a_recorded_event_is_held_until_the_commit(analyst: User) -> None:
    with transaction.atomic():
        analyst.save()
        event_id = record(MOVED, by=analyst, resource="dataset:a:b", details={"rows": 1})
        assert held() == 1
        assert Pending.objects.filter(event_id=event_id).exists()
        assert held() == 0
