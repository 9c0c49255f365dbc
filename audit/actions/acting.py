"""Who writes."""

from typing import Protocol


class Actor(Protocol):
    """Who acts: a user of the installation."""

    @property
    def actor(self) -> str:
        """`user:7`"""
