"""Real DVC repositories, made with the real dvc and git commands, with a person in their history.

Making one takes seconds, so it is made once and copied for each test.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from connectors.adapters.base import ErasePlan
from connectors.adapters.dvc import DvcStore
from connectors.adapters.dvc.names import ObjectName
from connectors.adapters.dvc.repository import Reach, on_this_machine
from tests.connectors.dvc_commands import run_dvc

PERSON = {"customer_id": ["c-000042"], "email": ["ann.archer@mail.example"]}
EVERY_NEEDLE = [value for values in PERSON.values() for value in values]
COLUMNS = ("customer_id", "email")
HEADER = b"customer_id,email,note\r\n"
OTHERS = (
    b"c-000001,Bob@Shop.example,plain\r\n",
    b'"c-000002",,"two\r\nlines, and ""quotes"""\r\n',
    "c-000003,zoë@shop.example,  spaced  \n".encode(),
)
THEIRS = (b'c-000042,,"hers,\nall of it"\r\n', b"c-000777,ANN.Archer@mail.example ,hers too\r\n")
WITH = HEADER + OTHERS[0] + THEIRS[0] + OTHERS[1] + THEIRS[1] + OTHERS[2]
WITHOUT = HEADER + b"".join(OTHERS)
UNRELATED = b"customer_id,email,note\nc-000900,nobody@shop.example,old\n"

_PIPELINE = """\
stages:
  report:
    cmd: cp data/orders.csv report.csv
    deps:
    - data/orders.csv
    params:
    - limit
    outs:
    - report.csv
"""


def environment(site: Path) -> dict[str, str]:
    """As a person's shell would be, but offline and without their own configuration."""
    names = {f"GIT_{role}_NAME": "Dana" for role in ("AUTHOR", "COMMITTER")}
    mails = {f"GIT_{role}_EMAIL": "dana@shop.example" for role in ("AUTHOR", "COMMITTER")}
    return {
        **os.environ, **names, **mails,
        "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(site),
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(site.parent), "XDG_CONFIG_HOME": str(site.parent / "config"),
    }  # fmt: skip


class Workshop:
    """A repository `repo`, its remote `remote` and DVC's site cache, side by side in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "repo"
        self.remote = folder / "remote"
        self.site = folder / "site"

    def run(self, *command: str, check: bool = True, cwd: Path | None = None) -> str:
        ran = subprocess.run(
            command, cwd=cwd or self.root, env=environment(self.site), check=False,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert not check or ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def git(self, *arguments: str, check: bool = True) -> str:
        return self.run("git", *arguments, check=check).strip()

    def dvc(self, *arguments: str, check: bool = True) -> str:
        status, text = run_dvc(
            arguments,
            folder=self.root,
            environment=environment(self.site),
            output=self.folder / "output.txt",
        )
        assert not check or status == 0, text
        return text

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def write(self, path: str, body: bytes) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.unlink()  # what DVC linked is not to be written through
        target.write_bytes(body)
        return target

    def copy(self, target: Path) -> "Workshop":
        """The same in another place. DVC's own caches do not come along: they know the old one."""
        target.mkdir()
        for name in ("repo", "remote"):
            shutil.copytree(self.folder / name, target / name, symlinks=True)
        return Workshop(target)


def begun(folder: Path) -> Workshop:
    """A repository without data, with a remote in a folder beside it."""
    shop = Workshop(folder)
    shop.root.mkdir(parents=True)
    shop.remote.mkdir()
    shop.git("init", "-q", "-b", "main")
    shop.dvc("init", "-q")
    shop.git("config", "commit.gpgsign", "false")
    config = "[core]\n    analytics = false\n    remote = store\n"
    config += "['remote \"store\"']\n    url = ../../remote\n"
    (shop.root / ".dvc" / "config").write_text(config)
    return shop


def parquet(path: Path, *, person: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"customer_id": f"c-{n:06d}", "email": f"Customer{n}@shop.example", "price": n * 1.5}
        for n in range(100, 110)
    ]
    rows.append({"customer_id": None, "email": None, "price": float("nan")})
    if person:
        rows.insert(5, {"customer_id": "c-000042", "email": None, "price": 1.0})
        rows.insert(8, {"customer_id": None, "email": "Ann.Archer@Mail.example", "price": 2.0})
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_parquet(path, row_group_size=4)


def shop_with_person(folder: Path) -> Workshop:
    """Four commits on main, a tag, a branch, a folder, a pipeline, and an unrelated old version.

    1 (tag v1): orders.csv without the person, and prices.csv, which no later commit changes
    2: orders.csv with the person, the folder parts/ with a Parquet and a JSON Lines file of theirs,
       a pipeline that copies orders.csv to report.csv
    side (from 2): parts/ has one more file
    3: orders.csv has one more row
    """
    shop = begun(folder)
    shop.write("data/orders.csv", UNRELATED)
    shop.write("data/prices.csv", b"customer_id,price\nc-000900,1\n")
    shop.dvc("add", "-q", "data/orders.csv", "data/prices.csv")
    shop.commit("first orders")
    shop.git("tag", "-a", "v1", "-m", "first")
    shop.write("data/orders.csv", WITH)
    parquet(shop.root / "data/parts/a.parquet", person=True)
    shop.write("data/parts/b.jsonl", b'{"customer_id": "c-000042"}\n{"customer_id": "c-000005"}\n')
    shop.write("data/parts/c.csv", UNRELATED)
    shop.write("params.yaml", b"limit: 3\n")
    shop.write("dvc.yaml", _PIPELINE.encode())
    shop.dvc("add", "-q", "data/orders.csv", "data/parts")
    shop.dvc("repro", "-q")
    shop.commit("orders, parts and the report")
    shop.dvc("push", "-q", "--run-cache")
    shop.git("checkout", "-q", "-b", "side")
    shop.write("data/parts/d.csv", WITH + OTHERS[1])
    shop.dvc("add", "-q", "data/parts")
    shop.commit("one more part")
    shop.dvc("push", "-q")
    shop.git("checkout", "-q", "main")
    shop.write("data/orders.csv", WITH + OTHERS[0])
    shop.dvc("add", "-q", "data/orders.csv")
    shop.dvc("repro", "-q")
    shop.dvc("checkout", "-q")
    shop.commit("one more order")
    shop.dvc("push", "-q")
    return shop


def store(
    shop: Workshop, columns: Sequence[str] = COLUMNS, *, writable: bool = True, output: str = "",
    reach: Reach = on_this_machine, **options: Any,
) -> DvcStore:  # fmt: skip
    mark = f"#{output}" if output else ""
    options.setdefault("exclusive", ["store"])
    return DvcStore(f"{shop.root}{mark}", columns, options, writable=writable, reach=reach)


def planned(
    opened: DvcStore, needles: Mapping[str, Sequence[str]] = PERSON, mode: str = "purge"
) -> ErasePlan:
    return opened.plan_erase(opened.find_subject(needles), mode=mode)


def erase(
    opened: DvcStore, needles: Mapping[str, Sequence[str]] = PERSON, mode: str = "purge"
) -> ErasePlan:
    """Search, plan, erase and purge, as one would; returns the plan."""
    plan = planned(opened, needles, mode)
    assert plan.blockers == ()
    opened.erase(plan, needles)
    opened.purge_history(plan)
    return plan


def traces(opened: DvcStore, needles: Mapping[str, Sequence[str]] = PERSON) -> list[str]:
    """What the scan finds or cannot read."""
    control = opened.control_subject(needles)
    report = opened.verify_erased([v for vs in needles.values() for v in vs], control)
    assert control is None or report.control_found
    return [*(f"{t.path}: {t.where}" for t in report.traces), *report.unreadable]


def objects(folder: Path) -> dict[str, str]:
    """Path → SHA-256 of every object below a cache or a remote."""
    return {
        path: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and ObjectName.at(path := file.relative_to(folder).as_posix())
    }


def outputs_at(shop: Workshop, commit: str) -> dict[str, str]:
    """Pointer → its text at a commit."""
    names = shop.git("ls-tree", "-r", "--name-only", commit).splitlines()
    wanted = [n for n in names if n.endswith((".dvc", "dvc.lock")) and not n.startswith(".dvc")]
    return {name: shop.git("show", f"{commit}:{name}") for name in wanted}


def json_line(**row: Any) -> str:
    return json.dumps(row) + "\n"
