"""An attack: what is done, who can, whether the database refuses it, and who must catch it.

Each runs as the application would run it, with the triggers in place, and then as the owner of
the database, who drops the triggers and puts them back.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.audit.attacks.scene import Scene
from tests.audit.builders import sql

BOTH = frozenset({"sqlite", "postgresql"})
SQLITE, POSTGRESQL = frozenset({"sqlite"}), frozenset({"postgresql"})
NEITHER: frozenset[str] = frozenset()
OPERATOR = "operator with the key"

Run = Callable[[Scene], None]


@dataclass(frozen=True)
class Attack:
    """One row of the table.

    `caught` are those who catch it, the nearest first, and `says` is in the words of the first.
    `refused`: the databases whose triggers refuse it to the application; None: it is no SQL.
    """

    name: str
    run: Run
    caught: tuple[str, ...]
    says: str
    refused: frozenset[str] | None = BOTH
    vendors: frozenset[str] = BOTH
    rank: str = ""
    only_sqlite: tuple[str, ...] = ()  # who catch it there alone
    drops_triggers: bool = True  # around it; what is about the triggers does so itself

    def caught_on(self, vendor: str) -> set[str]:
        return {*self.caught, *(self.only_sqlite if vendor == "sqlite" else ())}

    @property
    def by(self) -> str:
        """The lowest rank that can do it."""
        if self.rank:
            return self.rank
        if not self.refused:
            return "application"
        if self.refused >= self.vendors:
            return "database owner"
        free = "PostgreSQL" if self.refused == SQLITE else "SQLite"
        return f"application ({free}), database owner"


def statement(
    name: str,
    text: str,
    *,
    caught: tuple[str, ...],
    says: str,
    refused: frozenset[str] = BOTH,
    vendors: frozenset[str] = BOTH,
    only_sqlite: tuple[str, ...] = (),
) -> Attack:
    """An attack by one statement of SQL."""
    return Attack(
        name,
        lambda scene: sql(text),
        caught,
        says,
        refused,
        vendors,
        only_sqlite=only_sqlite,
    )
