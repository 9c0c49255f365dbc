"""Rotates the keys that wrap subjects' keys, and the key that signs checkpoints.

Exit status 0 when everything was done, 1 when something stands against it. Killed at any moment,
the same command goes on where it stood.
"""

import sys
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from audit.actions import (
    KeysUnreachableError,
    RotationUnderWayError,
    rotate_epoch,
    rotate_signing_key,
    settle_signing_keys,
)
from audit.keylog import rotation_plan
from audit.keys import KeyFileError
from audit.logs import LogRef
from audit.management.options import add_log, logs_given
from audit.sealing import SealError


class Command(BaseCommand):
    help = (
        "Rotates the epoch of subjects' keys (--epoch), the signing key (--signing-key), or both."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--epoch", "--only-epoch", action="store_true", help="the key of subjects' keys only"
        )
        what.add_argument(
            "--signing-key", "--only-signing-key", action="store_true", help="the log's key only"
        )
        parser.add_argument(
            "--leave-old",
            action="store_true",
            help="keep the old epoch's key; back up the key store, then run the command again",
        )
        parser.add_argument(
            "--accept-loss",
            type=int,
            metavar="EPOCH",
            help="give up the subjects' keys of this epoch, whose key is gone, and record that",
        )
        parser.add_argument(
            "--overlap-days",
            type=int,
            default=settings.VESTIGE_SIGNING_OVERLAP_DAYS,
            help="how long the old signing key signs beside the new one",
        )
        parser.add_argument(
            "--now",
            action="store_true",
            help="the old signing key is compromised: destroy it at once",
        )
        parser.add_argument(
            "--retire-now",
            action="store_true",
            help="end an overlap that is under way, and nothing else",
        )
        add_log(parser, "the signing key of this log only, instead of all logs'")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            for line in rotation_plan():
                self.stdout.write(line)
            return
        try:
            if options["retire_now"]:
                for log in logs_given(options):
                    self._say_destroyed(settle_signing_keys(retire_now=True, log=log))
                return
            if not options["signing_key"]:
                self._rotate_epoch(options)
            if not options["epoch"]:
                self._rotate_signing_keys(options)
        except (KeysUnreachableError, KeyFileError, SealError) as exc:
            self.stderr.write(str(exc))
            sys.exit(1)

    def _rotate_signing_keys(self, options: dict[str, Any]) -> None:
        """One log that cannot be now keeps none of the others from it."""
        refused = False
        for log in logs_given(options):
            try:
                self._rotate_signing_key(log, options)
            except RotationUnderWayError as exc:
                refused = True
                self.stderr.write(str(exc) if log.is_main else f"Log {log.name}: {exc}")
        if refused:
            sys.exit(1)

    def _rotate_epoch(self, options: dict[str, Any]) -> None:
        done = rotate_epoch(
            progress=self._progress,
            leave_old=options["leave_old"],
            accept_loss=options["accept_loss"],
        )
        self.stdout.write(
            f"Epoch {done.epoch} is open; {done.rewrapped:,} keys were moved into it."
        )
        for number in done.destroyed:
            self.stdout.write(
                f"The key of epoch {number} is destroyed. Backups of the key store from before now"
                " are of no use: make a new one."
            )
        if done.left:
            self.stdout.write(
                f"The key of epoch {', '.join(map(str, done.left))} is still there. Back up the"
                " key store, then run the command again."
            )

    def _rotate_signing_key(self, log: LogRef, options: dict[str, Any]) -> None:
        if options["now"]:
            settle_signing_keys(retire_now=True, log=log)  # an overlap before this one
        overlap = timedelta(days=0 if options["now"] else options["overlap_days"])
        done = rotate_signing_key(overlap=overlap, log=log)
        self.stdout.write(
            f"Checkpoints are signed with a new key now. Publish it:\n{done.new_vkey}"
        )
        self._say_destroyed(done.retired)
        if not done.retired:
            self.stdout.write(
                f"The key before it signs beside it until {done.overlap_until:%Y-%m-%d %H:%M} UTC."
            )

    def _say_destroyed(self, vkeys: list[str]) -> None:
        for vkey in vkeys:
            self.stdout.write(f"Destroyed; it still verifies what it signed:\n{vkey}")

    def _progress(self, done: int, total: int) -> None:
        self.stdout.write(f"{done:,} of {total:,} keys moved")
