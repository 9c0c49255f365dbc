"""Run by test_pruning_crashes in processes of their own. Writes one JSON line of what it found.

start                    a log with old entries, a policy, and a pruning that was started
prune WHEN NUMBER        goes on with it, and dies before or after the commit of a transaction
prune                    goes on with it to its end
two                      a log worth two processes, pruned beyond its middle, and verified
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

    from django.db import connections, transaction

    from accounts.queries import system_user
    from audit.actions import (
        append,
        plan_pruning,
        prune,
        pruning,
        sequence,
        set_policy,
        start_pruning,
    )
    from audit.actions.acting import OPERATOR
    from audit.models import Entry, PrunedRange, Pruning
    from audit.queries import stored_log_outcome
    from audit.verification import pair
    from tests.audit.builders import event
    from tests.audit.past import days_ago

    by = system_user("setup")
    pruning._LEASE = timedelta(0)  # what the dead one has claimed is free at once

    def start(entries: int, kept: int) -> None:
        with days_ago(400):
            for first in range(0, entries, 10_000):
                count = min(10_000, entries - first)
                append([event(first + n, type="READ") for n in range(count)], by=by)
        append([event(n) for n in range(kept)], by=by)
        set_policy("READ", 365, ground="Contract 12", by=by)
        plan = plan_pruning(by=OPERATOR)
        assert plan is not None
        start_pruning(plan.plan_hash, by=OPERATOR)

    def go_on(when: str = "", number: int = 0) -> None:
        ended = 0

        @contextmanager
        def dying(*arguments: Any, **how: Any) -> Iterator[None]:
            nonlocal ended
            with transaction.atomic(*arguments, **how):
                yield
                ended += 1
                if (when, number) == ("before", ended):
                    os.kill(os.getpid(), signal.SIGKILL)
            if (when, number) == ("after", ended):
                os.kill(os.getpid(), signal.SIGKILL)

        with patch.object(pruning, "transaction", SimpleNamespace(atomic=dying)):
            prune(Pruning.objects.get().pk)

    def report() -> None:
        sequence()
        outcome = stored_log_outcome()
        run = Pruning.objects.get()
        said = {
            "faults": [str(finding) for finding in outcome.findings],
            "state": run.state,
            "phase": run.phase,
            "entries": outcome.entries,
            "size": outcome.size,
            "pruned": run.pruned,
            "told": Entry.objects.filter(type="log.pruned").count(),
            "ranges": list(PrunedRange.objects.order_by("start").values_list("start", "stop")),
            "first": Entry.objects.order_by("seq").values_list("seq", flat=True).first(),
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    def verify_in_two() -> None:
        """Says whether it was really done by two, and what they found."""
        halves: list[bool] = []
        by_two = pair._by_two

        def counted(*arguments: Any) -> Any:
            found = by_two(*arguments)
            halves.append(found is not None)
            return found

        connections.close_all()
        with patch.object(pair, "_by_two", counted):
            outcome = stored_log_outcome(in_two=True)
        said = {
            "by_two": halves,
            "faults": [str(finding) for finding in outcome.findings],
            "entries": outcome.entries,
            "size": outcome.size,
            "pruned": outcome.pruned,
        }
        sys.stdout.write(json.dumps(said) + "\n")

    step, *arguments = sys.argv[1:]
    if step == "start":
        start(600, 50)
    elif step == "prune":
        go_on(arguments[0], int(arguments[1])) if arguments else go_on()
    elif step == "two":
        start(50_000, 30_000)
        go_on()
        sys.exit()
    elif step == "verify in two":
        verify_in_two()
        sys.exit()
    report()
