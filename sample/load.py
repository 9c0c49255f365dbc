"""Loads the sample company into a running Vestige: `python -m sample.load --url … --home …`.

Writes the tables, trains the models, tells Vestige about all of it. Safe to run at every start and
after a crash: what is there is left as it is. In particular no table is ever written a second time,
because that would bring back the people who were erased in between.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

import requests

from sample.company import COMPANY, PURCHASES
from sample.keys import PIPELINE, NoKeyError, keys_of
from sample.rest import Vestige, VestigeRefusedError

Say = Callable[[str], None]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def load(url: str, home: Path, admin_token: str, say: Say) -> None:
    """Everything that is still missing, into `home`/sample and into the Vestige at `url`."""
    folder = home / "sample"
    began = monotonic()
    keys = keys_of(folder, url, admin_token)
    if _is_loaded(folder, url, keys[PIPELINE]):
        say(f"{COMPANY} is loaded already.")
        return
    # Polars and scikit-learn take more than a second to import, which a second start need not pay.
    from sample.steps import load_all

    load_all(url, folder, keys, say)
    _mark(folder, monotonic() - began)
    say(f"{COMPANY} is loaded: {monotonic() - began:.1f} s in all.")


def _is_loaded(folder: Path, url: str, key: str) -> bool:
    """Whether it was loaded here, and this Vestige (not an earlier database) knows of it."""
    if not (folder / "loaded.json").exists():
        return False
    with Vestige(url, key) as vestige:
        return any(
            (store["dataset"]["namespace"], store["dataset"]["name"])
            == (PURCHASES.namespace, PURCHASES.name)
            for store in vestige.listed("/api/v1/connectors")
        )


def _mark(folder: Path, seconds: float) -> None:
    part = folder / "loaded.part"
    part.write_text(json.dumps({"seconds": round(seconds, 1)}))
    part.replace(folder / "loaded.json")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sample.load", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running Vestige")
    parser.add_argument("--home", type=Path, default=Path("var"), help="its VESTIGE_HOME")
    parser.add_argument(
        "--admin-token",
        default=os.environ.get("VESTIGE_ADMIN_TOKEN", ""),
        help="an administrator's API key; better given as VESTIGE_ADMIN_TOKEN, which ps hides",
    )
    given = parser.parse_args(arguments)
    try:
        load(given.url, given.home, given.admin_token, say)
    except (NoKeyError, VestigeRefusedError, requests.RequestException) as exc:
        say(f"The sample company could not be loaded. {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
