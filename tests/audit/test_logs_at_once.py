"""Two logs that are appended to at the same time, on a database of their own."""

import json
from collections import defaultdict
from pathlib import Path

from django.db import connection

from tests.audit.installations import manage, run, run_file
from tests.audit.test_group_commit import submit

_MADE = """
actions.sequence()
actions.create_log("eu", title="Europe", by=by)
actions.sequence()
"""
_ROOTS = """
import json
from audit import proofs
for name, sizes in json.loads(sys.argv[1]).items():
    log = Log.objects.get(name=name)
    print(name, *(proofs.root_at(log.pk, size).hex() for size in sizes))
"""


def test_two_processes_append_to_two_logs_without_a_fork(installation: dict[str, str]) -> None:
    run(installation, _MADE)
    receipts = submit(installation, 2, 4, 15, "main", "eu")
    seqs: defaultdict[str, set[int]] = defaultdict(set)
    roots: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for _, seq, size, root, log in receipts:
        assert size > seq
        seqs[log].add(seq)
        # Of one size nobody was ever shown two trees.
        assert roots[log].setdefault(size, root) == root
    assert {log: len(found) for log, found in seqs.items()} == {"main": 60, "eu": 60}
    assert seqs["eu"] == set(range(60))
    # Every tree that was shown is a beginning of the log as it is now.
    asked = {log: sorted(found) for log, found in roots.items()}
    said = run(installation, _ROOTS, json.dumps(asked))
    held = {line.split()[0]: line.split()[1:] for line in said.splitlines()}
    assert held == {log: [roots[log][size] for size in sizes] for log, sizes in asked.items()}
    told = manage(installation, "verify_log", "--full")
    assert told.count("The log holds.") == 2
    assert "60 of 60 entries verified" in told


def test_neither_log_waits_while_the_other_is_held_up(installation: dict[str, str]) -> None:
    said = run_file(installation, Path(__file__).with_name("shut_gates.py"))
    told = [json.loads(line) for line in said.splitlines()]
    gates = ["signer_waits", "head_is_locked"][: 1 + (connection.vendor == "postgresql")]
    assert [(one["gate"], one["shut"]) for one in told] == [
        (gate, log) for gate in gates for log in ("main", "eu")
    ]
    for one in told:
        assert one["before"] == [{"main": "eu", "eu": "main"}[one["shut"]]], one
        assert one["after"] == ["eu", "main"], one
    assert manage(installation, "verify_log", "--full").count("The log holds.") == 2
