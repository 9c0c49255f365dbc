"""Tasks on the workers of a cluster that speaks Spark Connect: Sail, or Apache Spark.

Each file is a job of one task, and `tasks` of them are under way at once: so each result comes when
it is ready, a worker that dies costs its one file, which is sent again, and clusters that start a
job only when there is a slot for each of its tasks (Sail) take tables of any number of files.

Tasks are pickled, and with them the identifiers that are looked for (see `seal`). Keys of stores
are not: they are references, which the worker resolves in its own environment.
"""

import contextlib
import logging
import pickle
import re
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from connectors.adapters.base import OptionError
from connectors.engines import worker
from connectors.engines.base import EngineError, FileTask, OneFile
from connectors.engines.seal import Seal
from connectors.storage import Folder

if TYPE_CHECKING:
    import grpc
    from pyspark.sql.connect.session import SparkSession

ATTEMPTS = 3  # at one file, where it was not the task that failed
_CONNECT_SECONDS = 10
_RETRIES = 5  # of one request, by the client itself: about 8 seconds
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MISSING = re.compile(r"No module named '([\w.]+)'")
_HOW_TO_INSTALL = "uv pip install -c requirements.txt -r pyproject.toml --extra spark"

_Item = TypeVar("_Item", bound=OneFile)
_Result = TypeVar("_Result")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    host: str
    port: int
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def channel(self, options: Sequence[tuple[str, Any]]) -> "grpc.Channel":
        """In the open to this machine alone: elsewhere identifiers and token travel by TLS."""
        import grpc

        if self.host in _LOOPBACK and not self.token:
            return grpc.insecure_channel(str(self), options=options)
        local = self.host in _LOOPBACK
        credentials = grpc.local_channel_credentials() if local else grpc.ssl_channel_credentials()
        if self.token:
            credentials = grpc.composite_channel_credentials(
                credentials, grpc.access_token_call_credentials(self.token)
            )
        return grpc.secure_channel(str(self), credentials, options=options)


class Spark:
    """`tasks`: how many files are worked at at once, at most."""

    def __init__(self, cluster: Cluster, seal: Seal, *, tasks: int) -> None:
        self.cluster = cluster
        self.seal = seal
        self.tasks = tasks

    @property
    def name(self) -> str:
        return f"by tasks of the Spark cluster at {self.cluster}"

    def map_files(
        self, task: FileTask[_Item, _Result], items: Sequence[_Item]
    ) -> Generator[tuple[_Item, _Result], None, None]:
        if not items:
            return
        with self._session() as session:
            stopped = threading.Event()
            pool = ThreadPoolExecutor(min(self.tasks, len(items)), thread_name_prefix="spark")
            try:
                work = partial(self._result, session, stopped, task)
                futures = {pool.submit(work, item): item for item in items}
                yield from _as_they_come(futures)
            except BaseException:
                stopped.set()
                with contextlib.suppress(Exception):  # what is under way ends by itself, too
                    session.interruptAll()
                raise
            finally:
                pool.shutdown(cancel_futures=True)

    def require_sight(self, folder: Folder, path: str) -> None:
        """By one task, which looks for the file."""
        for _, is_there in self.map_files(_Sight(folder), [_Seen(path)]):
            if not is_there:
                raise EngineError(f"A file of {folder.root} is not there any more. Try again.")

    @contextlib.contextmanager
    def _session(self) -> "Iterator[SparkSession]":
        """Raises EngineError when nobody answers."""
        main = sys.modules["__main__"]
        if not hasattr(main, "__file__"):
            # A program without one (`python -c`) pyspark takes for its own doctests, and ends it.
            main.__file__ = None
        try:
            import grpc
            from pyspark.sql.connect.client import ChannelBuilder
            from pyspark.sql.connect.client.retries import DefaultPolicy
            from pyspark.sql.connect.session import SparkSession
        except ImportError as exc:
            raise EngineError(
                f"The engine spark needs packages that are not installed here ({exc.name}). Run: "
                f"{_HOW_TO_INSTALL}"
            ) from exc
        channel = self.cluster.channel(ChannelBuilder.GRPC_DEFAULT_OPTIONS)
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            channel.close()
            raise EngineError(
                f"No Spark-Connect server answers at {self.cluster} within {_CONNECT_SECONDS} "
                'seconds. Start it, or correct the option "engine_address"; on another host it has '
                "to be reached by TLS. Nothing is lost: run the same step again."
            ) from None

        class Ready(ChannelBuilder):
            """Hands over the channel, whatever the environment says of tokens and addresses."""

            token = None
            host = self.cluster.host

            def toChannel(self) -> grpc.Channel:  # noqa: N802 (pyspark's name)
                return channel

        session = SparkSession(connection=cast("Any", Ready()), userId="vestige")
        session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES, max_backoff=4000)])
        try:
            yield session
        finally:
            session.stop()

    def _result(
        self,
        session: "SparkSession",
        stopped: threading.Event,
        task: FileTask[_Item, _Result],
        item: _Item,
    ) -> _Result:
        body = self._answered(session, stopped, task, item)
        try:
            answer = msgspec.json.decode(body, type=worker.Answer)
            if not answer.fault:
                body = self.seal.opened(answer.result, worker.RESULT)
                result: _Result = msgspec.json.decode(body, type=task.result)
                return result
        except (msgspec.MsgspecError, OptionError) as exc:
            raise EngineError(
                f"The cluster at {self.cluster} answered something that is no result of the task. "
                "Nothing of it was used. See that nobody else serves that address."
            ) from exc
        if answer.fault == worker.UNSEEN:
            return self._unseen(task, item, answer.worker)
        if answer.fault in worker.FAULTS:
            raise worker.FAULTS[answer.fault](answer.message)
        who = f"The worker {answer.worker} of the cluster at {self.cluster}"
        if answer.fault == worker.NOT_READY:
            raise EngineError(f"{who} is not ready: {answer.message}")
        if answer.fault == worker.UNEXPECTED:
            raise EngineError(
                f"{who} could not do its task on a file: unexpected error ({answer.message}). Run "
                "the same step again; if it fails again, do so without the engine."
            )
        raise EngineError(
            f"{who} runs another release of Vestige. Install the same one on all workers, then run "
            "the same step again."
        )

    def _unseen(self, task: FileTask[_Item, _Result], item: _Item, name: str) -> _Result:
        if task.folder.exists(item.path):
            raise EngineError(
                f"The worker {name} of the cluster at {self.cluster} does not see the files in "
                f"{task.folder.root}. Mount the same folder there under the same path, or give the "
                "workers access to the bucket."
            )
        return task(item)  # the file is gone, and the task says what that means

    def _answered(
        self,
        session: "SparkSession",
        stopped: threading.Event,
        task: FileTask[_Item, _Result],
        item: _Item,
    ) -> bytes:
        """The task's answer; asked for again where no task answered. Raises EngineError."""
        import grpc
        from pyspark.errors import PySparkException

        sealed = self.seal.closed(pickle.dumps((task, item)), worker.TASK)
        function = partial(worker.work, worker.release(), self.seal.references, sealed)
        fault: Exception | None = None
        for _ in range(ATTEMPTS):
            if stopped.is_set():
                break
            try:
                rows = session.range(0, 1, 1, 1).mapInArrow(function, f"{worker.ANSWER} binary")
                return bytes(rows.toArrow().column(0)[0].as_py())
            except (PySparkException, grpc.RpcError, IndexError) as exc:
                fault = exc
                if _MISSING.search(str(exc)):
                    break
                # Its class alone: the message may quote what the task holds.
                what = type(exc).__name__
                logger.warning("no answer from the cluster %s: %s", self.cluster, what)
        raise self._failed(fault) from None

    def _failed(self, fault: Exception | None) -> EngineError:
        if fault and (missing := _MISSING.search(str(fault))):
            return EngineError(
                f"The workers of the cluster at {self.cluster} cannot import {missing[1]}. Install "
                "this release of Vestige with its packages there, and put its folder into their "
                "PYTHONPATH."
            )
        what = type(fault).__name__ if fault else "stopped"
        return EngineError(
            f"The cluster at {self.cluster} gave no answer for a file ({what}), also after "
            f"{ATTEMPTS} attempts. Its own log says why. Nothing is lost: run the same step again "
            "when it is well."
        )


def _as_they_come(
    futures: "dict[Future[_Result], _Item]",
) -> Generator[tuple[_Item, _Result], None, None]:
    left = set(futures)
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        for future in done:
            yield futures[future], future.result()


@dataclass(frozen=True)
class _Seen:
    path: str


@dataclass(frozen=True)
class _Sight:
    """The file is looked for before any task; there is nothing else to do."""

    folder: Folder
    result: Any = bool
    at_once: int = 1

    def __call__(self, item: _Seen) -> bool:
        return self.folder.exists(item.path)
