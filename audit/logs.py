"""Which logs there are: the main one, which is the application's own, and those of units.

An actor may be bound to one log (an API key is, if its administrator wants it so): it sees that
log and no other. Everybody else who may read the log may read all of them.
"""

import re
from dataclasses import dataclass

from django.conf import settings

from audit.models import MAIN_LOG, MAIN_NAME, Log

MOST_CHARACTERS = 40
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)
# What stands in an address, or lies in a published folder, where the name of a log would stand.
_TAKEN = frozenset(
    f"{MAIN_NAME} anchors checkpoint complete consistency entries export holds log logs prunings"
    " retention tile verification verifications verify vkey".split()
)


class LogUnknownError(LookupError):
    """There is no such log, or not for this actor."""

    field = "log"


@dataclass(frozen=True, slots=True)
class LogRef:
    """A log by its number, by which rows name it, and its name, by which people and machines do."""

    id: int
    name: str

    @property
    def resource(self) -> str:
        """What entries that speak of the log itself are about."""
        return f"log:{self.name}"

    @property
    def is_main(self) -> bool:
        return self.id == MAIN_LOG


MAIN = LogRef(MAIN_LOG, MAIN_NAME)


def name_fault(name: str) -> str:
    """Why a new log cannot have this name; empty when it can."""
    if not _NAME.fullmatch(name):
        return (
            f"A name has 1 to {MOST_CHARACTERS} lower-case letters, digits and hyphens, begins with"
            " a letter, and does not end with a hyphen."
        )
    if name in _TAKEN:
        return f"{name} stands for something else in addresses. Choose another name."
    return ""


def all_logs() -> list[LogRef]:
    """Every log, the main one first, also while it is empty."""
    units = Log.objects.exclude(pk=MAIN_LOG).order_by("name").values_list("pk", "name")
    return [MAIN, *(LogRef(*row) for row in units)]


def units() -> list[LogRef]:
    """The logs of organisation units."""
    return all_logs()[1:]


def log_of(log_id: int) -> LogRef:
    """The log that rows name by this number. Raises LogUnknownError."""
    if log_id == MAIN_LOG:
        return MAIN
    name = Log.objects.filter(pk=log_id).values_list("name", flat=True).first()
    if name is None:
        raise LogUnknownError(f"There is no log {log_id}.")
    return LogRef(log_id, name)


def log_named(name: str) -> LogRef:
    """Raises LogUnknownError."""
    if name == MAIN_NAME:
        return MAIN
    known = Log.objects.filter(name=name).values_list("pk", flat=True).first()
    if known is None:
        raise LogUnknownError(f"There is no log {name[:MOST_CHARACTERS]!r}.")
    return LogRef(known, name)


def log_called(text: str) -> LogRef:
    """The log of this name or origin, as an operator writes it. Raises LogUnknownError."""
    known = Log.objects.filter(origin=text).values_list("pk", "name").first()
    return LogRef(*known) if known else log_named(text)


def logs_visible_to(actor: object) -> list[LogRef]:
    """The logs that this actor may read or write, if they may read or write any."""
    bound = bound_to(actor)
    if not bound:
        return all_logs()
    return [log for log in all_logs() if log.name == bound]


def log_visible_to(actor: object, name: str = "") -> LogRef:
    """The log of this name; without one, that which the actor is bound to, or the main one.

    Raises LogUnknownError, which does not tell a log that is not there from one that is another's.
    """
    bound = bound_to(actor)
    if bound and name and name != bound:
        raise LogUnknownError(f"There is no log {name[:MOST_CHARACTERS]!r}.")
    return log_named(bound or name or MAIN_NAME)


def bound_to(actor: object) -> str:
    """The name of the one log that this actor is bound to; empty for who is not bound."""
    return getattr(actor, "bound_log", "")


def origin_of(log: LogRef) -> str:
    """The name of the log towards outsiders, and of its key."""
    known = Log.objects.filter(pk=log.id).values_list("origin", flat=True).first()
    return known or str(settings.VESTIGE_ORIGIN)
