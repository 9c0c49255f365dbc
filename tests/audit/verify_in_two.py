"""Run by test_verification_in_two in a process of its own: a log worth two processes, attacked.

Writes one JSON line for each attack: the first bad entry, and how many entries were verified.
"""

import json
import multiprocessing
import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

    from django.db import connection, connections

    from accounts.queries import system_user
    from audit import append_only
    from audit.actions import append
    from audit.models import Entry, Tile
    from audit.queries import stored_log_outcome
    from tests.audit.builders import event, sql

    by = system_user("setup")
    for start in range(0, 70_000, 10_000):
        append([event(start + number) for number in range(10_000)], by=by)

    def report(name: str) -> None:
        """In a process of its own, as the command is."""
        connections.close_all()
        process = multiprocessing.get_context("fork").Process(target=check, args=[name])
        process.start()
        process.join()

    def check(name: str) -> None:
        assert "polars" not in sys.modules
        outcome = stored_log_outcome(in_two=True)
        said = {"attack": name, "ok": outcome.ok, "first_bad": outcome.first_bad}
        sys.stdout.write(json.dumps(said | {"entries": outcome.entries}) + "\n")
        sys.stdout.flush()

    report("none")
    append_only.uninstall(connection)
    for seq in (5, 32_767, 32_768, 69_999):
        leaf = bytes(Entry.objects.get(seq=seq).leaf)
        sql("UPDATE audit_entry SET leaf = %s WHERE seq = %s", leaf[:-9] + b"!" + leaf[-8:], seq)
        report(f"leaf {seq}")
        sql("UPDATE audit_entry SET leaf = %s WHERE seq = %s", leaf, seq)
    sql("UPDATE audit_entry SET actor = 'x' WHERE seq = 50000")
    report("column 50000")
    sql("UPDATE audit_entry SET actor = %s WHERE seq = 50000", "service:etl-2")
    root = bytes(Tile.objects.get(level=0, index=200).root)
    tile = 'UPDATE audit_tile SET root = %s WHERE level = 0 AND "index" = 200'
    sql(tile, bytes(32))
    report("root of tile 200")
    sql(tile, root)
    report("undone")
