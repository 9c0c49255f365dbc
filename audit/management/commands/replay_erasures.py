"""After a restore: destroys again what the log says was destroyed. Exit status 1 when living
persons' keys are missing, which the restored key store is too old to have."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from audit.actions import replay_erasures


class Command(BaseCommand):
    help = "Destroys every key that is alive though the log says that its person was erased."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        found = replay_erasures()
        self.stdout.write(
            f"{found.erasures:,} erasures in the log; {found.replayed:,} keys were alive in spite"
            f" of them and are destroyed now, {found.files:,} files of destroyed epochs as well."
        )
        if found.missing:
            self.stderr.write(
                f"The key store lacks the keys of {found.missing:,} persons whom the log has not"
                " erased: it is older than the log. Restore the newest copy; without it, what was"
                " sealed for them stays unreadable."
            )
            sys.exit(1)
