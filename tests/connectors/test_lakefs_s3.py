"""A lakeFS repository whose objects lie in a bucket: erased there, with what the bucket hides."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from connectors.adapters.base import ErasePlan, OptionError, StoreError
from connectors.adapters.lakefs import LakefsStore, find
from connectors.adapters.lakefs.client import Lakefs
from connectors.openers import OPENERS, StoreRole
from connectors.s3 import S3Folder, access
from tests.connectors.builders import KilledError, killed_at
from tests.connectors.dvc_builders import COLUMNS, OTHERS, PERSON, UNRELATED, WITH, WITHOUT
from tests.connectors.lakefs_builders import (
    SECRET_VARIABLE,
    contents,
    erase,
    options,
    planned,
    shop_with_person,
    traces,
)
from tests.connectors.lakefs_server import SECRET, S3Blocks, Server, served
from tests.connectors.s3_builders import Bucket
from tests.connectors.s3_server import S3Server
from tests.connectors.test_s3_erasure import traces as traces_in

pytestmark = pytest.mark.enable_socket

PREFIX = "shop/main"


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1"]


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[Bucket]:
    yield Bucket.new(s3_server, versioned=True)
    s3_server.fault()


@contextmanager
def shop_in(bucket: Bucket, scratch: Path) -> Iterator[Server]:
    scratch.mkdir(exist_ok=True)
    with served(shop_with_person(S3Blocks(bucket, PREFIX), scratch)) as server:
        yield server


@pytest.fixture
def server(bucket: Bucket, tmp_path: Path) -> Iterator[Server]:
    with shop_in(bucket, tmp_path) as running:
        yield running


def opened(server: Server, role: StoreRole = "writer", path: str = "", **more: Any) -> LakefsStore:
    """As the application opens it."""
    given = options(server, **more)
    store = OPENERS["lakefs"](f"{server.location}{path}", COLUMNS, given, role).store
    assert isinstance(store, LakefsStore)
    return store


def deleted(bucket: Bucket, name: str, body: bytes) -> str:
    """A key of the namespace that a bucket with versions hides."""
    key = f"{PREFIX}/data/{name}"
    bucket.put(key, body)
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    return key


def key_of(server: Server, path: str) -> str:
    blocks = server.shop.blocks
    assert isinstance(blocks, S3Blocks)
    return blocks.key(server.shop.resolve("main")[1][path].address)


def test_a_person_is_erased_with_all_that_the_bucket_hides_and_nothing_else_is_touched(
    server: Server, bucket: Bucket
) -> None:
    shop = server.shop
    bucket.put("shop/other/orders.csv", WITH)
    hidden, theirs = deleted(bucket, "collected", WITH), deleted(bucket, "theirs", UNRELATED)
    doomed = key_of(server, "data/orders.csv")
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=doomed)  # abandoned
    before = {ref: contents(shop, ref) for ref in ("main", "same", "side")}
    held = bucket.held()
    plan = planned(opened(server))
    assert (plan.rows, len(plan.objects), len(plan.versions_lost)) == (9, 6, 3)
    assert [o.partition("/")[2] for o in plan.objects if "older" in o] == ["data/collected"]
    assert erase(opened(server)) == plan

    assert traces(opened(server, "verifier")) == []
    assert traces_in(bucket) == ["shop/other/orders.csv"]
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)
    now = bucket.held()
    gone = {key for key, _ in held.keys() - now.keys()}
    assert {hidden, doomed} < gone
    assert len(gone) == 6
    kept = {place: etag for place, etag in held.items() if place[0] not in gone}
    assert {theirs, "shop/other/orders.csv", key_of(server, "logo.png")} < {k for k, _ in kept}
    assert kept.items() <= now.items(), "unrelated objects keep their bytes and versions"
    for ref, old in before.items():
        found = contents(shop, ref)
        assert found["data/orders.csv"] in (WITHOUT, WITHOUT + OTHERS[0])
        assert found.keys() == old.keys()
        assert found["data/prices.csv"] == old["data/prices.csv"]
    assert contents(shop, "v1")["data/orders.csv"] == UNRELATED, "the tag's version is whole"
    assert [v.refs for v in opened(server).versions()] == [
        ("tags/v1",), ("same",), ("side",), ("main",)
    ]  # fmt: skip


def test_what_lakefs_collects_as_garbage_leaves_every_trace(server: Server, bucket: Bucket) -> None:
    """The naive recipe: delete on each branch, commit, and have the garbage collected."""
    shop = server.shop
    shop.protected = []
    collected = set()
    for branch in ("main", "same", "side"):
        for path, stored in shop.resolve(branch)[1].items():
            if path.startswith(("data/orders", "data/parts")):
                collected.add(stored.address.removeprefix(f"s3://{bucket.name}/"))
                shop.remove(branch, path)
        shop.commit(branch, "delete a person")
    for key in collected:
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
    listed = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    assert collected.isdisjoint(item["Key"] for item in listed), "readers see nothing"
    reported = " ".join(traces(opened(server, "verifier")))
    assert all(key.removeprefix(f"{PREFIX}/") in reported for key in collected)
    plan = erase(opened(server))
    assert (plan.rows, len(plan.objects)) == (0, len(collected))
    assert traces_in(bucket) == []
    assert traces(opened(server, "verifier")) == []
    assert "logo.png" in contents(shop, "main")


def test_each_object_is_fetched_once_for_a_search(server: Server, bucket: Bucket) -> None:
    bucket.server.fault()
    findings = opened(server, "reader").find_subject(PERSON)
    calls = [call.split() for call in bucket.server.calls()]
    fetched = [path for method, path, status in calls if (method, status) == ("GET", "200")]
    data = [path for path in fetched if f"/{PREFIX}/data/" in path]
    assert len(data) == len(set(data)) == findings.files_searched


def test_what_a_merge_would_bring_is_read_in_the_bucket(server: Server, bucket: Bucket) -> None:
    shop = server.shop
    shop.begin("more", "main")
    shop.put("more", "data/more.csv", b"customer_id,email\nc-000777,\nc-000778,\n")
    source = shop.commit("more", "two more").id
    bucket.server.fault()
    with opened(server, "reader").incoming("main", source) as incoming:
        assert (incoming.rows_added, incoming.rows_removed) == (2, 0)
        assert set(incoming.identifiers("customer_id")) == {"c-000777", "c-000778"}
    assert any(f"/{PREFIX}/data/" in call for call in bucket.server.calls())


def test_a_short_identifier_in_a_hidden_object_without_a_name_is_found(
    server: Server, bucket: Bucket
) -> None:
    """Where a number proves nothing by itself, it has to be read as the table that it stands in."""
    erase(opened(server))
    deleted(bucket, "numbers", b"email,customer_id\n,00004\n,00005\n")
    needles = {"customer_id": ["00004"]}
    (left,) = traces(opened(server, "verifier"), needles)
    assert left.endswith("numbers.csv: column customer_id")
    erase(opened(server), needles)
    assert traces(opened(server, "verifier"), needles) == []


def test_a_hidden_object_that_nobody_can_decode_is_said_to_be_in_the_way(
    server: Server, bucket: Bucket
) -> None:
    deleted(bucket, "image", b"\x89PNG\r\n\x1a\n\x00\x01\x02")
    (blocker,) = planned(opened(server)).blockers
    assert "data/image is in a format that cannot be decoded" in blocker
    free: dict[str, Any] = {"unrelated_files": ["*.png", "data/image"]}
    erase(opened(server, **free))
    assert traces(opened(server, "verifier", **free)) == []


def test_an_upload_that_nobody_ends_goes_with_the_person_and_a_young_one_fails_the_scan(
    server: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=f"{PREFIX}/data/late")
    with monkeypatch.context() as young:
        young.setattr(find, "UPLOAD_GRACE", timedelta(days=99_999))  # moto dates all of them back
        erase(opened(server))
        (left,) = traces(opened(server, "verifier"))
    assert "data/late" in left
    assert "upload in progress" in left
    assert planned(opened(server)).objects == (), "no trace of the person, no reason to end it"
    deleted(bucket, "collected", WITH)
    erase(opened(server))
    assert traces(opened(server, "verifier")) == []


def test_one_path_of_a_repository_leaves_the_rest_of_the_bucket_alone(
    server: Server, bucket: Bucket
) -> None:
    orders = key_of(server, "data/orders.csv")
    held = {place: etag for place, etag in bucket.held().items() if place[0] == orders}
    erase(opened(server, path="/data/parts/"))
    assert traces(opened(server, "verifier", path="/data/parts/")) == []
    assert held.items() <= bucket.held().items()
    assert traces(opened(server, "verifier")) != []


# Killed, and taken up again.


@contextmanager
def hooked(hook: Callable[[str], None]) -> Iterator[None]:
    """Call the hook before everything that changes the repository or the bucket."""

    def before(owner: Any, name: str) -> Callable[..., Any]:
        real = getattr(owner, name)

        def call(*args: Any) -> Any:
            hook(name)
            return real(*args)

        return call

    changing = [(Lakefs, "upload"), (Lakefs, "merge"), (S3Folder, "remove")]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (*changing, (S3Folder, "remove_hidden")):
            patch.setattr(owner, name, before(owner, name))
        yield


def carry_out(server: Server, plan: ErasePlan) -> None:
    store = opened(server)
    store.erase(plan, PERSON)
    store.purge_history(plan)


def test_killed_between_two_steps_the_same_plan_ends_it(
    s3_server: S3Server, tmp_path: Path
) -> None:
    steps: list[str] = []
    with shop_in(Bucket.new(s3_server, versioned=True), tmp_path) as server:
        with hooked(steps.append):
            carry_out(server, planned(opened(server)))
        expected = {name: contents(server.shop, name) for name in server.shop.branches}
    assert steps[-1] == "remove_hidden"
    last = len(steps) - 1 - steps[::-1].index("remove")
    for step in (steps.index("upload") + 1, steps.index("merge") + 1, last, len(steps) - 1):
        bucket = Bucket.new(s3_server, versioned=True)
        with shop_in(bucket, tmp_path) as server:
            deleted(bucket, "collected", WITH)
            plan = planned(opened(server))
            with hooked(killed_at(step)), pytest.raises(KilledError):
                carry_out(server, plan)
            carry_out(server, plan)
            where = f"killed at step {step}, {steps[step]}"
            found = {name: contents(server.shop, name) for name in server.shop.branches}
            assert found == expected, where
            assert traces_in(bucket) == [], where
            assert traces(opened(server, "verifier")) == [], where


def test_a_bucket_that_fails_meanwhile_leaves_a_state_that_goes_on(
    server: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "ATTEMPTS", 1)
    plan = planned(opened(server))
    opened(server).erase(plan, PERSON)
    bucket.server.fault(status=503, times=99, method="POST")
    with pytest.raises(StoreError, match="overloaded or unwell"):
        opened(server).purge_history(plan)
    bucket.server.fault()
    carry_out(server, plan)
    assert traces_in(bucket) == []


# What stands in the way.


def test_what_keeps_a_bucket_from_forgetting_is_named_before_anybody_approves(
    s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = Bucket.new(s3_server, versioned=True, locks=True)
    with shop_in(bucket, tmp_path) as server:
        hold = {"LegalHold": {"Status": "ON"}, "Bucket": bucket.name}
        bucket.client.put_object_legal_hold(Key=key_of(server, "data/orders.csv"), **hold)
        store = opened(server)
        findings = store.find_subject(PERSON)
        s3_server.fault(status=403, times=99, method="DELETE", code="AccessDenied")
        permission, lock = store.plan_erase(findings, mode="purge").blockers
        s3_server.fault()
        assert "may not do s3:DeleteObjectVersion" in permission
        assert "(data/orders.csv) (a legal hold)" in lock
        # Objects are written by the server: our key needs no right to do so.
        s3_server.fault(status=403, times=99, method="PUT", code="AccessDenied")
        assert len(store.plan_erase(findings, mode="purge").blockers) == 1
        s3_server.fault()


def test_without_a_way_to_the_bucket_people_are_found_and_plans_are_blocked(
    server: Server, bucket: Bucket
) -> None:
    nowhere: dict[str, Any] = {"endpoint_url": "", "region": ""}
    store = opened(server, **nowhere)
    bucket.server.fault()
    plan = planned(store)
    assert plan.rows == 9
    assert any('Name its region in the option "region"' in b for b in plan.blockers)
    with pytest.raises(StoreError, match="does not say how it is reached"):
        store.verify_erased(["c-000042"], None)


@pytest.mark.parametrize(
    ("given", "fault", "said"),
    [
        ({}, "InvalidAccessKeyId", r"refused the key \(InvalidAccessKeyId\)\. Give a valid one"),
        ({}, "AccessDenied", r"does not permit this to the key in use \(AccessDenied\)"),
        ({"key_id_env": "UNSET_ACCESS_KEY_ID"}, "", "variable UNSET_ACCESS_KEY_ID, .* is not set"),
        ({"secret_key_env": ""}, "", "A key has two parts"),
        ({"secret_key_file": "/etc/passwd", "secret_key_env": ""}, "", "VESTIGE_STORE_SECRETS"),
        ({"endpoint_url": "https://evil.example"}, "", "VESTIGE_STORE_HOSTS"),
    ],
)
def test_a_key_or_an_address_that_is_wrong_is_named(
    server: Server, bucket: Bucket, given: dict[str, Any], fault: str, said: str
) -> None:
    if fault:
        bucket.server.fault(status=403, times=999, code=fault)
    with pytest.raises((StoreError, OptionError), match=said) as caught:
        opened(server, "reader", **given).find_subject(PERSON)
    bucket.server.fault()
    assert SECRET not in str(caught.value)


def test_a_server_leads_no_further_than_the_installation_lets_it(
    server: Server, bucket: Bucket, settings: Settings
) -> None:
    settings.VESTIGE_STORE_BUCKETS = [f"{bucket.name}/other"]
    bucket.server.fault()
    with pytest.raises(StoreError, match="VESTIGE_STORE_BUCKETS"):
        opened(server).versions()
    assert bucket.server.calls() == [], "nothing was asked"
    settings.VESTIGE_STORE_BUCKETS = [f"{bucket.name}/shop"]
    assert len(opened(server).versions()) == 4


def test_reader_writer_and_verifier_each_use_their_own_key_to_the_bucket(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that one role lacks is asked for by that role alone."""
    own: dict[str, Any] = {
        f"{role}_{name}_env": f"THE_{role.upper()}_{ending}"
        for role in ("writer", "verifier")
        for name, ending in (("key_id", "ACCESS_KEY_ID"), ("secret_key", "SECRET_ACCESS_KEY"))
    }
    plan = planned(opened(server, "reader", **own))
    assert plan.blockers == ()
    with pytest.raises(OptionError, match="THE_WRITER_ACCESS_KEY_ID"):
        opened(server, "writer", **own).erase(plan, PERSON)
    with pytest.raises(OptionError, match="THE_VERIFIER_ACCESS_KEY_ID"):
        opened(server, "verifier", **own).verify_erased(["c-000042"], None)
    for variable in own.values():
        monkeypatch.setenv(variable, "one-of-the-tests")
    writer = opened(server, "writer", **own)
    writer.erase(plan, PERSON)
    writer.purge_history(plan)
    assert traces(opened(server, "verifier", **own)) == []
