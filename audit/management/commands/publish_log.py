"""Publishes checkpoints and tiles of the logs where VESTIGE_PUBLISH says, now."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.actions import PublicationFailedError, publication_place, publish_now
from audit.ledger.progress import Meter
from audit.logs import LogRef
from audit.management.options import add_log, logs_given
from audit.queries import latest_checkpoint


class Command(BaseCommand):
    help = (
        "Writes what is new of checkpoint and tiles to the place that VESTIGE_PUBLISH names; a"
        " unit's log lies below it, by its name."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_log(parser, "publish this log only, instead of all")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.VESTIGE_PUBLISH:
            raise CommandError("Set VESTIGE_PUBLISH to /a/folder or s3://bucket/prefix.")
        refused = []
        for log in logs_given(options):
            if not options["log"] and not log.is_main and latest_checkpoint(log) is None:
                self.stdout.write(f"The log {log.name} is empty: there is nothing to publish yet.")
                continue
            try:
                self._publish(log)
            except PublicationFailedError as exc:  # keeps none of the others from it
                refused.append(str(exc) if log.is_main else f"Log {log.name}: {exc}")
        if refused:
            raise CommandError("\n".join(refused))

    def _publish(self, log: LogRef) -> None:
        with Meter(sys.stderr, what="files") as meter:
            made = publish_now(log.id, progress=meter.show)
        if made is None:
            raise PublicationFailedError("Another process publishes just now.")
        self.stdout.write(
            f"{publication_place(log)} covers {made.size:,} entries; {made.files:,} files were"
            f" written. Root {made.root.hex()}."
        )
