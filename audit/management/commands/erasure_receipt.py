"""Writes the receipt of a destroyed key: an evidence bundle that verifies offline."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.actions import KeyLivesError, SubjectUnknownError, erasure_receipt
from audit.actions.acting import KEEPER
from audit.ledger import bundle


class Command(BaseCommand):
    help = "Writes the evidence that a person's key was destroyed, for `audit.ledger verify`."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pseudonym", help="as the log's entry subject.erased names it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = erasure_receipt(options["pseudonym"], by=KEEPER)
        except (SubjectUnknownError, KeyLivesError) as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(bundle.dumps(made).decode())
