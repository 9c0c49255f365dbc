"""What an engine does: one task for each of many files, wherever it has its hands.

A task reads or writes one file and says what it found. What belongs to the whole store (its log,
its commits, its purge, its verification) is no task: it stays with the process that asked.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, runtime_checkable

from connectors.adapters.base import StoreError
from connectors.storage import Folder

_Result_co = TypeVar("_Result_co", covariant=True)
_Result = TypeVar("_Result")


class EngineError(StoreError):
    """The engine could not be reached, or did not do what it was asked; says what to do."""


class OneFile(Protocol):
    """What a task is given: a path in the store's folder, and what else belongs to that file."""

    @property
    def path(self) -> str: ...


_Item_contra = TypeVar("_Item_contra", bound=OneFile, contravariant=True)
_Item = TypeVar("_Item", bound=OneFile)


class FileTask(Protocol[_Item_contra, _Result_co]):
    """What is done with each file. It may be done twice with the same one, also at the same time,
    and where the task is pickled to: an attempt that writes gives what it writes a fresh name.

    Results are dataclasses of JSON's types, for they may come from another machine.
    """

    @property
    def folder(self) -> Folder: ...

    @property
    def result(self) -> Any:
        """The type of its results."""

    @property
    def at_once(self) -> int:
        """How many files one process should have open."""

    def __call__(self, item: _Item_contra, /) -> _Result_co:
        """Raises StoreError."""
        ...


class Engine(Protocol):
    @property
    def name(self) -> str:
        """For the record; empty for this process."""

    def map_files(
        self, task: FileTask[_Item, _Result], items: Sequence[_Item]
    ) -> Generator[tuple[_Item, _Result], None, None]:
        """Each item with its result, as they come, in no order. Closed before the end, it begins no
        further file. Raises what the task raises, and EngineError."""
        ...

    def require_sight(self, folder: Folder, path: str) -> None:
        """Raises EngineError unless one who does the work sees a file that is there."""
        ...


class Local:
    """This process."""

    name = ""

    def map_files(
        self, task: FileTask[_Item, _Result], items: Sequence[_Item]
    ) -> Generator[tuple[_Item, _Result], None, None]:
        """In the order given."""
        if task.at_once == 1:
            for item in items:
                yield item, task(item)
            return
        pool = ThreadPoolExecutor(task.at_once, thread_name_prefix="file")
        try:
            yield from zip(items, pool.map(task, items), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)

    def require_sight(self, folder: Folder, path: str) -> None:
        """Who asks is who does the work."""


@runtime_checkable
class RunsTasks(Protocol):
    """A store whose work on files an engine may do."""

    engine: Engine

    def witness(self) -> tuple[Folder, str] | None:
        """A file that is there, by which an engine can show that it sees the store; None where
        there is none yet. Raises StoreError."""
        ...
