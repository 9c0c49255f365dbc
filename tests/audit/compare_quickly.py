"""Run by test_quick_comparison in a process of its own: which entries are not confirmed at once.

Outside of transactions, so that PostgreSQL's rows come as Arrow tables, as in production.
"""

import json
import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

    from django.db import connection

    from accounts.queries import system_user
    from audit import append_only
    from audit.actions import append
    from audit.models import Entry
    from audit.verification import stored
    from tests.audit.builders import event, log_with, sql, verified
    from tests.audit.test_verification import COLUMNS

    SIZE = 140

    def unconfirmed() -> list[int]:
        chunks = list(stored.entries(1, 0, Entry.objects.count()))
        return [values["seq"] for chunk in chunks for values in chunk.unconfirmed(len(chunk))]

    def found() -> list[object]:
        outcome = verified()
        return [outcome.first_bad, [str(finding) for finding in outcome.findings]]

    log_with(SIZE)
    sealed = list(Entry.objects.exclude(subject="").order_by("seq").values_list("seq", flat=True))
    said: dict[str, object] = {"sealed": sealed, "whole": unconfirmed(), "size": SIZE}
    escaped = [event(1, actor='the "etl"'), event(2, resource="a\\b"), event(3, actor="Zoë")]
    append(escaped, by=system_user("setup"))
    said |= {"escaped": unconfirmed(), "before": found()}

    append_only.uninstall(connection)
    sql("CREATE TABLE kept AS SELECT * FROM audit_entry WHERE seq = 123")

    def restore(column: str) -> None:
        sql(f'UPDATE audit_entry SET "{column}" = (SELECT "{column}" FROM kept) WHERE seq = 123')  # noqa: S608

    edited = []
    for column, value in COLUMNS:
        sql(f'UPDATE audit_entry SET "{column}" = %s WHERE seq = 123', value)  # noqa: S608
        edited.append([column, *found()])
        restore(column)
    # The bytes that such columns foretell are those of the leaf; the columns are not.
    sql(
        """UPDATE audit_entry SET resource = resource || '","resource_version":"'"""
        " || resource_version, resource_version = '' WHERE seq = 123"
    )
    said |= {"edited": edited, "cut": found()}
    restore("resource")
    restore("resource_version")
    said["after"] = found()
    sys.stdout.write(json.dumps(said))
