"""A store's options that say which engine works on its files."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from connectors.adapters.base import OptionError
from connectors.engines import seal
from connectors.engines.base import Engine, Local
from connectors.engines.spark import Cluster, Spark
from connectors.references import secret

OPTIONS = (
    "engine",
    "engine_address",
    "engine_token_env",
    "engine_token_file",
    "engine_tasks",
    *seal.OPTIONS,
)
_ADDRESS = re.compile(r"sc://(?P<host>[\w.-]+|\[[0-9A-Fa-f:]+\])(:(?P<port>\d{1,5}))?/?", re.ASCII)
_DEFAULT_PORT = 15002  # of Spark Connect
_DEFAULT_TASKS = 8  # the slots of one worker of Sail, if nothing else is configured
_MOST_TASKS = 1000


def engine_of(options: Mapping[str, Any], permit: Callable[[str, int], None]) -> Engine:
    """The engine that a store's options name. `permit`: raises for a host and port that may not be
    reached. Raises OptionError, which never holds a secret."""
    engine = options.get("engine", "local")
    given = [name for name in OPTIONS[1:] if options.get(name) is not None]
    if engine == "local":
        if given:
            raise OptionError(
                f'The option "{given[0]}" is of a cluster. Give engine = spark as well, or leave '
                "it out."
            )
        return Local()
    if engine != "spark":
        raise OptionError(f'The option "engine" is "local" or "spark", not "{engine}".')
    host, port = _address(options.get("engine_address"))
    permit(host, port)
    token = secret(options, "engine_token", example="SPARK_TOKEN")
    tasks = _tasks(options.get("engine_tasks"))
    return Spark(Cluster(host, port, token), seal.Seal.of(options), tasks=tasks)


def _address(given: Any) -> tuple[str, int]:
    # It is not quoted: who writes a token into it should not find that in a log.
    found = _ADDRESS.fullmatch(given.strip()) if isinstance(given, str) else None
    port = int(found["port"] or _DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise OptionError(
            'The option "engine_address" is the address of a Spark-Connect server and nothing '
            "else, as in sc://spark.example:15002. A token is given by reference, in "
            '"engine_token_env" or "engine_token_file".'
        )
    return found["host"].strip("[]").lower(), port


def _tasks(given: Any) -> int:
    if given is None:
        return _DEFAULT_TASKS
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= _MOST_TASKS:
        raise OptionError(
            'The option "engine_tasks" says at how many files the cluster works at once: a whole '
            f"number from 1 to {_MOST_TASKS}."
        )
    return given
