"""Checks the installation's log. Exit status 0 when it holds, 1 when it does not."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit.queries import stored_log_outcome


class Command(BaseCommand):
    help = "Checks chain, tree, columns, tiles, checkpoints of the log; names the first bad entry."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--full",
            action="store_true",
            help="also check that every event is canonical, that the entries of each resource are"
            " counted without a gap, every commitment to heads, and that sealed facts open",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        outcome = stored_log_outcome(full=options["full"], in_two=True)
        for warning in outcome.warnings:
            self.stderr.write(f"Note: {warning}")
        seconds = (outcome.finished_at - outcome.started_at).total_seconds()
        self.stdout.write(
            f"{outcome.entries:,} of {outcome.size:,} entries verified in {seconds:.1f} s;"
            f" {outcome.checkpoints} kept checkpoints hold."
        )
        if outcome.signed is not None:
            self.stdout.write(
                f"Signed checkpoint of {outcome.signed.origin} over {outcome.signed.size:,}"
                f" entries, root {outcome.signed.root.hex()}."
            )
        if outcome.ok:
            self.stdout.write("The log holds.")
            return
        for finding in outcome.findings:
            self.stderr.write(str(finding))
        bad = outcome.first_bad
        self.stderr.write(
            "The log does NOT hold"
            + ("." if bad is None else f": the first bad entry is number {bad}.")
        )
        sys.exit(1)
