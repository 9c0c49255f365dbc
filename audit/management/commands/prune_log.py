"""Takes out what is past its retention: shows the plan, and executes it by its hash."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.actions import PruningRefusedError, plan_pruning, prune, start_pruning
from audit.actions.acting import OPERATOR
from audit.logs import LogRef
from audit.management.options import add_log, log_given
from audit.models import Pruning
from audit.retention import running_prunings


class Command(BaseCommand):
    help = "Shows what is past its retention, and prunes it by the hash of the plan."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only show what may go")
        parser.add_argument("--plan", metavar="HASH", help="execute the plan with this hash")
        add_log(parser, "prune this log, instead of the main one")

    def handle(self, *args: Any, **options: Any) -> None:
        log = log_given(options)
        try:
            if options["plan"]:
                self._execute(log, options["plan"])
                return
            for pruning_id in [] if options["dry_run"] else running_prunings(log.id):
                self._report(prune(pruning_id, self._progress))
            plan = plan_pruning(by=OPERATOR, log_id=log.id)
        except PruningRefusedError as exc:
            raise CommandError(str(exc)) from exc
        if plan is None or not self._show(plan) or options["dry_run"]:
            return
        if not sys.stdin.isatty():
            where = "" if log.is_main else f" --log {log.name}"
            self.stdout.write(
                f"To delete them: python manage.py prune_log{where} --plan {plan.plan_hash}"
            )
            return
        if (
            input("This cannot be undone. Type the first 8 digits of the hash to delete: ")
            == (plan.plan_hash[:8])
        ):
            self._execute(log, plan.plan_hash)

    def _execute(self, log: LogRef, plan_hash: str) -> None:
        try:
            started = start_pruning(plan_hash, by=OPERATOR, log_id=log.id)
        except PruningRefusedError as exc:
            raise CommandError(str(exc)) from exc
        self._report(prune(started.pk, self._progress))

    def _show(self, plan: Pruning) -> bool:
        """Whether something may go."""
        facts = plan.plan
        for name, tiles in facts["kept"].items():
            self.stdout.write(f"Kept by {name}: {tiles} tiles with entries past their retention.")
        if not facts["tiles"]:
            self.stdout.write("Nothing may go.")
            return False
        self.stdout.write(
            f"{facts['entries']:,} entries in {facts['tiles']:,} tiles may go"
            f" ({facts['bytes']:,} bytes), recorded {facts['oldest']} to {facts['newest']}:"
        )
        for name, count in facts["types"].items():
            self.stdout.write(f"  {count:>12,} {name}")
        for policy in facts["policies"]:
            self.stdout.write(
                f"  {policy['event_class']}: {policy['days']} days, {policy['ground']}"
            )
        self.stdout.write(f"Plan {plan.plan_hash}")
        return True

    def _progress(self, pruned: int, of: int) -> None:
        self.stderr.write(f"{pruned:,} of {of:,} entries pruned")

    def _report(self, pruning: Pruning) -> None:
        if pruning.fault:
            raise CommandError(pruning.fault)
        self.stdout.write(
            f"{pruning.pruned:,} entries are pruned; {pruning.kept:,} tiles were kept after all."
        )
