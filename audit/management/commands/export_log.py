"""Writes a whole log, entries included, into a folder that an auditor can verify anywhere."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.actions import OPERATOR, note_export, sequence
from audit.ledger.progress import Meter
from audit.ledger.tiles import TILE_WIDTH
from audit.management.options import add_log, log_given
from audit.proofs import DamagedLogError
from audit.publication import NothingToPublishError, PublicationRefusedError, publish
from audit.queries import latest_checkpoint
from audit.targets import FolderTarget, TargetError


class Command(BaseCommand):
    help = (
        "Writes checkpoint, key, hash tiles and entries (C2SP tlog-tiles) into a folder; check it"
        " with python -m audit.ledger verify DIR. Run again, it goes on where it was stopped, and"
        " adds what is new."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", metavar="DIR", type=Path)
        parser.add_argument(
            "--since",
            metavar="N",
            type=int,
            default=0,
            help="leave out the entries before the bundle (of 256) in which entry N lies",
        )

        add_log(parser, "write this log, instead of the main one")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(options["folder"]).absolute()
        since = max(0, options["since"]) // TILE_WIDTH * TILE_WIDTH
        log = log_given(options)
        sequence(log)
        signed = latest_checkpoint(log)
        size = signed.size if signed else 0
        if since and since >= size:
            raise CommandError(
                f"The log has {size} entries; there is none from {options['since']} on."
            )
        # Recorded before anything leaves.
        note_export(
            filters={"since": str(since)} if since else {},
            file_format="tiles",
            entries=size - since,
            size=size,
            by=OPERATOR,
            log=log,
        )
        try:
            with Meter(sys.stderr, what="files") as meter:
                made = publish(
                    FolderTarget(folder),
                    log.id,
                    entries=True,
                    since=since,
                    whole=True,
                    progress=meter.show,
                )
        except (
            DamagedLogError,
            NothingToPublishError,
            TargetError,
            PublicationRefusedError,
        ) as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(
            f"{folder} holds the log up to entry {made.size - 1:,}; {made.files:,} files were"
            f" written. Root {made.root.hex()}."
        )
        given = f" --since {since}" if since else ""
        self.stdout.write(f"To check it: python -m audit.ledger verify {folder}{given}")
