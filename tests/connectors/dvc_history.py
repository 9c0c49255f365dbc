"""A DVC repository with all that git knows of commits, and every version of it read by dvc."""

import io
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import polars as pl

from connectors.adapters.base import ErasePlan
from connectors.adapters.dvc import DvcStore
from tests.connectors.dvc_builders import EVERY_NEEDLE, PERSON, THEIRS, Workshop, planned, store

KEEP = "keep_history"
TRACKED = ("data/orders.csv", "data/prices.csv", "data/parts", "report.csv")
Version = dict[str, bytes]  # path → bytes


def with_history(shop: Workshop) -> Workshop:
    """`shop_with_person`, and a merge of its branches with tags on it, a commit that was reset
    away, a stash, and what nothing leads to any more: another stash, a tag, a tree, a file; half of
    it packed."""
    shop.git("merge", "-q", "--no-ff", "-m", "merge side", "side")
    shop.git("tag", "-a", "release", "-m", "The first release")
    shop.git("tag", "light", "HEAD^")
    shop.git("gc", "-q")
    shop.write("README.md", b"Orders\n")
    shop.commit("a text that nobody wanted")
    shop.git("reset", "-q", "--hard", "HEAD^")
    shop.dvc("checkout", "-q")
    shop.git("tag", "-f", "-a", "release", "-m", "The first release\n\nwith a second line")
    shop.write("dropped.txt", b"worth nothing\n")
    shop.git("stash", "-q", "-u")
    shop.git("stash", "drop", "-q")
    shop.write("params.yaml", b"limit: 4\n")
    shop.git("stash", "-q")
    tree = shop.git("ls-tree", "main", "data.dvc", "data")
    shop.run("sh", "-c", f"printf '{tree}\n' | git mktree")
    shop.write("lost.txt", b"staged, and thought better of\n")
    shop.git("add", "lost.txt")
    shop.git("rm", "-q", "-f", "lost.txt")
    return shop


def keep(opened: DvcStore, needles: Mapping[str, Sequence[str]] = PERSON) -> ErasePlan:
    """Search, plan, erase and purge; history is kept."""
    plan = planned(opened, needles, KEEP)
    assert (plan.blockers, plan.versions_lost) == ((), ())
    opened.erase(plan, needles)
    opened.purge_history(plan)
    return plan


def commit_map(shop: Workshop) -> dict[str, str]:
    head, *lines = (shop.root / ".git/vestige/commit-map").read_text().splitlines()
    assert head == "old new"
    return dict(line.split() for line in lines)


def every_version(shop: Workshop, commits: Collection[str], target: Path) -> dict[str, Version]:
    """What a colleague's dvc gets from the remote at each of these commits."""
    clone = Workshop(target)
    clone.folder.mkdir()
    clone.run("git", "clone", "-q", str(shop.root), str(clone.root), cwd=clone.folder)
    clone.dvc("remote", "add", "-q", "-f", "--local", "store", str(shop.remote))
    found = {}
    for commit in commits:
        shutil.rmtree(clone.root / "data", ignore_errors=True)
        (clone.root / "report.csv").unlink(missing_ok=True)
        clone.git("checkout", "-q", "-f", commit)
        clone.dvc("pull", "-q")
        found[commit] = {
            path.relative_to(clone.root).as_posix(): path.read_bytes()
            for top in TRACKED
            for path in ([clone.root / top, *(clone.root / top).glob("*")])
            if path.is_file()
        }
    return found


def without(version: Version) -> dict[str, object]:
    """The same without the person: text by bytes, Parquet by rows."""
    return {path: _without(path, body) for path, body in version.items()}


def _without(path: str, body: bytes) -> object:
    if path.endswith(".parquet"):
        frame = pl.read_parquet(io.BytesIO(body))
        mail = pl.col("email").str.to_lowercase().is_in(EVERY_NEEDLE)
        hers = pl.col("customer_id").is_in(EVERY_NEEDLE) | mail
        return str(frame.filter(~hers.fill_null(value=False)).rows())
    if path.endswith(".jsonl"):
        return [line for line in body.splitlines() if b"c-000042" not in line]
    for theirs in THEIRS:
        body = body.replace(theirs, b"")
    return body


def as_written(shop: Workshop, commit: str) -> list[str]:
    """All of a commit or tag but what it leads to."""
    lines = shop.git("cat-file", "-p", commit).splitlines()
    return [line for line in lines if not line.startswith(("tree ", "parent ", "object "))]


def parents(shop: Workshop, commit: str) -> list[str]:
    return shop.git("rev-list", "--parents", "-n", "1", commit).split()[1:]


def git_objects(shop: Workshop) -> set[str]:
    listed = shop.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    return set(listed.split())


def versions(shop: Workshop) -> dict[str, int | None]:
    return {version.id: version.rows for version in store(shop).versions()}
