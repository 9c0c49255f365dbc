"""The option by which the log's commands are told which log they are about."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit.logs import MAIN, LogRef, LogUnknownError, all_logs, log_called


def add_log(parser: CommandParser, what: str) -> None:
    """`--log`, by name or origin; `what` says in the help what is done with that log only."""
    parser.add_argument("--log", metavar="NAME", help=f"{what}; its origin names it as well")


def log_given(options: Mapping[str, Any]) -> LogRef:
    """The log that was named, or the main one. Raises CommandError."""
    if not options["log"]:
        return MAIN
    try:
        return log_called(options["log"])
    except LogUnknownError as exc:
        known = ", ".join(log.name for log in all_logs())
        raise CommandError(f"--log: {exc} Name one of these: {known}.") from exc


def logs_given(options: Mapping[str, Any]) -> list[LogRef]:
    """The log that was named, or every log, the main one first. Raises CommandError."""
    return [log_given(options)] if options["log"] else all_logs()
