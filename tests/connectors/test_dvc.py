"""DVC repositories: versions, finding, erasing, and what must not change."""

import hashlib
import json
import shutil
import uuid
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.adapters.base import PlanOutdatedError, StoreError, StoreNotFoundError
from connectors.adapters.dvc import DvcStore
from tests.connectors.dvc_builders import (
    EVERY_NEEDLE,
    HEADER,
    OTHERS,
    PERSON,
    UNRELATED,
    WITH,
    WITHOUT,
    Workshop,
    begun,
    erase,
    json_line,
    objects,
    outputs_at,
    parquet,
    planned,
    store,
    traces,
)

# Versions.


def test_a_version_is_a_commit_that_points_to_other_data(dvc_shop: Workshop) -> None:
    dvc_shop.write("README.md", b"Orders of the shop.\n")
    last = dvc_shop.commit("only a text")
    first, second, side, third = store(dvc_shop).versions()
    assert first.id == dvc_shop.git("rev-parse", "v1^{commit}")
    assert side.id == dvc_shop.git("rev-parse", "side")
    assert third.id == dvc_shop.git("rev-parse", f"{last}^")
    assert (first.refs, second.refs, side.refs) == (("tags/v1",), (), ("side",))
    assert third.refs == ("main",)
    assert (first.parents, second.parents) == ((), (first.id,))
    assert side.parents == third.parents == (second.id,)
    assert first.operation == "commit: data/orders.csv, data/prices.csv"
    assert (first.rows, second.rows, side.rows, third.rows) == (2, 27, 33, 29)
    assert {o.path: (o.bytes, o.rows) for o in first.objects} == {
        "data/orders.csv": (len(UNRELATED), 1),
        "data/prices.csv": (29, 1),
    }
    pointer = (dvc_shop.root / "data/prices.csv.dvc").read_text()
    prices = next(o for o in first.objects if o.path == "data/prices.csv")
    assert prices.digest
    assert prices.digest.removeprefix("md5:") in pointer
    assert dict(second.schema)["price"] == "double|string"
    assert len({v.digest for v in store(dvc_shop).versions()}) == 4


def test_without_digests_only_files_that_say_so_are_counted(dvc_shop: Workshop) -> None:
    assert [v.rows for v in store(dvc_shop).versions(digests=False)] == [None, 13, 13, 13]


def test_a_version_whose_data_is_gone_is_retained_no_more(dvc_shop: Workshop) -> None:
    before = [v.id for v in store(dvc_shop).versions()]
    shutil.rmtree(dvc_shop.root / ".dvc" / "cache")
    assert [v.id for v in store(dvc_shop).versions()] == before  # the remote has it
    for place in objects(dvc_shop.remote):
        (dvc_shop.remote / place).unlink()
    assert store(dvc_shop).versions() == []
    with pytest.raises(StoreError, match=r"no version .* whose data is all there"):
        store(dvc_shop).schema()


def test_profile_schema_and_identifiers_of_a_version(dvc_shop: Workshop) -> None:
    opened = store(dvc_shop)
    first = opened.versions()[0].id
    profile = opened.profile()
    assert profile["version"] == dvc_shop.git("rev-parse", "main")
    assert (profile["rows"], profile["files"]) == (29, 6)
    assert not any(needle in json.dumps(profile) for needle in EVERY_NEEDLE)
    assert opened.profile(first)["rows"] == 2
    assert [name for name, _ in opened.schema(first)] == ["customer_id", "email", "note", "price"]
    assert set(opened.identifier_values("customer_id", first)) == {"c-000900"}
    with pytest.raises(StoreError, match="has a column phone"):
        list(opened.identifier_values("phone", first))
    with pytest.raises(StoreError, match="has no version 17"):
        opened.schema("17")


# Finding.


def test_each_object_is_searched_once_and_mapped_to_its_commits(dvc_shop: Workshop) -> None:
    first, second, side, third = [v.id for v in store(dvc_shop).versions()]
    seen: list[tuple[str, int, int]] = []
    findings = store(dvc_shop).find_subject(PERSON, lambda p, n, t, _b: seen.append((p, n, t)))
    found = {o.path.partition(" ")[2]: o for o in findings.objects if o.kind == "data"}
    assert {called: (o.rows, o.versions) for called, o in found.items() if "parts" in called} == {
        "(data/parts/a.parquet)": (2, (second, side, third)),
        "(data/parts/b.jsonl)": (1, (second, side, third)),
        "(data/parts/d.csv)": (2, (side,)),
    }
    orders = [o for o in findings.objects if "orders.csv" in o.path]
    assert [o.versions for o in orders] == [(second, side), (third,)] or [
        o.versions for o in orders
    ] == [(third,), (second, side)]
    assert findings.rows_by_version == {first: 0, second: 7, side: 9, third: 7}
    assert findings.linked == {"customer_id": ("c-000777",)}
    assert {o.kind for o in findings.objects} == {"data", "log"}
    assert findings.files_searched == len(objects(dvc_shop.root / ".dvc" / "cache"))
    assert seen[-1] == ("find", findings.files_searched, findings.files_searched)
    assert "clones, forks" in findings.method


def test_the_plan_names_what_is_lost_and_nobody(dvc_shop: Workshop) -> None:
    plan = planned(store(dvc_shop))
    versions = [v.id for v in store(dvc_shop).versions()]
    assert plan.versions_lost == tuple(versions[1:])
    assert plan.rows == 2 + 1 + 2 + 2 + 2
    assert plan.blockers == ()
    assert not any(needle in str(plan) for needle in EVERY_NEEDLE)


# Erasing.


def test_the_person_goes_from_every_branch_and_place(dvc_shop: Workshop, tmp_path: Path) -> None:
    cache = dvc_shop.root / ".dvc" / "cache"
    before = {place: objects(place) for place in (cache, dvc_shop.remote)}
    heads = {b: dvc_shop.git("rev-parse", b) for b in ("main", "side", "v1")}
    old = {commit: outputs_at(dvc_shop, commit) for commit in heads.values()}
    assert traces(store(dvc_shop))
    plan = erase(store(dvc_shop))

    # One commit on each branch, by us, with a message that says nothing; history is as it was.
    for branch in ("main", "side"):
        assert dvc_shop.git("rev-parse", f"{branch}^") == heads[branch]
        assert dvc_shop.git("log", "-1", "--format=%an %s", branch) == "Vestige Erase as planned"
        changed = dvc_shop.git("diff", "--name-only", f"{branch}^", branch).splitlines()
        assert changed == ["data/orders.csv.dvc", "data/parts.dvc", "dvc.lock"]
    assert dvc_shop.git("rev-parse", "v1") == heads["v1"]
    assert {commit: outputs_at(dvc_shop, commit) for commit in heads.values()} == old
    assert dvc_shop.git("status", "--porcelain") == ""
    assert dvc_shop.git("fsck", "--strict", "--no-dangling") == ""

    # The planned objects are gone from both places; every other one is there, unchanged.
    gone = {path.partition(" ")[0] for path in plan.objects}
    for place, was in before.items():
        kept = {path: digest for path, digest in was.items() if path not in gone}
        now = objects(place)
        assert kept.items() <= now.items()
        assert not gone & set(now)
    assert traces(store(dvc_shop)) == []
    assert planned(store(dvc_shop)).objects == ()
    retained = {v.id for v in store(dvc_shop).versions()}
    assert not retained & set(plan.versions_lost)
    assert len(retained) == 3

    # What a colleague gets: a new clone, and the data from the remote.
    clone = Workshop(tmp_path / "clone")
    clone.folder.mkdir()
    clone.run("git", "clone", "-q", str(dvc_shop.root), str(clone.root), cwd=tmp_path)
    clone.dvc("remote", "add", "-q", "-f", "--local", "store", str(dvc_shop.remote))
    clone.dvc("pull", "-q")
    assert (clone.root / "data/orders.csv").read_bytes() == WITHOUT + OTHERS[0]
    assert (clone.root / "data/parts/b.jsonl").read_bytes() == b'{"customer_id": "c-000005"}\n'
    expected = tmp_path / "expected.parquet"
    parquet(expected, person=False)
    assert pl.read_parquet(clone.root / "data/parts/a.parquet").equals(pl.read_parquet(expected))
    assert "modified" not in clone.dvc("status", "data/orders.csv.dvc", "data/parts.dvc")
    clone.git("checkout", "-q", "v1")
    clone.dvc("pull", "-q")
    assert (clone.root / "data/orders.csv").read_bytes() == UNRELATED
    clone.git("checkout", "-q", "side")
    clone.dvc("pull", "-q", "data/parts.dvc")
    assert (clone.root / "data/parts/d.csv").read_bytes() == WITHOUT + OTHERS[1]


def test_the_work_tree_follows_and_the_pipeline_is_to_be_run_again(dvc_shop: Workshop) -> None:
    erase(store(dvc_shop))
    for name in ("data/orders.csv", "report.csv"):
        assert (dvc_shop.root / name).read_bytes() == WITHOUT + OTHERS[0]
    assert (dvc_shop.root / "data/parts/c.csv").read_bytes() == UNRELATED
    # Its dependency is another one now: DVC computes from data without the person again.
    assert "changed deps" in dvc_shop.dvc("status")
    dvc_shop.dvc("repro", "-q")
    assert "up to date" in dvc_shop.dvc("status")
    assert (dvc_shop.root / "report.csv").read_bytes() == WITHOUT + OTHERS[0]
    assert traces(store(dvc_shop)) == []


@pytest.mark.parametrize("recipe", ["gc", "delete"])
def test_the_usual_recipes_leave_traces_that_the_scan_finds(
    dvc_shop: Workshop, recipe: str
) -> None:
    """Deleting from the current file and committing; then `dvc gc`, which also destroys versions
    that never held the person."""
    unrelated = dvc_shop.git("show", "v1:data/orders.csv.dvc")
    if recipe == "gc":
        dvc_shop.write("data/orders.csv", WITHOUT)
        dvc_shop.dvc("add", "-q", "data/orders.csv")
        dvc_shop.commit("without her")
        dvc_shop.dvc("gc", "-w", "-c", "-f", "-q")
        assert not any(path.replace("/", "") in unrelated for path in objects(dvc_shop.remote))
    else:
        dvc_shop.git("rm", "-q", "data/orders.csv.dvc", "data/parts.dvc")
        dvc_shop.git("commit", "-q", "-m", "delete the data")
    left = traces(store(dvc_shop))
    assert any(trace.startswith("cache: files/md5/") for trace in left)
    assert any(trace.startswith("remote store: files/md5/") for trace in left)


def test_who_is_the_same_person_and_files_with_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers, floats beside NULLs, UUIDs, addresses in another case, no rows, only theirs, and a
    category that no row has any more."""
    shop = begun(tmp_path / "shop")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(shop.site))
    person = str(uuid.UUID(int=7))
    folder = shop.root / "people"
    folder.mkdir()
    pl.DataFrame({"who": [4, 5, None]}).write_parquet(folder / "int.parquet")
    pl.DataFrame({"who": [4.0, None, 5.0]}).write_parquet(folder / "float.parquet")
    (folder / "uuid.jsonl").write_text(
        json_line(who=uuid.UUID(int=7).hex.upper()) + json_line(who=None) + json_line(who="00005")
    )
    (folder / "mail.csv").write_text("who,n\n ANN@X.example,1\njoann@x.example,2\n,3\n")
    (folder / "none.csv").write_text("who,n\n")
    (folder / "only.csv").write_text("who,n\n00004,1\n00004,2\n")
    pl.DataFrame({"who": [4, 4]}).write_parquet(folder / "only.parquet")
    (folder / "only.jsonl").write_text(json_line(who=4))
    categories = pa.array(["b@x.example", "ann@x.example"]).dictionary_encode()
    pq.write_table(pa.table({"who": categories}).slice(0, 1), folder / "categories.parquet")
    shop.dvc("add", "-q", "people")
    shop.commit("people")
    needles = {"who": ["00004", person, "ann@x.example"]}
    plan = erase(store(shop, ["who"]), needles)
    assert plan.rows == 1 + 1 + 1 + 1 + 2 + 2 + 1
    assert pl.read_parquet(folder / "int.parquet")["who"].to_list() == [5, None]
    assert pl.read_parquet(folder / "float.parquet")["who"].to_list() == [None, 5.0]
    assert (folder / "uuid.jsonl").read_text() == json_line(who=None) + json_line(who="00005")
    assert (folder / "mail.csv").read_text() == "who,n\njoann@x.example,2\n,3\n"
    assert (folder / "none.csv").read_text() == (folder / "only.csv").read_text() == "who,n\n"
    assert pl.read_parquet(folder / "only.parquet").height == 0
    assert (folder / "only.jsonl").read_bytes() == b""
    assert pl.read_parquet(folder / "categories.parquet")["who"].to_list() == ["b@x.example"]
    assert "up to date" in shop.dvc("status")
    assert traces(store(shop, ["who"]), needles) == []


def test_nobody_found_is_nothing_to_do(dvc_shop: Workshop) -> None:
    before = objects(dvc_shop.remote), dvc_shop.git("rev-parse", "main")
    plan = erase(store(dvc_shop), {"customer_id": ["c-999999"]})
    assert (plan.objects, plan.rows, plan.versions_lost) == ((), 0, ())
    assert (objects(dvc_shop.remote), dvc_shop.git("rev-parse", "main")) == before


def test_file_names_in_a_folder_may_be_the_persons(dvc_shop: Workshop) -> None:
    parts = dvc_shop.root / "data/parts"
    (parts / "c-000042.csv").write_bytes(HEADER + b"c-000042,,x\r\n")
    dvc_shop.dvc("add", "-q", "data/parts")
    dvc_shop.commit("a part of her own")
    dvc_shop.dvc("push", "-q")
    plan = erase(store(dvc_shop))
    assert not any("c-000042" in path for path in plan.objects)
    assert any(".dir (data/parts)" in path for path in plan.objects)
    assert sorted(p.name for p in parts.iterdir()) == ["a.parquet", "b.jsonl", "c.csv"]
    assert "modified" not in dvc_shop.dvc("status", "data/parts.dvc")
    assert traces(store(dvc_shop)) == []


def test_temporary_files_and_dvcs_own_caches_are_cleared(dvc_shop: Workshop) -> None:
    dvc_shop.dvc("status")
    (dvc_shop.root / "data/parts/c-000042.csv").write_bytes(HEADER + b"c-000042,,x\r\n")
    dvc_shop.dvc("add", "-q", "data/parts")
    dvc_shop.commit("a part of her own")
    caches = [p for p in dvc_shop.site.rglob("*.db") if b"c-000042" in p.read_bytes()]
    assert caches
    lost = dvc_shop.root / ".dvc" / "tmp" / "lost.csv"
    lost.write_bytes(WITH)
    (lost.parent / "other.csv").write_bytes(UNRELATED)
    half = dvc_shop.remote / "files" / "md5" / "ab" / "upload.tmp"
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_bytes(WITH)
    left = traces(store(dvc_shop))
    assert any(t.startswith("site cache: ") for t in left)
    assert any(t.startswith(".dvc/tmp/lost.csv") for t in left)
    erase(store(dvc_shop))
    assert not lost.exists()
    assert not half.exists()
    assert (lost.parent / "other.csv").exists()
    assert not any(p.exists() for p in caches)
    assert traces(store(dvc_shop)) == []
    assert "modified" not in dvc_shop.dvc("status", "data/parts.dvc")


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_links_to_the_cache_become_links_to_the_new_object(dvc_shop: Workshop, kind: str) -> None:
    dvc_shop.dvc("config", "cache.type", kind)
    dvc_shop.commit("link")
    dvc_shop.dvc("checkout", "-q", "--relink")
    erase(store(dvc_shop))
    orders = dvc_shop.root / "data/orders.csv"
    assert orders.read_bytes() == WITHOUT + OTHERS[0]
    assert orders.is_symlink() == (kind == "symlink")
    assert orders.stat().st_nlink >= (2 if kind == "hardlink" else 1)
    assert traces(store(dvc_shop)) == []


def test_what_dvc_2_wrote_is_read_and_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No version of DVC that writes the old layout runs here: its files are made by hand, and the
    real client checks them out before and after."""
    shop = begun(tmp_path / "shop")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(shop.site))
    md5 = hashlib.md5(WITH.replace(b"\r\n", b"\n"), usedforsecurity=False).hexdigest()
    for place in (shop.root / ".dvc" / "cache", shop.remote):
        (place / md5[:2]).mkdir(parents=True)
        (place / md5[:2] / md5[2:]).write_bytes(WITH)
    shop.write("a.csv.dvc", f"outs:\n- md5: {md5}\n  size: {len(WITH)}\n  path: a.csv\n".encode())
    shop.write(".gitignore", b"/a.csv\n")
    shop.commit("as DVC 2 did")
    shop.dvc("checkout", "-q")
    assert (shop.root / "a.csv").read_bytes() == WITH
    plan = erase(store(shop))
    assert plan.objects == (f"{md5[:2]}/{md5[2:]} (a.csv)",)
    assert (shop.root / "a.csv").read_bytes() == WITHOUT
    assert "up to date" in shop.dvc("status")
    shutil.rmtree(shop.root / ".dvc" / "cache")
    (shop.root / "a.csv").unlink()
    shop.dvc("pull", "-q")
    assert (shop.root / "a.csv").read_bytes() == WITHOUT
    assert traces(store(shop)) == []


# One output alone.


def test_one_output_alone_is_erased_in(dvc_shop: Workshop) -> None:
    others = (dvc_shop.root / "data/orders.csv").read_bytes()
    opened = store(dvc_shop, output="data/parts")
    assert [v.rows for v in opened.versions()] == [16, 22]
    erase(opened)
    assert traces(opened) == []
    assert (dvc_shop.root / "data/orders.csv").read_bytes() == others
    assert "modified" not in dvc_shop.dvc("status", "data/orders.csv.dvc", "data/parts.dvc")
    assert traces(store(dvc_shop))


def test_content_that_another_output_shares_is_not_erased(dvc_shop: Workshop) -> None:
    plan = planned(store(dvc_shop, output="data/orders.csv"))
    assert any("is the content of an output outside of this connector" in b for b in plan.blockers)


def test_wrong_locations_are_explained(dvc_shop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"no output data/x.csv. Its outputs are: data"):
        store(dvc_shop, output="data/x.csv").versions()
    with pytest.raises(StoreError, match="stands the path of an output"):
        DvcStore(f"{dvc_shop.root}#../x", ["who"])
    with pytest.raises(StoreNotFoundError, match=r"no folder \.dvc"):
        DvcStore(str(tmp_path), ["who"]).versions()
    (tmp_path / ".dvc").mkdir()
    with pytest.raises(StoreError, match="not the top of a git repository"):
        DvcStore(str(tmp_path), ["who"]).versions()
    with pytest.raises(StoreError, match="not an absolute path"):
        DvcStore("repo", ["who"])


def test_modes_and_roles_are_refused_by_name(dvc_shop: Workshop) -> None:
    opened = store(dvc_shop, writable=False)
    findings = opened.find_subject(PERSON)
    with pytest.raises(StoreError, match='no mode "drop"'):
        opened.plan_erase(findings, mode="drop")
    plan = opened.plan_erase(findings, mode="purge")
    with pytest.raises(StoreError, match="reading only"):
        opened.erase(plan, PERSON)
    with pytest.raises(StoreError, match="Erase first"):
        store(dvc_shop).purge_history(plan)
    dvc_shop.write("data/orders.csv", UNRELATED + b"c-1,,\n")
    dvc_shop.dvc("add", "-q", "data/orders.csv")
    dvc_shop.commit("more")
    with pytest.raises(PlanOutdatedError):
        store(dvc_shop).plan_erase(findings, mode="purge")
