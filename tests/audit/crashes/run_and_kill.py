"""Run by test_crashes in a process of its own, on the database of an installation.

For each point a forked process appends, says what was acknowledged, and is killed there; then
another one goes on. Writes one JSON line for each point: what was found afterwards.

    python -m tests.audit.crashes.run_and_kill points | random SEED ROUNDS | append EVENTS
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import django

Acknowledge = Callable[[Any], None]


def in_a_fork(work: Callable[[Acknowledge], None], kill_after: int = -1) -> Any:
    """What a forked process acknowledges, line by line, and how it ended.

    It is killed at some moment after it has acknowledged so many lines.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)

        def acknowledge(what: Any) -> None:
            os.write(writing, json.dumps(what).encode() + b"\n")

        try:
            work(acknowledge)
        except BaseException as exc:  # noqa: BLE001  # the parent reads what went wrong
            acknowledge({"fault": f"{type(exc).__name__}: {exc}"})
            os._exit(1)
        os._exit(0)
    os.close(writing)
    said = []
    with os.fdopen(reading) as lines:
        for number, line in enumerate(lines):
            if line.endswith("\n"):
                said.append(json.loads(line))
            if number == kill_after:
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return said, os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

    from django.db import connection, transaction

    from accounts.queries import system_user
    from audit import intake, signer
    from audit.actions import append, append_signed, record, sequence
    from audit.events import LOG_EXPORTED
    from audit.group_commit import Receipt
    from audit.intake import NewEvent
    from audit.ledger.checkpoint import verify_note
    from audit.ledger.tree import verify_consistency
    from audit.models import MAIN_LOG, Entry, Log, Pending
    from audit.proofs import consistency
    from audit.queries import covering_checkpoint, stored_log_outcome, verifier_key
    from tests.audit.crashes.points import BATCH, POINTS, Point

    signer._REMEMBER_EVERY_SECONDS = 0.0  # else a note is kept once a second, and points are missed

    def event(name: str) -> NewEvent:
        return NewEvent(type="UPDATE", actor="service:etl", resource="dataset:a:b", id=name)

    def batch(name: str) -> list[NewEvent]:
        return [event(f"{name}-{number}") for number in range(BATCH)]

    def said_of(receipts: list[Receipt]) -> list[list[Any]]:
        return [[receipt.id, receipt.seq, receipt.leaf_hash.hex()] for receipt in receipts]

    def die_at(point: Point, name: str) -> Callable[[Acknowledge], None]:
        def work(acknowledge: Acknowledge) -> None:
            by = system_user("setup")
            for number in range(2):
                done = append_signed([event(f"{name}-before-{number}")], by=by)
                acknowledge(said_of(done.receipts))
            point.arm()
            if point.path == "record":
                with transaction.atomic():
                    record(LOG_EXPORTED, by=by, resource="log:main", event_id=f"{name}-0")
                time.sleep(30)  # another thread sequences it, and dies with us
            elif point.path == "hold":
                intake.new_id = lambda: f"{name}-0"
                with transaction.atomic():
                    by.save()
                    record(LOG_EXPORTED, by=by, resource="log:main")
            elif point.path == "keep":
                append(batch(name), by=by)
                covering_checkpoint()
            else:
                append(batch(name), by=by)
            acknowledge("survived")

        return work

    def append_until_killed(name: str) -> Callable[[Acknowledge], None]:
        def work(acknowledge: Acknowledge) -> None:
            by = system_user("setup")

            def one(thread: int) -> None:
                for turn in range(10_000):
                    receipts = append([event(f"{name}-{thread}-{turn}")], by=by)
                    acknowledge(said_of(receipts))
                    if turn % 3 == 0:
                        with transaction.atomic():
                            record(LOG_EXPORTED, by=by, resource="log:main")

            threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return work

    def go_on(name: str, note: str, acknowledged: list[list[Any]]) -> Callable[..., None]:
        """A fresh process: what is there, the sender's repetition, and what holds afterwards."""

        def work(acknowledge: Acknowledge) -> None:
            found: dict[str, Any] = {
                "in_log": Entry.objects.filter(event_id__startswith=f"{name}-")
                .exclude(event_id__contains="before").count(),
                "waiting": Pending.objects.count(),
                "holds_before": str(stored_log_outcome().findings),
            }  # fmt: skip
            by = system_user("setup")
            sequence()
            placed = Entry.objects.filter(event_id=f"{name}-0")
            found["placed"] = placed.count()
            # What was cut off is sent again, as its sender would; a recorded event has no sender.
            recorded = placed.filter(type=LOG_EXPORTED.name).exists()
            events = batch(f"{name}-more" if recorded else name)
            receipts, again = (append(events, by=by) for _ in range(2))
            head = Log.objects.get(pk=MAIN_LOG)
            outcome = stored_log_outcome(full=True)
            stored = {
                row.event_id: [row.event_id, row.seq, bytes(row.leaf_hash).hex()]
                for row in Entry.objects.filter(event_id__in=[a[0] for a in acknowledged])
            }
            seqs = Entry.objects.order_by("seq").values_list("seq", flat=True)
            found |= {
                "lost": [one for one in acknowledged if stored.get(one[0]) != one],
                "repeated": receipts == again,
                "dense": list(seqs) == list(range(head.size)),
                "still_waiting": Pending.objects.count(),
                "refusal": head.refusal,
                "signed": head.note_size == head.size,
                "findings": [str(finding) for finding in outcome.findings],
                "entries": outcome.entries,
                "note": head.note,
                "extends": extends(note, head),
            }
            acknowledge(found)

        return work

    def extends(note: str, head: Log) -> bool:
        """Whether the log still grows from the note that was last seen outside."""
        if note:
            old, new = (verify_note(text, [verifier_key()]) for text in (note, head.note))
            proof = consistency(MAIN_LOG, old.size, new.size)
            verify_consistency(old.size, new.size, old.root, new.root, proof)
        return True

    def rounds() -> Iterator[tuple[str, Callable[[Acknowledge], None], int]]:
        if sys.argv[1] == "points":
            for number, point in enumerate(POINTS):
                if point.locked is False and connection.vendor != "postgresql":
                    continue  # SQLite has the lock only
                yield point.name, die_at(point, f"p{number}"), -1
            return
        dice = random.Random(int(sys.argv[2]))  # noqa: S311  # when to kill
        for number in range(int(sys.argv[3])):
            yield f"r{number}", append_until_killed(f"r{number}"), dice.randrange(5, 60)

    if sys.argv[1] == "append":
        for _ in range(int(sys.argv[2])):
            append([event("")], by=system_user("setup"))
        now = Log.objects.get(pk=MAIN_LOG)
        shown = {"size": now.size, "note_size": now.note_size, "refusal": now.refusal}
        sys.stdout.write(json.dumps(shown) + "\n")
        sys.exit()
    note = ""
    for number, (name, work, kill_after) in enumerate(rounds()):
        said, ended = in_a_fork(work, kill_after)
        prefix = f"{sys.argv[1][0]}{number}"
        acknowledged = [one for line in said if isinstance(line, list) for one in line]
        (found, *more), status = in_a_fork(go_on(prefix, note, acknowledged))
        note = found.get("note", note)
        said = [line for line in said if not isinstance(line, list)]
        result = found | {"name": name, "ended": ended, "went_on": status, "said": said + more}
        sys.stdout.write(json.dumps(result | {"acknowledged": len(acknowledged)}) + "\n")
        sys.stdout.flush()
    connection.close()
