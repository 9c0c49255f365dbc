"""Sends the same events from many threads at once; run by test_concurrency in its own process.

Prints {"same": …, "errors": […]}: whether the graph is what one sender in order would have made.
"""

import json
import os
import random
import sys
import threading
from pathlib import Path
from typing import Any

import django

THREADS = 6
TRIES = 20


def events() -> list[dict[str, Any]]:
    from tests.lineage.builders import dataset, official, run_event

    chance = random.Random(3)  # noqa: S311  # orders, not secrets
    found = official("openlineage_v2")[:30]
    for number in range(40):
        some = [
            dataset(f"t{chance.randrange(5)}", chance.choice(["", "", "1", "2"])) for _ in range(4)
        ]
        for kind, minutes in (
            ("START", chance.randrange(300)),
            ("COMPLETE", chance.randrange(300)),
        ):
            found.append(
                run_event(
                    "j", f"r{number}", kind=kind, minutes=minutes,
                    inputs=some[:2], outputs=some[2:] if kind == "COMPLETE" else [],
                )
            )  # fmt: skip
    return found


def main(home: Path) -> dict[str, Any]:
    from django.db import connection

    from accounts.queries import system_user
    from audit import sequencer
    from audit.actions import recording
    from tests.lineage.builders import graph_state, outcomes

    connection.settings_dict["TEST"]["NAME"] = (
        str(home / "race.sqlite3") if connection.vendor == "sqlite" else "vestige_race"
    )
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    by = system_user("setup")
    told = events()
    (alone,) = outcomes(told, [range(len(told))], by)
    bodies = [json.dumps(event).encode() for event in told] * 2
    random.Random(5).shuffle(bodies)  # noqa: S311
    errors: list[str] = []
    threads = [
        threading.Thread(target=send, args=(bodies[n::THREADS], by, errors)) for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same = graph_state() == alone
    recording._soon.finish()
    sequencer.finish()  # the connection of its thread would keep the database
    connection.creation.destroy_test_db(str(connection.settings_dict["NAME"]), verbosity=0)
    return {"same": same, "errors": errors, "edges": len(alone["edges"])}


def send(bodies: list[bytes], by: Any, errors: list[str]) -> None:
    from django.db import connection

    try:
        for body in bodies:
            _send(body, by)
    except Exception as exc:  # noqa: BLE001  # handed to the test
        errors.append(repr(exc))
    finally:
        connection.close()


def _send(body: bytes, by: Any) -> None:
    from django.db import OperationalError

    from lineage.actions import receive
    from lineage.intake.openlineage import decode

    for _ in range(TRIES):
        try:
            receive(body, decode(body), protocol="openlineage", by=by)
        except OperationalError:  # the door answers 503, and the client sends again
            continue
        return
    raise AssertionError(f"refused {TRIES} times")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
