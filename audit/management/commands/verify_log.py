"""Checks the installation's logs. Exit status 0 when all hold, 1 when one does not."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit.actions import OPERATOR, request_verification, run_verification, verify_new_entries
from audit.ledger.progress import Meter
from audit.logs import LogRef
from audit.management.options import add_log, logs_given
from audit.models import Verification
from audit.queries import head, latest_verification, stored_log_outcome

_POLL_SECONDS = 1.0


@dataclass
class _Found:
    """What any of the ways to check found."""

    entries: int
    size: int
    seconds: float
    ok: bool
    first_bad: int | None
    faults: list[str]
    warnings: list[str]
    notes: list[str] = field(default_factory=list)


class Command(BaseCommand):
    help = (
        "Checks chain, tree, columns, tiles, checkpoints of every log, and units' logs against what"
        " the main log holds of them; names the first bad entry."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--full",
            action="store_true",
            help="also check that every event is canonical, that the entries of each resource are"
            " counted without a gap, every commitment to heads, and that sealed facts open",
        )
        add_log(parser, "check this log only, instead of all")
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--resume",
            action="store_true",
            help="check in parts and keep how far it is; a check that was stopped goes on there",
        )
        how.add_argument(
            "--new",
            action="store_true",
            help="only what was added since the last whole check that found no fault",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        logs, holds = logs_given(options), True
        for log in logs:
            if len(logs) > 1:
                self.stdout.write(f"Log {log.name}:")
            holds &= self._check(log, options)
        if not holds:
            sys.exit(1)

    def _check(self, log: LogRef, options: dict[str, Any]) -> bool:
        began = time.monotonic()
        with Meter(sys.stderr) as meter:
            if options["resume"]:
                found = self._resumed(log, meter, full=options["full"])
            elif options["new"] and self._may_go_on(log):
                found = _of_row(verify_new_entries(log))
            else:
                found = _at_once(log, meter, full=options["full"])
        found.seconds = time.monotonic() - began
        self._report(log, found)
        return found.ok

    def _resumed(self, log: LogRef, meter: Meter, *, full: bool) -> _Found:
        row = request_verification(by=OPERATOR, full=full, log=log)
        if row.saved_entries:
            self.stderr.write(f"A check goes on from entry {row.saved_entries:,}.")
        told = False
        while run_verification(row.pk, progress=meter.show) is None:
            row.refresh_from_db()
            if row.finished_at is not None:
                break
            if not told:
                self.stderr.write("Another process has this check under way, or was killed in it.")
                told = True
            meter.show(row.entries, row.size)
            time.sleep(_POLL_SECONDS)
        row.refresh_from_db()
        return _of_row(row)

    def _may_go_on(self, log: LogRef) -> bool:
        last = latest_verification(log)
        if last is None or not last.ok:
            self.stderr.write("No whole check has found the log good: all of it is checked.")
            return False
        return True

    def _report(self, log: LogRef, found: _Found) -> None:
        for warning in found.warnings:
            self.stderr.write(f"Note: {warning}")
        self.stdout.write(
            f"{found.entries:,} of {found.size:,} entries verified in {found.seconds:.1f} s."
        )
        for note in found.notes:
            self.stdout.write(note)
        if found.ok:
            self.stdout.write("The log holds.")
            return
        for fault in found.faults:
            self.stderr.write(fault)
        bad, name = found.first_bad, "" if log.is_main else f" {log.name}"
        self.stderr.write(
            f"The log{name} does NOT hold"
            + ("." if bad is None else f": the first bad entry is number {bad}.")
        )


def _of_row(row: Verification | None) -> _Found:
    assert row is not None  # noqa: S101  # there is one to go on from
    return _Found(
        entries=row.entries,
        size=row.size,
        seconds=0,
        ok=row.ok,
        first_bad=row.first_bad,
        faults=row.faults,
        warnings=row.warnings,
    )


def _at_once(log: LogRef, meter: Meter, *, full: bool) -> _Found:
    now = head(log)
    size = now.size if now else 0

    def told(done: int, total: int) -> None:
        # Of two processes, each of which has half of the log, one tells.
        meter.show(done * size // max(1, total), size)

    outcome = stored_log_outcome(log=log, full=full, in_two=True, progress=told)
    found = _Found(
        entries=outcome.entries,
        size=outcome.size,
        seconds=0,
        ok=outcome.ok,
        first_bad=outcome.first_bad,
        faults=[str(finding) for finding in outcome.findings],
        warnings=outcome.warnings,
        notes=[f"{outcome.checkpoints} kept checkpoints hold."] if outcome.ok else [],
    )
    if outcome.pruned:
        found.notes.append(
            f"{outcome.pruned:,} of them are pruned and were followed by their hashes."
        )
    if outcome.signed is not None:
        found.notes.append(
            f"Signed checkpoint of {outcome.signed.origin} over {outcome.signed.size:,}"
            f" entries, root {outcome.signed.root.hex()}."
        )
    return found
