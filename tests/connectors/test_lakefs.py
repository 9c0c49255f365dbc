"""A person in several commits and branches of a lakeFS repository: found, erased, gone by the
bytes. The server is a stand-in, see `lakefs_server`."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.adapters.base import (
    OptionError,
    PlanOutdatedError,
    StoreError,
    StoreNotFoundError,
)
from connectors.adapters.lakefs import LakefsStore, client, parse_place
from tests.connectors.dvc_builders import COLUMNS, EVERY_NEEDLE, OTHERS, PERSON, WITH, WITHOUT
from tests.connectors.lakefs_builders import (
    SECRET_VARIABLE,
    contents,
    erase,
    opened_shop,
    options,
    planned,
    store,
    traces,
)
from tests.connectors.lakefs_server import KEY, SECRET, Server, Stored

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with opened_shop(tmp_path) as running:
        yield running


def untag(server: Server) -> None:
    """The tag leads to data without the person, and may stay; see `test_tags…`."""
    server.shop.tags.clear()


def test_each_commit_is_a_version_with_its_refs_counts_and_objects(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE", 2)  # every list has several pages
    first, second, side, third = store(server).versions()
    assert [v.refs for v in (first, second, side, third)] == [
        ("tags/v1",), ("same",), ("side",), ("main",)
    ]  # fmt: skip
    assert (second.parents, third.parents) == ((first.id,), (second.id,))
    assert [v.rows for v in (first, second, third)] == [2, 21, 22]
    assert third.operation == "commit: data/orders.csv"
    assert ("customer_id", "string") in second.schema
    assert [o.path for o in third.objects] == sorted(contents(server.shop, "main"))
    assert third.bytes == sum(map(len, contents(server.shop, "main").values()))
    light = store(server).versions(digests=False)
    assert [v.digest for v in light] == [v.digest for v in (first, second, side, third)]
    assert [v.schema for v in light] == [()] * 4
    # The same file in two versions is one object; prices.csv in all four.
    assert len({o.digest for v in light for o in v.objects if o.path == "data/prices.csv"}) == 1
    assert store(server).profile(second.id)["rows"] == 21
    assert "c-000005" in set(store(server).identifier_values("customer_id", second.id))


def test_each_object_is_read_once_and_mapped_to_its_commits(server: Server) -> None:
    found = store(server).find_subject(PERSON)
    assert {(o.path.partition(" ")[2], o.rows, len(o.versions)) for o in found.objects} == {
        ("(data/orders.csv)", 2, 2),
        ("(data/orders.csv)", 2, 1),
        ("(data/parts/a.parquet)", 2, 3),
        ("(data/parts/b.jsonl)", 1, 3),
        ("(data/parts/d.csv)", 2, 1),
    }
    assert sorted(found.rows_by_version.values()) == [0, 5, 5, 7]
    assert found.linked == {"customer_id": ("c-000777",)}
    assert "410" in found.method


def test_a_person_is_erased_on_every_branch_and_nothing_else_is_touched(server: Server) -> None:
    shop = server.shop
    before = {ref: contents(shop, ref) for ref in ("main", "same", "side")}
    objects = shop.resolve("main")[1]
    heads = {name: branch.head for name, branch in shop.branches.items()}
    plan = erase(store(server))
    assert (plan.rows, len(plan.objects), len(plan.versions_lost)) == (9, 5, 3)

    assert traces(store(server, role="verifier")) == []
    for ref, old in before.items():
        now = contents(shop, ref)
        assert now["data/orders.csv"] in (WITHOUT, WITHOUT + OTHERS[0])
        assert json.loads(now["data/parts/b.jsonl"]) == {"customer_id": "c-000005"}
        for untouched in ("data/prices.csv", "logo.png"):
            assert now[untouched] == old[untouched]
            assert shop.resolve(ref)[1][untouched] == objects[untouched]
        assert now.keys() == old.keys()
        # One commit each, on top of what was there; its note says nothing but the plan's id.
        (head,) = [shop.commits[shop.branches[ref].head]]
        assert (head.parents, head.metadata) == ((heads[ref],), {"vestige-plan": plan.id})
    assert shop.resolve("main")[1]["data/orders.csv"].metadata == {"origin": "till"}
    assert shop.branches.keys() == heads.keys()
    # The tag's version is whole; the others are retained no more, and reading one answers 410.
    assert [v.refs for v in store(server).versions()] == [
        ("tags/v1",), ("same",), ("side",), ("main",)
    ]  # fmt: skip
    assert {v.id for v in store(server).versions()}.isdisjoint(plan.versions_lost)
    with client_of(server) as asked, pytest.raises(client.ObjectGoneError):
        asked.read(heads["main"], "data/orders.csv")
    assert store(server).find_subject(PERSON).objects == ()


def client_of(server: Server) -> Any:
    return store(server)._client()


def test_the_naive_recipe_leaves_traces(server: Server) -> None:
    """Delete the objects on each branch and commit, as one would: the block store keeps all."""
    shop = server.shop
    shop.protected = []
    for branch in ("main", "same", "side"):
        for path in contents(shop, branch):
            if path.startswith(("data/orders", "data/parts")):
                shop.remove(branch, path)
        shop.commit(branch, "delete a person")
    left = traces(store(server, role="verifier"))
    assert len({line.partition(": ")[0] for line in left}) == 5
    assert any("data/orders.csv: column customer_id" in line for line in left)
    assert any("raw bytes" in line for line in left)
    # What no branch needs any more is all there is to be purged, and it is.
    erase(store(server))
    assert traces(store(server, role="verifier")) == []


def test_a_category_that_no_row_of_an_object_has_any_more_is_found_and_erased(
    server: Server,
) -> None:
    erase(store(server))
    emails = pa.array(["b@x.example", "ann.archer@mail.example"]).dictionary_encode()
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"email": emails}).slice(0, 1), sink)
    server.shop.put("side", "data/categories.parquet", bytes(sink.getvalue()))
    server.shop.commit("side", "a table that was filtered")
    assert traces(store(server, role="verifier")) != []
    plan = erase(store(server))
    assert (plan.rows, len(plan.objects)) == (0, 1)
    assert traces(store(server, role="verifier")) == []
    left = pq.read_table(pa.BufferReader(contents(server.shop, "side")["data/categories.parquet"]))
    assert left.to_pylist() == [{"email": "b@x.example"}]


def test_files_that_nothing_leads_to_are_found_and_deleted(server: Server) -> None:
    shop = server.shop
    dropped = shop.put("side", "data/late.csv", WITH)
    shop.branches["side"].staged.clear()
    shop.begin("gone", "side")
    lost = shop.put("gone", "data/old.csv.gz", gzip.compress(WITH))
    shop.commit("gone", "packed")
    del shop.branches["gone"]
    clean = shop.put("side", "data/x.csv", WITHOUT)
    shop.branches["side"].staged.clear()
    found = store(server).find_subject(PERSON)
    assert sorted(o.kind for o in found.objects) == ["data"] * 5 + ["orphan"] * 2
    erase(store(server))
    assert [shop.path_of(o).exists() for o in (dropped, lost, clean)] == [False, False, True]
    assert traces(store(server, role="verifier")) == []


def test_the_scan_reads_what_the_server_says_too(server: Server) -> None:
    """Rows are gone; names, notes and messages of commits would stay, and are traces."""
    erase(store(server))
    shop = server.shop
    for prepare in (named, said, branch_name):
        prepare(server)
    shop.put("side", "data/y.csv", WITHOUT, {"asked-by": "ann.archer@mail.example"})
    shop.commit("side", "a note")
    left = traces(store(server, role="verifier"))
    where = sorted(line.partition(": ")[2] for line in left)
    assert where == ["file name", "text", "text", "text"]
    assert not any(needle.lower() in line.lower() for needle in EVERY_NEEDLE for line in left)


def test_one_path_of_a_repository_is_a_store_of_its_own(server: Server) -> None:
    opened = store(server, path="/data/parts/")
    assert len(opened.versions()) == 2
    orders = contents(server.shop, "main")["data/orders.csv"]
    erase(opened)
    assert traces(store(server, path="/data/parts", role="verifier")) == []
    assert contents(server.shop, "main")["data/orders.csv"] == orders
    assert traces(store(server, role="verifier")) != []


Prepare = Any


def tagged(server: Server) -> None:
    server.shop.tags["v2"] = server.shop.branches["main"].head


def changed(server: Server) -> None:
    server.shop.put("side", "data/prices.csv", b"customer_id,price\nc-000900,2\n")


def staged(server: Server) -> None:
    server.shop.put("side", "data/late.csv", WITH)


def named(server: Server) -> None:
    server.shop.put("side", "data/ann.archer@mail.example/x.csv", WITHOUT)
    server.shop.commit("side", "a name")


def said(server: Server) -> None:
    server.shop.put("side", "data/x.csv", WITHOUT)
    server.shop.commit("side", "asked by ann.archer@mail.example")


def branch_name(server: Server) -> None:
    server.shop.begin("c-000042", "side")


def read_only(server: Server) -> None:
    server.shop.read_only = True


def in_the_cloud(server: Server) -> None:
    server.shop.namespace = "gs://bucket/shop"


def in_a_bucket(server: Server) -> None:
    server.shop.namespace = "s3://bucket/shop"


def imported(server: Server) -> None:
    shop = server.shop
    body = WITH + OTHERS[2]
    elsewhere = shop.disk.folder / "elsewhere" / "theirs.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(body)
    stored = shop.put("side", "data/theirs.csv", body)
    shop.path_of(stored).unlink()
    moved = Stored("local://elsewhere/theirs.csv", stored.checksum, len(body), {})
    shop.branches["side"].staged["data/theirs.csv"] = moved
    shop.commit("side", "imported")


def written_by_hand(server: Server) -> None:
    (server.shop.folder / "ann.archer@mail.example.csv").write_bytes(WITH)


def action_log(server: Server) -> None:
    log = server.shop.folder / "_lakefs" / "actions" / "log" / "run.log"
    log.parent.mkdir(parents=True)
    log.write_text("checked ann.archer@mail.example\n")


def free_text(server: Server) -> None:
    server.shop.put("side", "notes.txt", b"call ann.archer@mail.example\n")
    server.shop.commit("side", "notes")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (tagged, "The tag v2 leads to data with the person in it"),
        (changed, "The branch side has changes that are not committed"),
        (staged, "data/late.csv on side holds the person and is not committed"),
        (named, "The path or the notes of data/*/x.csv name the person"),
        (said, "names the person, and lakeFS cannot change a commit"),
        (branch_name, "The branch or tag * is named after the person"),
        (read_only, "The repository is read-only in lakeFS"),
        (in_the_cloud, "lies in an object storage (gs://)"),
        (in_a_bucket, "lies in a bucket (s3://bucket/shop), and the connector does not say how"),
        (imported, "was imported: its data lies outside"),
        (written_by_hand, "was not written by lakeFS"),
        (action_log, "_lakefs/actions/log/run.log, a file that the lakeFS server keeps"),
        (free_text, "in no format that Vestige can rewrite"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_said_before_anybody_approves(
    server: Server, prepare: Prepare, said: str
) -> None:
    prepare(server)
    opened = store(server)
    plan = planned(opened)
    assert any(said in blocker for blocker in plan.blockers), plan.blockers
    assert not any(n in str(plan).lower() for n in map(str.lower, EVERY_NEEDLE))
    before = dict(server.shop.branches)
    with pytest.raises(StoreError, match="cannot be carried out"):
        opened.erase(plan, PERSON)
    assert server.shop.branches == before


def test_a_plan_is_made_for_what_was_searched_only(server: Server) -> None:
    found = store(server).find_subject(PERSON)
    server.shop.put("side", "data/late.csv", WITHOUT)
    server.shop.commit("side", "late")
    with pytest.raises(PlanOutdatedError, match="other versions"):
        store(server).plan_erase(found, mode="purge")
    with pytest.raises(StoreError, match='Plan with mode "purge"'):
        store(server).plan_erase(found, mode="keep_history")


def test_a_reader_and_a_verifier_cannot_erase_and_sign_in_with_their_own_key(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.shop.users["VERIFIER"] = "another"
    monkeypatch.setenv("OTHER_PASSWORD", "another")
    own = {"verifier_user": "VERIFIER", "verifier_password_env": "OTHER_PASSWORD"}
    opened = store(server, role="verifier", **own)
    with pytest.raises(StoreError, match="for reading only"):
        opened.erase(planned(opened), PERSON)
    server.shop.requests.clear()
    traces(opened)
    assert {line.partition(" ")[0] for line in server.shop.requests} == {"VERIFIER"}
    erase(store(server, **own))
    writes = [line for line in server.shop.requests if " GET " not in line]
    assert writes
    assert all(line.startswith(KEY) for line in writes)


def test_damage_to_an_object_fails_the_search_and_the_scan_names_what_is_missing(
    server: Server,
) -> None:
    orders = server.shop.path_of(server.shop.resolve("main")[1]["data/orders.csv"])
    body = orders.read_bytes()
    orders.write_bytes(body.replace(b"plain", b"other"))
    with pytest.raises(StoreError, match="damaged or was changed"):
        store(server).find_subject(PERSON)
    orders.write_bytes(body)
    erase(store(server))
    logo = server.shop.path_of(server.shop.resolve("main")[1]["logo.png"])
    logo.unlink()
    assert traces(store(server)) == [
        "logo.png: a branch lists it, and its data is not in the store"
    ]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not accept the access key"),
        (404, "has no repository shop"),
        (500, "cannot answer now (status 500)"),
        (503, "cannot answer now (status 503)"),
    ],
)
def test_answers_of_the_server_are_explained(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    monkeypatch.setattr(client._RETRIES, "backoff_factor", 0)
    server.shop.failing = status
    error = StoreNotFoundError if status == 404 else StoreError
    with pytest.raises(error) as caught:
        store(server).versions()
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_where_nothing_answers_it_is_said(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.shop.users[KEY] = "changed"
    with pytest.raises(StoreError, match="does not accept"):
        store(server).versions()
    monkeypatch.setattr(client._RETRIES, "backoff_factor", 0)
    where = "http://127.0.0.1:9#shop"
    with pytest.raises(StoreError, match="cannot be reached"):
        LakefsStore(where, COLUMNS, options(server)).versions()


def test_wrong_options_and_locations_are_refused(server: Server) -> None:
    with pytest.raises(OptionError, match="Name the access key"):
        LakefsStore(server.location, COLUMNS, {}).versions()
    with pytest.raises(OptionError, match='"block_folder" is wrong'):
        store(server, block_folder="/nowhere/at/all").versions()
    assert "blockstore.local.path" in planned(store(server, block_folder="")).blockers[0]
    with pytest.raises(OptionError, match="ends with PASSWORD"):
        store(server, password_env="HOME")
    for location, reason in (
        ("/data/lake", "begins with its server"),
        ("https://u:s3cret@host#shop", "user name or a password"),
        ("https://host/x", "names no repository"),
        ("https://host#Shop", "names no repository"),
        ("https://host?token=1#shop", "has parameters"),
        ("http://lake.example#shop", "by https:// only"),
        ("https://host#shop/../other", "a path from its top"),
    ):
        with pytest.raises(StoreError, match=reason) as caught:
            parse_place(location)
        assert "s3cret" not in str(caught.value)
    for given, kept in (
        ("https://Lake.example:443/api/v1/#shop", "https://lake.example#shop"),
        ("https://lake.example/#shop/exports", "https://lake.example#shop/exports"),
    ):
        assert parse_place(given).location == kept
        assert parse_place(kept).location == kept
    assert parse_place("https://h:8443#shop/a/b/").prefix == "a/b/"


def test_a_redirect_is_not_followed(server: Server, tmp_path: Path) -> None:
    with opened_shop(tmp_path / "other") as other:
        server.shop.failing = 307
        server.shop.redirect = f"http://127.0.0.1:{other.server_port}/api/v1/repositories/shop"
        with pytest.raises(StoreError, match="broke off"):
            store(server).versions()
        assert other.shop.requests == []
