"""What stands in the way in a DVC repository is said in the plan, and nothing is touched."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.locks import locked
from tests.connectors.dvc_builders import (
    EVERY_NEEDLE,
    HEADER,
    OTHERS,
    PERSON,
    UNRELATED,
    WITH,
    Workshop,
    erase,
    objects,
    planned,
    store,
    traces,
)

Prepare = Callable[[Workshop], object]


def in_git(shop: Workshop) -> None:
    shop.write("contacts.csv", WITH)
    shop.commit("contacts")
    shop.write("contacts.csv", b"")
    shop.commit("no contacts")


def uncached(shop: Workshop) -> None:
    """An output that DVC leaves to git."""
    (shop.root / "dvc.yaml").write_text(
        "stages:\n  copy:\n    cmd: cp data/orders.csv copy.csv\n    outs:\n"
        "    - copy.csv:\n        cache: false\n"
    )
    shop.dvc("repro", "-q")
    shop.commit("a copy")


def parameter(shop: Workshop) -> None:
    lock = (shop.root / "dvc.lock").read_text()
    shop.write("dvc.lock", lock.replace("limit: 3", f"limit: {EVERY_NEEDLE[1]}").encode())
    shop.commit("a limit")


def other_format(shop: Workshop) -> None:
    shop.write("data/parts/letter.txt", f"Dear {EVERY_NEEDLE[1]},\n".encode())
    shop.dvc("add", "-q", "data/parts")
    shop.commit("a letter")


def undecodable(shop: Workshop) -> None:
    shop.write("data/parts/model.bin", bytes(range(256)))
    shop.dvc("add", "-q", "data/parts")
    shop.commit("a model")


def named(shop: Workshop) -> None:
    shop.write(f"data/parts/{EVERY_NEEDLE[0]}.csv", HEADER + OTHERS[0])
    shop.dvc("add", "-q", "data/parts")
    shop.commit("a part named after somebody")


def imported(shop: Workshop) -> None:
    pointer = shop.root / "data/orders.csv.dvc"
    shop.write("data/orders.csv.dvc", b"deps:\n- path: x.csv\n" + pointer.read_bytes())
    shop.commit("imported")


def fetched(shop: Workshop) -> None:
    """As if a colleague's branch had been fetched, and never checked out."""
    shop.git("update-ref", "refs/remotes/origin/theirs", shop.git("rev-parse", "side"))
    shop.git("branch", "-q", "-D", "side")


def annotated(shop: Workshop) -> None:
    pointer = shop.root / "data/orders.csv.dvc"
    pointer.write_bytes(pointer.read_bytes() + b"# from the shop\n")


def configured(shop: Workshop, lines: str) -> None:
    (shop.root / ".dvc" / "config.local").write_text(lines)


def merging(shop: Workshop) -> None:
    (shop.root / ".git" / "MERGE_HEAD").write_text(shop.git("rev-parse", "side") + "\n")


CASES: list[tuple[Prepare, str]] = [
    (in_git, "git blob .*: contacts.csv names the person and lies in git itself"),
    (uncached, "git blob .*: copy.csv names the person and lies in git itself"),
    (parameter, "git blob .*: dvc.lock names the person and lies in git itself"),
    (lambda s: s.git("commit", "-q", "--allow-empty", "-m", f"for {EVERY_NEEDLE[1]}"),
     "git commit .* names the person and lies in git itself"),
    (other_format, r"letter\.txt\) names the person, a branch points to it, and it is in no"),
    (undecodable, r"model\.bin\) is in a format that cannot be decoded"),
    (named, r"The name of .*data/parts/\*\.csv\) names the person, but it holds rows of other"),
    (imported, r"data/orders\.csv\.dvc on the branch main imports data from elsewhere"),
    (fetched, "The newest data of origin/theirs holds the person"),
    (merging, "A merge is under way"),
    (lambda s: s.git("checkout", "-q", "--detach"), "a detached HEAD"),
    (lambda s: s.git("worktree", "add", "-q", "../other", "side"), "linked work trees"),
    (lambda s: s.write("notes.txt", f"ask {EVERY_NEEDLE[1]}".encode()),
     r"notes\.txt in the work tree names the person, and DVC does not keep it"),
    (lambda s: s.write("data/orders.csv", WITH + OTHERS[2]),
     r"data/orders\.csv in the work tree holds the person and is not what its pointer says"),
    (annotated, r"The pointer data/orders\.csv\.dvc has changes that are not committed"),
    (lambda s: (s.root / "out").symlink_to("/etc/hostname"), "out is a symbolic link out of the"),
    (lambda s: configured(s, "[core]\nhardlink_lock = true\n"), "uses core.hardlink_lock"),
    (lambda s: configured(s, "['remote \"cloud\"']\nurl = gs://bucket/path\n"),
     r'The remote cloud \(gs://bucket/path\) cannot be reached .* begins with "gs://"'),
    (lambda s: configured(s, "['remote \"nas\"']\nurl = /nowhere/at/all\n"), "is no such folder"),
    (lambda s: configured(s, "['remote \"c\"']\nurl = remote://store/x\nversion_aware = true\n"),
     "it keeps versions in the cloud"),
]  # fmt: skip


@pytest.mark.parametrize(("prepare", "reason"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_a_blocker_is_named_before_anybody_approves(
    dvc_shop: Workshop, prepare: Prepare, reason: str
) -> None:
    prepare(dvc_shop)
    before = objects(dvc_shop.remote), dvc_shop.git("for-each-ref")
    plan = planned(store(dvc_shop))
    assert any(re.search(reason, blocker) for blocker in plan.blockers), plan.blockers
    assert not any(needle in blocker for needle in EVERY_NEEDLE for blocker in plan.blockers)
    with pytest.raises(StoreError, match="cannot be carried out"):
        store(dvc_shop).erase(plan, PERSON)
    assert (objects(dvc_shop.remote), dvc_shop.git("for-each-ref")) == before


def test_many_blockers_of_a_kind_are_counted(dvc_shop: Workshop) -> None:
    for number in range(8):
        dvc_shop.write(f"list-{number}.csv", WITH + OTHERS[0] * number)
    blockers = planned(store(dvc_shop)).blockers
    assert len(blockers) == 6
    assert blockers[-1] == "The same is true of 3 more, the last of them list-7.csv."


def test_what_cannot_be_reached_fails_the_scan_too(dvc_shop: Workshop) -> None:
    config = dvc_shop.root / ".dvc" / "config"
    body = config.read_bytes()
    config.write_bytes(body + b"['remote \"cloud\"']\n    url = s3://user:secret@bucket/path\n")
    dvc_shop.commit("a remote")
    config.write_bytes(body)  # what was pushed there is there all the same
    dvc_shop.commit("no remote")
    plan = planned(store(dvc_shop))
    assert [b for b in plan.blockers if "The remote cloud" in b]
    assert not any("secret" in b for b in plan.blockers)
    retired = store(dvc_shop, retired_remotes=["cloud"])
    erase(retired)
    assert traces(retired) == []
    assert [t for t in traces(store(dvc_shop)) if t.startswith("remote cloud: it cannot be reach")]


def test_files_that_hold_no_rows_may_be_in_any_format(dvc_shop: Workshop) -> None:
    undecodable(dvc_shop)
    dvc_shop.write("logo.png", b"\x89PNG\x00\x01\x02")
    dvc_shop.commit("a logo")
    assert [b for b in planned(store(dvc_shop)).blockers if "logo.png" in b]
    opened = store(dvc_shop, unrelated_files=["*.bin", "*.png"])
    erase(opened)
    assert traces(opened) == []
    assert {t.rpartition(": ")[2] for t in traces(store(dvc_shop))} == {
        "its format is unknown, so its content cannot be decoded"
    }


def test_objects_that_no_commit_points_to_may_be_another_repositorys(dvc_shop: Workshop) -> None:
    """The commit that pointed to them was given up, and the remote has its data still."""
    dvc_shop.git("checkout", "-q", "-b", "given-up")
    dvc_shop.write("data/orders.csv", WITH + OTHERS[2] + OTHERS[2])
    dvc_shop.dvc("add", "-q", "data/orders.csv")
    dvc_shop.commit("for nothing")
    dvc_shop.dvc("push", "-q", "data/orders.csv.dvc")
    dvc_shop.git("checkout", "-q", "-f", "main")
    dvc_shop.dvc("checkout", "-q")
    dvc_shop.git("branch", "-q", "-D", "given-up")
    (blocker,) = planned(store(dvc_shop, exclusive=[])).blockers
    assert "it may be another repository's" in blocker
    findings = store(dvc_shop).find_subject(PERSON)
    assert [o.kind for o in findings.objects].count("orphan") == 1
    erase(store(dvc_shop))
    assert traces(store(dvc_shop)) == []


def test_older_versions_go_where_newer_ones_would_block(dvc_shop: Workshop) -> None:
    """A letter that only history has is purged; only what a branch points to needs a look."""
    other_format(dvc_shop)
    (dvc_shop.root / "data/parts/letter.txt").unlink()
    dvc_shop.dvc("add", "-q", "data/parts")
    dvc_shop.commit("no letter")
    erase(store(dvc_shop))
    assert traces(store(dvc_shop)) == []


# Others at work.


def test_two_workers_and_a_dvc_command_do_not_meet(dvc_shop: Workshop) -> None:
    plan = planned(store(dvc_shop))
    with locked(dvc_shop.root):
        with pytest.raises(StoreError, match="Another erasure is at work"):
            store(dvc_shop).erase(plan, PERSON)
        assert "Unable to acquire lock" in dvc_shop.dvc("add", "data/orders.csv", check=False)
    holder = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(1); input()"
    lock = str(dvc_shop.root / ".dvc" / "tmp" / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", holder, lock], stdin=-1, stdout=-1, text=True
    ) as held:
        assert held.stdout
        held.stdout.readline()
        with pytest.raises(StoreError, match="A dvc command is at work"):
            store(dvc_shop).purge_history(plan)
        held.communicate("\n")


# Damage.


def test_a_damaged_object_is_a_clear_error(dvc_shop: Workshop) -> None:
    plan = planned(store(dvc_shop))
    path = next(p.partition(" ")[0] for p in plan.objects if "parquet" in p)
    damaged = dvc_shop.root / ".dvc" / "cache" / path
    body = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(body[:100] + b"\0" + body[101:])
    with pytest.raises(StoreError, match=f"The object {path} is damaged: its content is not what"):
        store(dvc_shop).find_subject(PERSON)
    refs = dvc_shop.git("for-each-ref")
    with pytest.raises(StoreError, match="is damaged"):
        store(dvc_shop).erase(plan, PERSON)
    assert dvc_shop.git("for-each-ref") == refs
    damaged.write_bytes(body[:100])
    with pytest.raises(StoreError, match="one of the copies is damaged"):
        store(dvc_shop).find_subject(PERSON)


def test_a_damaged_pointer_in_git_is_a_clear_error(dvc_shop: Workshop) -> None:
    blob = dvc_shop.git("rev-parse", "v1:data/prices.csv.dvc")
    loose = dvc_shop.root / ".git" / "objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(loose.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r'damaged\. Look for it with "git fsck"'):
        store(dvc_shop).versions()


def test_a_damaged_git_object_that_leads_to_no_data_fails_the_scan(dvc_shop: Workshop) -> None:
    dvc_shop.write("README.md", b"Orders of the shop.\n")
    dvc_shop.commit("a text")
    erase(store(dvc_shop))
    blob = dvc_shop.git("rev-parse", "HEAD~1:README.md")
    loose = dvc_shop.root / ".git" / "objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(loose.read_bytes()[:-20])
    (left,) = traces(store(dvc_shop))
    assert left.startswith("git objects: The command git cat-file")


def test_a_person_in_a_packed_or_unreachable_git_object_is_found(dvc_shop: Workshop) -> None:
    erase(store(dvc_shop))
    in_git(dvc_shop)
    dvc_shop.git("reset", "-q", "--hard", "HEAD~2")
    dvc_shop.git("reflog", "expire", "--expire=now", "--all")
    assert any(line.startswith("git blob") for line in traces(store(dvc_shop)))
    dvc_shop.git("gc", "-q", "--prune=now")
    assert traces(store(dvc_shop)) == []
    in_git(dvc_shop)
    dvc_shop.git("repack", "-q", "-a", "-d")
    assert any("contacts.csv" in line for line in traces(store(dvc_shop)))
    assert Path(dvc_shop.root / "contacts.csv").read_bytes() == b""


def test_rows_that_cannot_be_read_name_file_and_line(dvc_shop: Workshop) -> None:
    dvc_shop.write("data/orders.csv", UNRELATED + b"c-1\n")
    dvc_shop.dvc("add", "-q", "data/orders.csv")
    dvc_shop.commit("broken")
    with pytest.raises(
        StoreError, match=r"files/md5/.* \(data/orders\.csv\) has a broken row at"
    ) as no:
        store(dvc_shop).find_subject(PERSON)
    # History cannot be corrected, but one object of it can be left to the search of bytes.
    dvc_shop.write("data/orders.csv", UNRELATED)
    dvc_shop.dvc("add", "-q", "data/orders.csv")
    dvc_shop.commit("mended")
    broken = str(no.value).split()[2]
    opened = store(dvc_shop, unrelated_files=[broken])
    erase(opened)
    assert broken in objects(dvc_shop.root / ".dvc" / "cache")
