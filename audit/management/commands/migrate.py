"""Django's `migrate`, for both databases: the subjects' keys have one of their own."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate

from audit.actions import adopt_subject_keys
from audit.routing import KEYS


class Command(migrate.Command):
    help = "Brings both databases, default and keys, to the state of this version."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database=None)

    def get_check_kwargs(self, options: Any) -> Any:
        return {**super().get_check_kwargs(options), "databases": _wanted(options["database"])}

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = _wanted(options["database"])
        for alias in wanted:
            super().handle(*args, **options | {"database": alias})
        only_looks = options["plan"] or options["check_unapplied"] or options["prune"]
        if options["database"] or only_looks:
            return
        moved = adopt_subject_keys()
        if moved and options["verbosity"]:
            self.stdout.write(f"Moved {moved} subjects' keys into the key store.")


def _wanted(alias: str | None) -> list[str]:
    """The databases to migrate: the key store first, as what comes after may look into it."""
    if alias == KEYS and not settings.VESTIGE_KEYS_APART:
        raise CommandError("The key store is the database default here. Migrate that one.")
    if alias:
        return [alias]
    return [KEYS, "default"] if settings.VESTIGE_KEYS_APART else ["default"]
