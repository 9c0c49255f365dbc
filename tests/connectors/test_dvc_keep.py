"""Erasing in a DVC repository and keeping its history: every commit stays readable, under the id
that the commit map tells."""

import os
import re
from pathlib import Path

import pytest

from connectors.adapters.base import StoreError
from tests.connectors.dvc_builders import (
    OTHERS,
    PERSON,
    UNRELATED,
    WITH,
    WITHOUT,
    Workshop,
    erase,
    objects,
    outputs_at,
    planned,
    store,
    traces,
)
from tests.connectors.dvc_history import (
    KEEP,
    as_written,
    commit_map,
    every_version,
    git_objects,
    keep,
    parents,
    versions,
    without,
)


@pytest.fixture
def shop(
    dvc_history_template: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workshop:
    made = dvc_history_template.copy(tmp_path / "shop")
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # as in `dvc_shop`
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(made.site))
    return made


def test_every_version_is_readable_without_the_person(shop: Workshop, tmp_path: Path) -> None:
    before = versions(shop)
    data = every_version(shop, before, tmp_path / "before")
    assert set(before.values()) == {2, 27, 29, 33, 35}
    commits = shop.git("rev-list", "--all").split()
    said = {commit: as_written(shop, commit) for commit in commits}
    joined = {commit: parents(shop, commit) for commit in commits}
    held = {place: objects(place) for place in (shop.root / ".dvc/cache", shop.remote)}

    plan = planned(store(shop), mode=KEEP)
    assert (plan.blockers, plan.versions_lost, plan.rows) == ((), (), 9)
    erased = store(shop).erase(plan, PERSON)
    assert erased.rows == 9
    purged = store(shop).purge_history(plan)
    assert purged.new_version == shop.git("rev-parse", "main")

    now = commit_map(shop)
    assert purged.detail["renamed"] == now
    first, *others = before
    assert first not in now  # came before the person
    assert set(others) <= set(now)
    after = every_version(shop, [now.get(old, old) for old in before], tmp_path / "after")
    for old, version in data.items():
        assert without(after[now.get(old, old)]) == without(version), old
    assert not any(b"c-000042" in body for v in after.values() for body in v.values())
    left = {2: 2, 27: 20, 29: 22, 33: 24, 35: 26}
    assert versions(shop) == {now.get(old, old): left[rows or 0] for old, rows in before.items()}

    # Commits say what they said, byte for byte, and stand where they stood.
    for old in commits:
        new = now.get(old, old)
        assert as_written(shop, new) == said[old]
        assert parents(shop, new) == [now.get(p, p) for p in joined[old]]
    assert len(parents(shop, "main")) == 2

    # The planned objects are gone from both places, and every other one is there, unchanged.
    gone = {path.partition(" ")[0] for path in plan.objects}
    for place, was in held.items():
        kept = {path: digest for path, digest in was.items() if path not in gone}
        assert kept.items() <= objects(place).items()
        assert not gone & set(objects(place))
    assert traces(store(shop)) == []
    assert planned(store(shop), mode=KEEP).objects == ()


def test_refs_tags_and_the_work_tree_follow(shop: Workshop) -> None:
    before = shop.git("for-each-ref", "--format=%(refname) %(objectname)")
    tag = as_written(shop, "release")
    keep(store(shop))
    now = commit_map(shop)
    assert shop.git("for-each-ref", "--format=%(refname) %(objectname)") == re.sub(
        r"[0-9a-f]{40}", lambda m: now.get(m[0], m[0]), before
    )
    assert shop.git("rev-parse", "release^{commit}") == shop.git("rev-parse", "main")
    assert as_written(shop, "release") == tag
    assert shop.git("status", "--porcelain") == ""
    assert shop.git("fsck", "--strict", "--no-dangling") == ""
    assert "modified" not in shop.dvc("status", "data/orders.csv.dvc", "data/parts.dvc")
    for name in ("data/orders.csv", "report.csv"):
        assert (shop.root / name).read_bytes() == WITHOUT + OTHERS[0]
    # What a stage had read is told as it was: its output was computed from other data.
    assert "changed deps" in shop.dvc("status")
    shop.dvc("repro", "-q")
    assert "up to date" in shop.dvc("status")


def test_git_forgets_the_old_commits_and_nothing_else(shop: Workshop) -> None:
    lost = [line.split()[1:] for line in shop.git("fsck", "--unreachable").splitlines()]
    stash = {c for kind, c in lost if kind == "commit" and "WIP" in shop.git("show", "-s", c)}
    assert {kind for kind, _ in lost} == {"blob", "commit", "tag", "tree"}
    log = shop.git("log", "-g", "--format=%gs", "HEAD")
    at = log.splitlines().index("commit: a text that nobody wanted")
    reset = shop.git("rev-parse", f"HEAD@{{{at}}}")
    pointers = [shop.git("rev-parse", f"{c}:data/orders.csv.dvc") for c in ("main", "side")]
    shop.git("update-ref", "ORIG_HEAD", "main")
    shop.git("commit-graph", "write", "--reachable")
    keep(store(shop))
    now = commit_map(shop)
    left = git_objects(shop)
    assert not left & {*now, *pointers}
    # What nothing led to can be had by its new id, unless it was a mere tree of old pointers.
    assert {i for kind, i in lost if kind == "blob" and i not in pointers} <= left
    assert all(now[i] in left for kind, i in lost if kind == "tag")
    (dropped,) = stash
    assert shop.git("show", f"{now[dropped]}^3:dropped.txt") == "worth nothing"
    git = shop.root / ".git"
    for file in [git / "ORIG_HEAD", git / "packed-refs", *(git / "logs").rglob("*")]:
        assert not file.is_file() or not any(old in file.read_text() for old in now)
    # What was reset away and what was stashed can still be had.
    assert shop.git("log", "-g", "--format=%gs", "HEAD") == log
    assert shop.git("rev-parse", f"HEAD@{{{at}}}") == now[reset]
    assert shop.git("show", f"{now[reset]}:README.md") == "Orders"
    assert len(shop.git("stash", "list").splitlines()) == 1
    shop.git("stash", "pop", "-q")
    assert (shop.root / "params.yaml").read_bytes() == b"limit: 4\n"
    assert shop.git("fsck", "--strict", "--no-dangling") == ""
    assert shop.git("commit-graph", "verify") == ""
    assert "in sync" in shop.dvc("status", "-c", "--all-commits")


def test_uncommitted_work_is_left_alone(shop: Workshop) -> None:
    shop.write("staged.txt", b"staged\n")
    shop.git("add", "staged.txt")
    shop.write("staged.txt", b"staged, then changed\n")
    shop.write("new.txt", b"new\n")
    shop.write("data/fresh.csv", UNRELATED + b"c-000901,,\r\n")
    shop.dvc("add", "-q", "data/fresh.csv")
    status = shop.git("status", "--porcelain")
    keep(store(shop))
    assert shop.git("status", "--porcelain") == status
    assert shop.git("show", ":staged.txt") == "staged"
    assert (shop.root / "staged.txt").read_bytes() == b"staged, then changed\n"
    assert "modified" not in shop.dvc("status", "data/fresh.csv.dvc")


def test_a_version_tells_its_former_names_and_an_old_name_opens_nothing(shop: Workshop) -> None:
    """An old id means the old bytes. A clone may still have them, so it is no name of the new."""
    old = shop.git("rev-parse", "main")
    keep(store(shop))
    new = shop.git("rev-parse", "main")
    told = {v.id: v.formerly for v in store(shop).versions()}
    assert old in told[new]
    assert told[shop.git("rev-parse", "v1^{commit}")] == ()
    assert "c-000002" in set(store(shop).identifier_values("customer_id", new))
    with pytest.raises(StoreError, match="has no version"):
        list(store(shop).identifier_values("customer_id", old))


def test_the_map_leads_through_a_second_erasure(shop: Workshop) -> None:
    oldest = shop.git("rev-parse", "main")
    keep(store(shop))
    middle = shop.git("rev-parse", "main")
    second = {"customer_id": ["c-000003"]}
    keep(store(shop), second)
    newest = shop.git("rev-parse", "main")
    assert commit_map(shop)[oldest] == commit_map(shop)[middle] == newest
    assert not git_objects(shop) & {oldest, middle}
    assert traces(store(shop), second) == traces(store(shop)) == []
    (named,) = [v.formerly for v in store(shop).versions() if v.id == newest]
    assert {oldest, middle} <= set(named)


def test_history_that_was_purged_before_does_not_stand_in_the_way(shop: Workshop) -> None:
    erase(store(shop))
    assert versions(shop)
    second = {"customer_id": ["c-000005"]}  # beside the first in a folder that has holes now
    keep(store(shop), second)
    assert traces(store(shop), second) == traces(store(shop)) == []
    assert "modified" not in shop.dvc("status", "data/parts.dvc")


def test_a_commit_that_only_brought_the_person_stays_a_commit(shop: Workshop) -> None:
    tip = shop.git("rev-parse", "main")
    shop.write("data/orders.csv", WITH + OTHERS[0] + b"c-000042,,again\r\n")
    shop.dvc("add", "-q", "data/orders.csv")
    last = shop.commit("her again")
    keep(store(shop))
    now = commit_map(shop)
    assert shop.git("rev-parse", "main^") == now[tip]
    assert shop.git("rev-parse", "main^{tree}") == shop.git("rev-parse", "main^^{tree}")
    named = {v.id: v.formerly for v in store(shop).versions()}
    assert {tip, last} <= set(named[now[tip]])


def test_one_output_alone_is_erased_in_every_commit(shop: Workshop) -> None:
    opened = store(shop, output="data/parts")
    others = {c: outputs_at(shop, c)["data/orders.csv.dvc"] for c in ("main", "side", "v1")}
    keep(opened)
    assert traces(opened) == []
    assert {c: outputs_at(shop, c)["data/orders.csv.dvc"] for c in others} == others
    assert traces(store(shop))
    assert "modified" not in shop.dvc("status", "data/orders.csv.dvc", "data/parts.dvc")
