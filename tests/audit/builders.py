"""Logs to test with, and what a database administrator can do to them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connection, connections, transaction

from accounts.models import User
from accounts.queries import system_user
from audit import append_only
from audit.actions import append, sequence
from audit.intake import NewEvent
from audit.models import Entry
from audit.queries import stored_log_outcome
from audit.subjects import SubjectRef
from audit.verification.outcome import Outcome


def event(number: int = 0, **members: Any) -> NewEvent:
    values: dict[str, Any] = {
        "type": "UPDATE",
        "actor": f"service:etl-{number % 3}",
        "resource": f"dataset:shop:table-{number % 5}",
        "resource_version": str(number),
        "occurred_at": f"2026-01-01T00:00:{number % 60:02d}.5Z",
        "parent_id": "run-1",
        "details": {"rows": number, "digest": "ab" * 8},
    }
    return NewEvent(**values | members)


def log_with(size: int) -> User:
    """A log of this many entries, appended in several batches; two of them are sealed."""
    by = system_user("setup")
    sequence()
    append([event(n) for n in range(3)], by=by)
    sealed = [
        event(n, subject=SubjectRef("customer", f"c-{n}"), sealed={"address": f"street {n}"})
        for n in (3, 4)
    ]
    append(sealed, by=by)
    sequence()  # the subjects' keys: one entry
    append([event(n) for n in range(Entry.objects.count(), size)], by=by)
    return by


@contextmanager
def as_database_owner() -> Iterator[None]:
    """Without the triggers, which an owner of the database can drop and create again."""
    append_only.uninstall(connection)
    yield
    append_only.install(connection)


@contextmanager
def undone() -> Iterator[None]:
    """What happens inside is rolled back at the end."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@contextmanager
def around_all_tests() -> Iterator[None]:
    """A transaction around all tests of a module, each of which has its own inside; undone."""
    with ExitStack() as stack:
        for alias in connections:
            around = transaction.atomic(using=alias)
            around._from_testcase = True  # type: ignore[attr-defined]  # as Django marks its own
            stack.enter_context(around)
        yield
        for alias in connections:
            transaction.set_rollback(True, using=alias)


def sql(statement: str, *parameters: Any, using: str = "default") -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)


def verified() -> Outcome:
    return stored_log_outcome()
