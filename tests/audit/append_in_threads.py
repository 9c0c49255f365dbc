"""Run in processes of their own by those who test that many threads append at once.

Arguments: threads, appends per thread, and the names of logs, which the threads share out among
them (the main one, if none is named). Writes one JSON line: of each thread its receipts, as
[event id, number, size of the signed tree, its root, log].
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
    from audit.logs import MAIN, log_named

    threads, rounds = int(sys.argv[1]), int(sys.argv[2])
    logs = [log_named(name) for name in sys.argv[3:]] or [MAIN]
    by = system_user("setup")
    receipts: list[list[list[object]]] = [[] for _ in range(threads)]
    faults: list[str] = []
    start = threading.Barrier(threads)

    def work(number: int) -> None:
        try:
            log = logs[number % len(logs)]
            start.wait()
            for turn in range(rounds):
                event = NewEvent(
                    type="UPDATE",
                    actor=f"service:{number}",
                    resource="dataset:a:b",
                    id=f"{os.getpid()}-{number}-{turn}",
                    details={"turn": turn},
                )
                done = append_signed([event], by=by, log=log)
                receipt = done.receipts[0]
                tree = done.checkpoint and parse(done.checkpoint.note)[0]
                signed = [tree.size, tree.root.hex()] if tree else [-1, ""]
                receipts[number].append([receipt.id, receipt.seq, *signed, log.name])
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
