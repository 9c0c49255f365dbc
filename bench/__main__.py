"""`python -m bench [name…]`: every benchmark, or those named. Each prints a table of ratios."""

import importlib
import sys

from bench.scratch import installation

_ALL = ["append", "verify", "lineage", "completeness"]


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(_ALL))
    if unknown:
        sys.stderr.write(f"There is no benchmark {', '.join(unknown)}; known: {', '.join(_ALL)}\n")
        return 2
    with installation() as database:
        for name in names or _ALL:
            importlib.import_module(f"bench.{name}").run(database)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
