"""Publishes the log's checkpoint and tiles where VESTIGE_PUBLISH says, now."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit.actions import PublicationFailedError, publish_now
from audit.ledger.progress import Meter


class Command(BaseCommand):
    help = "Writes what is new of checkpoint and tiles to the place that VESTIGE_PUBLISH names."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.VESTIGE_PUBLISH:
            raise CommandError("Set VESTIGE_PUBLISH to /a/folder or s3://bucket/prefix.")
        try:
            with Meter(sys.stderr, what="files") as meter:
                made = publish_now(progress=meter.show)
        except PublicationFailedError as exc:
            raise CommandError(str(exc)) from exc
        if made is None:
            raise CommandError("Another process publishes just now.")
        self.stdout.write(
            f"{settings.VESTIGE_PUBLISH} covers {made.size:,} entries; {made.files:,} files were"
            f" written. Root {made.root.hex()}."
        )
