"""`python -m bench [name…] [--entries N]`: every benchmark, or those named, as tables of ratios.

`--entries` is the size of the log in `size`, `--rows` that of the table in `stores`; both are a
million if not given.
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
    "stores",
    "requests",
]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", metavar="name", nargs="*", help=f"of: {', '.join(_ALL)}")
    parser.add_argument("--entries", type=int, default=1_000_000, help="size of the log in `size`")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table in `stores`")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(_ALL))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; known: {', '.join(_ALL)}")
    say(machine())
    with installation() as database:
        for name in options.names or _ALL:
            sizes = {"size": {"entries": options.entries}, "stores": {"rows": options.rows}}
            more = sizes.get(name, {})
            importlib.import_module(f"bench.{name}").run(database, **more)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
