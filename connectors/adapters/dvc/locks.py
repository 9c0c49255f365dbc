"""Keeping others out while a repository is changed."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.folders import locked_folder


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold our own lock, and the one that every dvc command takes. Both die with us.

    Raises StoreError when somebody else holds one of them. Git locks for itself, ref by ref.
    """
    with locked_folder(root / ".dvc") as mine:
        if not mine:
            raise _busy(root, "Another erasure")
        temporary = root / ".dvc" / "tmp"
        temporary.mkdir(exist_ok=True)
        with (temporary / "lock").open("a") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise _busy(root, "A dvc command") from exc
            try:
                yield
            finally:
                fcntl.flock(file.fileno(), fcntl.LOCK_UN)  # as in `locked_folder`


def _busy(root: Path, who: str) -> StoreError:
    return StoreError(
        f"{who} is at work in the repository {root}. Run this one again when it is done."
    )
