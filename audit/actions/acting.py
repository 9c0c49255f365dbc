"""Who writes."""

from dataclasses import dataclass
from typing import Protocol


class Actor(Protocol):
    """Who acts: a user of the installation."""

    @property
    def actor(self) -> str:
        """`user:7`"""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of Vestige that acts by itself."""

    actor: str


KEEPER = Part("vestige:keys")
SCHEDULER = Part("vestige:scheduler")
OPERATOR = Part("vestige:operator")  # whoever may run commands on the machine
