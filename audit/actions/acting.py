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
    """A part of the log that acts by itself, or an actor known by name only."""

    actor: str


SWEEPER = Part("vestige:heads")
KEEPER = Part("vestige:keys")
SCHEDULER = Part("vestige:scheduler")
PARENT = Part("vestige:parent")
VERIFIER = Part("vestige:verifier")
OPERATOR = Part("vestige:operator")  # whoever may run commands on the server
