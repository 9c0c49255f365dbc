"""Run by test_group_commit in processes of their own: many threads append at once.

Arguments: threads, appends per thread. Writes one JSON line: the receipts of each thread.
"""

import json
import os
import sys
import threading

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

    from django.db import connection, transaction

    from accounts.queries import system_user
    from audit.actions import append_signed, record
    from audit.events import LOG_EXPORTED
    from audit.intake import NewEvent
    from audit.ledger.checkpoint import parse

    threads, rounds = int(sys.argv[1]), int(sys.argv[2])
    by = system_user("setup")
    receipts: list[list[list[object]]] = [[] for _ in range(threads)]
    faults: list[str] = []
    start = threading.Barrier(threads)

    def work(number: int) -> None:
        try:
            start.wait()
            for turn in range(rounds):
                event = NewEvent(
                    type="UPDATE",
                    actor=f"service:{number}",
                    resource="dataset:a:b",
                    id=f"{os.getpid()}-{number}-{turn}",
                    details={"turn": turn},
                )
                done = append_signed([event], by=by)
                receipt = done.receipts[0]
                covered = done.checkpoint is not None and parse(done.checkpoint.note)[0].size
                receipts[number].append([receipt.id, receipt.seq, covered])
                if turn % 5 == 0:
                    with transaction.atomic():
                        record(LOG_EXPORTED, by=by, resource="log:main", details={"size": turn})
        except Exception as exc:  # noqa: BLE001  # the test reads what went wrong
            faults.append(f"{type(exc).__name__}: {exc}")
        finally:
            connection.close()

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    sys.stdout.write(json.dumps({"receipts": receipts, "faults": faults}) + "\n")
