"""What commits say beside their data outlives an erasure that keeps history, or blocks it."""

import subprocess
from collections.abc import Callable

import pytest

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.git import GitObject
from connectors.adapters.dvc.headers import is_signed, with_other_ids
from tests.connectors.dvc_builders import OTHERS, PERSON, WITH, Workshop, planned, store, traces
from tests.connectors.dvc_history import KEEP, commit_map, git_objects, keep

SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n\niQEz\n-----END PGP SIGNATURE-----"
BEGUN = b"author D <d@x> 1 +0000\ncommitter D <d@x> 2 +0130\n"


def header(name: bytes, text: bytes) -> bytes:
    return name + b" " + text.replace(b"\n", b"\n ") + b"\n"


def written(shop: Workshop, kind: str, body: bytes) -> str:
    """An object of exactly these bytes, as no command makes it."""
    command = ["git", "hash-object", "-w", "-t", kind, "--literally", "--stdin"]
    return (
        subprocess.run(command, cwd=shop.root, input=body, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


def body_of(shop: Workshop, kind: str, name: str) -> bytes:
    command = ["git", "cat-file", kind, name]
    return subprocess.run(command, cwd=shop.root, capture_output=True, check=True).stdout


def commit_on_main(shop: Workshop, more: bytes, message: bytes, parents: str = "main") -> str:
    """With headers or a message that git would not write like that today."""
    tree = shop.git("rev-parse", "main^{tree}").encode()
    lines = "".join(f"parent {shop.git('rev-parse', f'{p}^{{commit}}')}\n" for p in parents.split())
    body = b"tree " + tree + b"\n" + lines.encode() + BEGUN + more + b"\n" + message
    made = written(shop, "commit", body)
    shop.git("update-ref", "refs/heads/main", made)
    return made


def test_bytes_that_no_command_writes_stay(dvc_shop: Workshop) -> None:
    """A message in another encoding, without a last line end; a header of another program."""
    more = b"encoding ISO-8859-1\n" + header(b"change-id", b"zy\nxw") + b"HG:extra a b\n"
    said = more + b"\nsch\xf6n: see " + dvc_shop.git("rev-parse", "v1").encode() + b"\n\n\nend"
    old = commit_on_main(dvc_shop, more, said.partition(b"\n\n")[2])
    assert body_of(dvc_shop, "commit", old).endswith(said)
    keep(store(dvc_shop))
    assert body_of(dvc_shop, "commit", "main").endswith(BEGUN + said)
    assert commit_map(dvc_shop)[old] == dvc_shop.git("rev-parse", "main")


def test_a_commit_without_a_message_and_one_with_many_parents(dvc_shop: Workshop) -> None:
    commit_on_main(dvc_shop, b"", b"", "main side v1")
    before = dvc_shop.git("rev-parse", "main", "main^1", "main^2", "main^3").split()
    keep(store(dvc_shop))
    now = commit_map(dvc_shop)
    after = dvc_shop.git("rev-parse", "main", "main^1", "main^2", "main^3").split()
    assert after == [now.get(old, old) for old in before]
    assert after[3] == before[3]
    assert body_of(dvc_shop, "commit", "main").endswith(BEGUN + b"\n")


def signed_commit(shop: Workshop) -> None:
    commit_on_main(shop, header(b"gpgsig", SIGNATURE), b"signed\n")


def signed_tag(shop: Workshop) -> None:
    main = shop.git("rev-parse", "main").encode()
    body = b"object " + main + b"\ntype commit\ntag signed\ntagger D <d@x> 1 +0000\n\nof "
    shop.git("tag", "signed", written(shop, "tag", body + b"May\n" + SIGNATURE + b"\n"))


def merged_tag(shop: Workshop) -> None:
    tag = b"object " + b"0" * 40 + b"\ntype commit\ntag t\n\nof May\n" + SIGNATURE
    commit_on_main(shop, header(b"mergetag", tag), b"merge\n", "main side")


@pytest.mark.parametrize(
    ("sign", "what"),
    [
        (signed_commit, "Signed commits (1) and tags (0)"),
        (signed_tag, "Signed commits (0) and tags (1)"),
        (merged_tag, "Signed commits (1) and tags (0)"),
    ],
)
def test_signatures_go_only_where_the_option_allows_it(
    dvc_shop: Workshop, sign: Callable[[Workshop], None], what: str
) -> None:
    sign(dvc_shop)
    (blocker,) = planned(store(dvc_shop), mode=KEEP).blockers
    assert blocker.startswith(f"{what} would get other ids")
    assert "set the option drop_signatures to true" in blocker
    assert planned(store(dvc_shop)).blockers == ()  # a purge leaves them as they are
    opened = store(dvc_shop, drop_signatures=True)
    plan = planned(opened, mode=KEEP)
    assert plan.blockers == ()
    assert opened.erase(plan, PERSON).detail["signatures_dropped"] == 1
    opened.purge_history(plan)
    kind, name = ("tag", "signed") if sign is signed_tag else ("commit", "main")
    body = body_of(dvc_shop, kind, name)
    assert b"SIGNATURE" not in body
    assert b"of May\n" in body or kind == "commit"
    assert dvc_shop.git("rev-parse", f"{name}^{{commit}}") == dvc_shop.git("rev-parse", "main")


def test_what_came_before_the_person_keeps_its_signature(dvc_shop: Workshop) -> None:
    """A branch that never held them is none of the erasure's."""
    signed = written(
        dvc_shop,
        "commit",
        b"tree " + dvc_shop.git("rev-parse", "v1^{tree}").encode() + b"\nparent "
        + dvc_shop.git("rev-parse", "v1^{commit}").encode() + b"\n" + BEGUN
        + header(b"gpgsig", SIGNATURE) + b"\nsigned\n",
    )  # fmt: skip
    dvc_shop.git("branch", "-q", "clean", signed)
    keep(store(dvc_shop))
    assert dvc_shop.git("rev-parse", "clean") == signed
    assert signed not in commit_map(dvc_shop)


def test_a_tag_of_a_tag_follows(dvc_shop: Workshop) -> None:
    dvc_shop.git("tag", "-a", "inner", "-m", "inner", "main")
    dvc_shop.git("tag", "-a", "outer", "-m", "outer", "inner")
    old = dvc_shop.git("rev-parse", "inner", "outer").split()
    keep(store(dvc_shop))
    assert dvc_shop.git("rev-parse", "outer^{commit}") == dvc_shop.git("rev-parse", "main")
    assert [commit_map(dvc_shop)[o] for o in old] == dvc_shop.git(
        "rev-parse", "inner", "outer"
    ).split()
    assert not git_objects(dvc_shop) & set(old)


def test_a_signed_tag_inside_of_another_is_seen(dvc_shop: Workshop) -> None:
    signed_tag(dvc_shop)
    dvc_shop.git("tag", "-a", "outer", "-m", "outer", "signed")
    dvc_shop.git("tag", "-d", "signed")
    (blocker,) = planned(store(dvc_shop), mode=KEEP).blockers
    assert blocker.startswith("Signed commits (0) and tags (1)")


def test_lost_commits_that_are_not_whole_do_not_hinder(dvc_shop: Workshop) -> None:
    """Git removes what nothing leads to bit by bit."""
    main = dvc_shop.git("rev-parse", "main").encode()
    written(dvc_shop, "commit", b"tree " + b"1" * 40 + b"\nparent " + main + b"\n" + BEGUN)
    tree = dvc_shop.git("rev-parse", "main^{tree}").encode()
    orphan = b"tree " + tree + b"\nparent " + b"2" * 40 + b"\n" + BEGUN + b"\n"
    written(dvc_shop, "commit", orphan)
    keep(store(dvc_shop))
    assert traces(store(dvc_shop)) == []
    assert not git_objects(dvc_shop) & set(commit_map(dvc_shop))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("commit-map", "old new\nabc\n", 'Line 2 of .*/commit-map is no "old new"'),
        (f"{'0' * 32}.json", "{}", "is no journal of an erasure"),
    ],
)
def test_files_of_ours_that_somebody_broke_are_named(
    dvc_shop: Workshop, name: str, text: str, reason: str
) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    before = dvc_shop.git("for-each-ref")
    (dvc_shop.root / ".git/vestige").mkdir()
    (dvc_shop.root / ".git/vestige" / name).write_text(text)
    with pytest.raises(StoreError, match=reason):
        store(dvc_shop).erase(plan, PERSON)
    assert dvc_shop.git("for-each-ref") == before


def test_only_the_signature_goes_from_an_object() -> None:
    commit = GitObject(
        "1" * 40, "commit",
        b"tree a\nparent b\n" + BEGUN + header(b"gpgsig", SIGNATURE) + b"x y\n\nno gpgsig z\n",
    )  # fmt: skip
    assert is_signed(commit)
    new = with_other_ids(commit, {"b": "c"}, "d")
    assert new == b"tree d\nparent c\n" + BEGUN + b"x y\n\nno gpgsig z\n"
    assert not is_signed(GitObject("2" * 40, "commit", new))
    quoted = GitObject("3" * 40, "commit", b"tree a\n" + BEGUN + b"\n" + SIGNATURE + b"\n")
    assert not is_signed(quoted)
    assert with_other_ids(quoted, {}, "d") == quoted.body.replace(b"tree a", b"tree d")


def test_experiments_stay_with_the_commit_that_they_began_with(dvc_shop: Workshop) -> None:
    base = dvc_shop.git("rev-parse", "main")
    dvc_shop.git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/wavy-rope", "side")
    assert "wavy-rope" in dvc_shop.dvc("exp", "list")
    keep(store(dvc_shop))
    assert "wavy-rope" in dvc_shop.dvc("exp", "list")
    assert base[2:] not in dvc_shop.git("for-each-ref")
    assert traces(store(dvc_shop)) == []


def test_fetched_branches_follow_those_that_were_fetched(dvc_shop: Workshop) -> None:
    for branch in ("main", "side"):
        dvc_shop.git("update-ref", f"refs/remotes/origin/{branch}", branch)
    dvc_shop.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    keep(store(dvc_shop))
    assert dvc_shop.git("rev-parse", "origin/HEAD") == dvc_shop.git("rev-parse", "main")
    assert dvc_shop.git("symbolic-ref", "refs/remotes/origin/HEAD") == "refs/remotes/origin/main"
    assert dvc_shop.git("rev-parse", "origin/side") == dvc_shop.git("rev-parse", "side")


# What blocks.


def borrowed(shop: Workshop) -> None:
    other = shop.folder / "other.git"
    shop.git("init", "-q", "--bare", str(other))
    (shop.root / ".git/objects/info/alternates").write_text(f"{other}/objects\n")


def kept_pack(shop: Workshop) -> None:
    shop.git("gc", "-q")
    (pack,) = (shop.root / ".git/objects/pack").glob("*.pack")
    pack.with_suffix(".keep").touch()


def noted(shop: Workshop) -> None:
    shop.git("notes", "add", "-m", "good data", "main")


def replaced(shop: Workshop) -> None:
    shop.git("replace", "main", "side")


def shallow(shop: Workshop) -> None:
    (shop.root / ".git/shallow").write_text(shop.git("rev-parse", "main^") + "\n")


def grafted(shop: Workshop) -> None:
    (shop.root / ".git/info/grafts").write_text(shop.git("rev-parse", "main") + "\n")


def bisected(shop: Workshop) -> None:
    shop.git("bisect", "start")


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (borrowed, "borrows git objects from another one"),
        (kept_pack, "A pack of the repository is marked to be kept"),
        (noted, "refs/notes/commits holds notes on commits that would get other ids"),
        (replaced, "replaces a commit in git's eyes"),
        (shallow, "is a shallow clone"),
        (grafted, "has grafts"),
        (bisected, "A bisect is under way"),
    ],
)
def test_what_names_commits_otherwise_is_told_first(
    dvc_shop: Workshop, prepare: Callable[[Workshop], None], reason: str
) -> None:
    unhindered = planned(store(dvc_shop), mode=KEEP)
    prepare(dvc_shop)
    plan = planned(store(dvc_shop), mode=KEEP)
    assert [b for b in plan.blockers if reason in b]
    before = dvc_shop.git("for-each-ref")
    with pytest.raises(StoreError, match="cannot be carried out: "):
        store(dvc_shop).erase(plan, PERSON)
    if plan.snapshot == unhindered.snapshot:  # it came up after the plan
        with pytest.raises(StoreError, match=f"cannot begin: .*{reason}"):
            store(dvc_shop).erase(unhindered, PERSON)
    assert dvc_shop.git("for-each-ref") == before
    nobody = planned(store(dvc_shop), {"customer_id": ["c-999999"]}, KEEP)
    assert nobody.blockers == ()


def test_notes_on_other_commits_do_not_hinder(dvc_shop: Workshop) -> None:
    dvc_shop.git("notes", "add", "-m", "the first", "v1^{commit}")
    keep(store(dvc_shop))
    assert dvc_shop.git("notes", "show", "v1^{commit}") == "the first"


def test_rows_that_cannot_be_taken_out_of_an_old_version_block_keeping_it(
    dvc_shop: Workshop,
) -> None:
    """A purge takes the old version as a whole; so it needs nothing of the kind."""
    text = WITH + b"c-000004,,ask ann.archer@mail.example\r\n"
    dvc_shop.write("data/orders.csv", text)
    dvc_shop.dvc("add", "-q", "data/orders.csv")
    dvc_shop.commit("a note about her")
    dvc_shop.write("data/orders.csv", WITH + OTHERS[0])
    dvc_shop.dvc("add", "-q", "data/orders.csv")
    dvc_shop.commit("without the note")
    opened = store(dvc_shop, text_columns=["note"])
    (blocker,) = planned(opened, mode=KEEP).blockers
    assert "(data/orders.csv) names the person in an older version, where rows cannot" in blocker
    assert planned(opened).blockers == ()


def test_the_option_is_true_or_false(dvc_shop: Workshop) -> None:
    with pytest.raises(ValueError, match='"drop_signatures" is true or false'):
        store(dvc_shop, drop_signatures="yes")


def test_a_repository_that_keeps_no_logs_is_erased_in_too(dvc_shop: Workshop) -> None:
    dvc_shop.git("config", "core.logAllRefUpdates", "false")
    for log in (dvc_shop.root / ".git/logs").rglob("*"):
        if log.is_file():
            log.unlink()
    keep(store(dvc_shop))
    assert not git_objects(dvc_shop) & set(commit_map(dvc_shop))
    assert traces(store(dvc_shop)) == []
