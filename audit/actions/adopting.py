"""Bringing subjects' keys into the key store from where they lay before."""

from collections.abc import Iterator

from django.conf import settings
from django.db import connection, connections, transaction

from audit.actions.keying import open_first_epoch
from audit.models import FIRST_EPOCH, KeyEpoch, SubjectKey
from audit.routing import KEYS

_AT_A_TIME = 500
_TABLE, _EPOCHS = "audit_subjectkey", "audit_keyepoch"
_COLUMNS = ["id", "lookup", "pseudonym", "wrapped_key", "commitment", "created_at", "destroyed_at"]


def adopt_subject_keys() -> int:
    """Bring keys that lie in the log's database into a key store of its own; how many.

    Keys of a version without epochs are of the first one, whose key is `subjects.key`. May be
    killed anywhere and run again: a key leaves its old place when it is in the new one.
    """
    store = connections[KEYS]
    if _EPOCHS not in store.introspection.table_names():
        return 0
    count = 0
    if settings.VESTIGE_KEYS_APART:
        _move_epochs()
        count = sum(_move(rows) for rows in _chunks())
    if SubjectKey.objects.exists():
        open_first_epoch()
    return count


def _move_epochs() -> None:
    if _EPOCHS in connection.introspection.table_names():
        rows = list(KeyEpoch.objects.using("default"))
        KeyEpoch.objects.using(KEYS).bulk_create(rows, ignore_conflicts=True)
        KeyEpoch.objects.using("default").all().delete()


def _chunks() -> Iterator[list[SubjectKey]]:
    if _TABLE not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA secure_delete = ON")
        known = {
            column.name for column in connection.introspection.get_table_description(cursor, _TABLE)
        }
    newer = [
        name if name in known else f"{value} AS {name}"
        for name, value in (("generation", 0), ("epoch", FIRST_EPOCH))
    ]
    statement = (
        f"SELECT {', '.join([*_COLUMNS, *newer])} FROM {_TABLE} ORDER BY id LIMIT {_AT_A_TIME}"  # noqa: S608
    )
    while rows := list(SubjectKey.objects.using("default").raw(statement)):
        yield rows


def _move(rows: list[SubjectKey]) -> int:
    old = [row.pk for row in rows]
    with transaction.atomic(using=KEYS):
        for row in rows:
            row.pk = None
            row._state.adding = True
        SubjectKey.objects.using(KEYS).bulk_create(rows, ignore_conflicts=True)
        _place_rest(rows)
    with transaction.atomic(), connection.cursor() as cursor:
        places = ", ".join(["%s"] * len(old))
        cursor.execute(f"DELETE FROM {_TABLE} WHERE id IN ({places})", old)  # noqa: S608
    return len(rows)


def _place_rest(rows: list[SubjectKey]) -> None:
    """Somebody made a new key of the same person meanwhile: both are kept, as generations."""
    there = dict(
        SubjectKey.objects.filter(pseudonym__in=[row.pseudonym for row in rows]).values_list(
            "pseudonym", "commitment"
        )
    )
    for row in rows:
        if row.pseudonym not in there:
            newest = SubjectKey.objects.filter(lookup=row.lookup).latest("generation")
            row.generation = newest.generation + 1
            SubjectKey.objects.bulk_create([row])
        elif there[row.pseudonym] != row.commitment:
            raise AssertionError(f"two keys go by the pseudonym {row.pseudonym}")
