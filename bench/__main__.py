"""`python -m bench [name…] [--entries N]`: every benchmark, or those named, as tables of ratios.

`--entries` is the size of the log in `size`, a million if not given.
"""

import argparse
import importlib
import sys

from bench.report import machine, say
from bench.scratch import installation

_ALL = [
    "append",
    "bulk",
    "rest",
    "change",
    "history",
    "verify",
    "folder",
    "size",
    "lineage",
    "completeness",
]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", metavar="name", nargs="*", help=f"of: {', '.join(_ALL)}")
    parser.add_argument("--entries", type=int, default=1_000_000, help="size of the log in `size`")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(_ALL))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; known: {', '.join(_ALL)}")
    say(machine())
    with installation() as database:
        for name in options.names or _ALL:
            more = {"entries": options.entries} if name == "size" else {}
            importlib.import_module(f"bench.{name}").run(database, **more)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
