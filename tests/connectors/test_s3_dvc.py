"""DVC repositories whose remote is in a bucket, filled by the real dvc with its own S3 client."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.adapters.base import ErasePlan, StoreError
from connectors.adapters.dvc import DvcStore
from connectors.adapters.dvc.settings import Address
from connectors.folders import LocalFolder
from connectors.openers import OPENERS
from connectors.s3 import Access, S3Folder, access, parse_s3
from connectors.storage import Folder
from tests.connectors.builders import KilledError
from tests.connectors.dvc_builders import (
    COLUMNS,
    PERSON,
    UNRELATED,
    WITH,
    WITHOUT,
    Workshop,
    erase,
    planned,
    store,
    traces,
)
from tests.connectors.dvc_history import KEEP, commit_map
from tests.connectors.s3_builders import Bucket
from tests.connectors.s3_server import KEY_ID, SECRET, S3Server
from tests.connectors.test_s3_erasure import CHANGING
from tests.connectors.test_s3_erasure import traces as traces_in

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PREFIX = "shop/data"


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[Bucket]:
    yield Bucket.new(s3_server, versioned=True)
    s3_server.fault()


def with_bucket(shop: Workshop, bucket: Bucket, **more: str) -> Workshop:
    """The remote "cloud" beside the one in a folder, with a key that only dvc reads."""
    said = {
        "url": f"s3://{bucket.name}/{PREFIX}", "endpointurl": bucket.server.url,
        "access_key_id": KEY_ID, "secret_access_key": SECRET, **more,
    }  # fmt: skip
    lines = "".join(f"    {key} = {value}\n" for key, value in said.items())
    local = shop.root / ".dvc" / "config.local"
    local.write_text(f"[core]\n    remote = cloud\n['remote \"cloud\"']\n{lines}")
    return shop


@pytest.fixture(scope="module")
def pushed(
    dvc_template: Workshop, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What dvc has pushed: key → bytes. That takes seconds, so it is done once."""
    bucket = Bucket.new(s3_server, versioned=False)
    shop = dvc_template.copy(tmp_path_factory.mktemp("dvc-s3") / "shop")
    with_bucket(shop, bucket).dvc("push", "-q", "--all-commits", "--run-cache")
    return {key: body for (key, _), body in bucket.bodies().items()}


@pytest.fixture
def shop(dvc_shop: Workshop, bucket: Bucket, pushed: dict[str, bytes]) -> Workshop:
    """Everything is in the bucket, and in no remote folder."""
    for key, body in pushed.items():
        bucket.put(key, body)
    shutil.rmtree(dvc_shop.remote)
    dvc_shop.remote.mkdir()
    return with_bucket(dvc_shop, bucket)


def opened(
    shop: Workshop, bucket: Bucket, hook: Callable[[str], None] = lambda _: None, **options: Any
) -> DvcStore:
    """`hook` is called before every request that changes the bucket."""

    def ask(model: Any, **_: Any) -> None:
        if model.name in CHANGING:
            hook(model.name)

    def reach(address: Address) -> Folder:
        if isinstance(address, Path):
            return LocalFolder(address)
        folder = S3Folder(parse_s3(address.location), Access.of(bucket.server.options, "reader"))
        folder.client.meta.events.register("before-call.s3", ask)
        return folder

    return store(shop, reach=reach, **{"exclusive": ["cloud"], **options})


def fetched(bucket: Bucket) -> list[str]:
    """Keys of the objects whose bytes were sent, each time."""
    calls = [call.split() for call in bucket.server.calls()]
    start = f"/{bucket.name}/{PREFIX}/files/"
    found = [path for method, path, status in calls if (method, status) == ("GET", "200")]
    return [
        path.partition("?")[0].removeprefix(f"/{bucket.name}/")
        for path in found
        if path.startswith(start)
    ]


def test_a_person_is_erased_in_a_bucket_and_the_new_head_can_be_pulled(
    shop: Workshop, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("elsewhere/orders.csv", WITH)
    bucket.put(f"{PREFIX}/note.csv", UNRELATED)
    given_up = f"{PREFIX}/files/md5/00/{'0' * 30}"  # of a commit that nobody has any more
    bucket.put(given_up, WITH)
    bucket.client.delete_object(Bucket=bucket.name, Key=given_up)
    before = bucket.held()
    store_ = opened(shop, bucket)
    bucket.server.fault()
    findings = store_.find_subject(PERSON)
    assert set(fetched(bucket)) == {given_up}, "the cache has all others"
    assert [o.kind for o in findings.objects].count("past") == 1
    blockers = planned(opened(shop, bucket, exclusive=[])).blockers
    assert [b for b in blockers if b.startswith("older version") and "another repository's" in b]
    doomed = {o.path.partition(" ")[0] for o in findings.objects if o.kind == "data"}
    key = f"{PREFIX}/{min(doomed)}"
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)  # abandoned
    erase(opened(shop, bucket))
    assert [k for k in traces_in(bucket) if k != "elsewhere/orders.csv"] == []
    assert traces(opened(shop, bucket)) == []
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)
    after = bucket.held()
    gone = {key for key, _ in before} - {key for key, _ in after}
    assert {f"{PREFIX}/{path}" for path in doomed} | {given_up} <= gone
    kept = {place: etag for place, etag in before.items() if place[0] not in gone}
    assert {"elsewhere/orders.csv", f"{PREFIX}/note.csv"} < {key for key, _ in kept}
    assert kept.items() <= after.items(), "unrelated objects keep bytes and versions"
    shop.run("git", "clone", "-q", str(shop.root), "clone", cwd=tmp_path)
    clone = Workshop(tmp_path / "fresh")
    clone.folder.mkdir()
    (tmp_path / "clone").rename(clone.root)
    with_bucket(clone, bucket).dvc("pull", "-q", "--allow-missing")
    assert (clone.root / "data/orders.csv").read_bytes().startswith(WITHOUT)
    assert b"c-000042" not in (clone.root / "data/parts/b.jsonl").read_bytes()


def test_what_dvc_collects_as_garbage_leaves_every_trace(shop: Workshop, bucket: Bucket) -> None:
    """The naive recipe: commit without the person, then `dvc gc` in the cache and the bucket."""
    shop.git("branch", "-q", "-D", "side")
    shop.git("rm", "-q", "--cached", "dvc.yaml", "dvc.lock", ".gitignore")
    for name in ("dvc.yaml", "dvc.lock", "report.csv"):
        (shop.root / name).unlink()
    shop.write("data/orders.csv", WITHOUT)
    shutil.rmtree(shop.root / "data/parts")
    shop.write("data/parts/c.csv", UNRELATED)
    shop.dvc("add", "-q", "data/orders.csv", "data/parts")
    shop.commit("without the person")
    shop.dvc("gc", "-q", "-w", "-c", "-f", "-r", "cloud")
    listed = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    seen = {item["Key"] for item in listed}
    hidden = [key for key in traces_in(bucket) if key not in seen]
    assert hidden, "readers see nothing, and the bucket has it all"
    reported = " ".join(traces(opened(shop, bucket)))
    assert all(key.removeprefix(f"{PREFIX}/") in reported for key in hidden)
    erase(opened(shop, bucket))
    assert traces_in(bucket) == []


def test_what_only_the_bucket_has_is_fetched_once_and_killed_erasures_go_on(
    shop: Workshop, bucket: Bucket
) -> None:
    shutil.rmtree(shop.root / ".dvc" / "cache")
    found = opened(shop, bucket)
    bucket.server.fault()
    findings = found.find_subject(PERSON)
    keys = fetched(bucket)
    assert len(keys) == len(set(keys)) == findings.files_searched
    plan = found.plan_erase(findings, mode="purge")
    refs = shop.git("for-each-ref")
    for name, number in (("PutObject", 2), ("DeleteObjects", 1), ("DeleteObjects", 3)):
        with pytest.raises(KilledError):
            carry_out(opened(shop, bucket, dying(name, number)), plan)
        moved = shop.git("for-each-ref") != refs
        assert moved == (name != "PutObject"), "no branch moves before its data is there"
    carry_out(opened(shop, bucket), plan)
    assert traces_in(bucket) == []
    assert traces(opened(shop, bucket)) == []
    assert shop.git("status", "--porcelain") == ""
    assert shop.git("rev-list", "--count", "main") == "4"


def test_every_old_version_can_be_pulled_from_the_bucket_where_history_is_kept(
    shop: Workshop, bucket: Bucket, tmp_path: Path
) -> None:
    before = {v.id: v.rows for v in opened(shop, bucket).versions()}
    held = bucket.held()
    plan = planned(opened(shop, bucket), mode=KEEP)
    refs = shop.git("for-each-ref")
    for name, number in (("PutObject", 2), ("DeleteObjects", 1), ("DeleteObjects", 3)):
        with pytest.raises(KilledError):
            carry_out(opened(shop, bucket, dying(name, number)), plan)
        assert (shop.git("for-each-ref") != refs) == (name != "PutObject")
    carry_out(opened(shop, bucket), plan)
    assert traces_in(bucket) == []
    assert traces(opened(shop, bucket)) == []
    gone = {f"{PREFIX}/{path.partition(' ')[0]}" for path in plan.objects}
    kept = {place: etag for place, etag in held.items() if place[0] not in gone}
    assert kept.items() <= bucket.held().items()

    now = commit_map(shop)
    shutil.rmtree(shop.root / ".dvc" / "cache")
    left = {v.id: v.rows for v in opened(shop, bucket).versions()}
    fewer = {2: 2, 27: 20, 33: 24, 29: 22}
    assert left == {now.get(old, old): fewer[rows or 0] for old, rows in before.items()}
    for old in before:
        shop.git("checkout", "-q", "-f", now.get(old, old))
        shop.dvc("pull", "-q", "--force")
        body = (shop.root / "data/orders.csv").read_bytes()
        assert body.startswith(WITHOUT) == (old in now)
        assert b"c-000042" not in body


def carry_out(store_: DvcStore, plan: ErasePlan) -> None:
    store_.erase(plan, PERSON)
    store_.purge_history(plan)


def dying(name: str, number: int) -> Callable[[str], None]:
    left = iter(range(number - 1))

    def hook(asked: str) -> None:
        if asked == name and next(left, None) is None:
            raise KilledError

    return hook


def test_the_parts_of_an_upload_that_was_killed_do_not_stay(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "new"
    source.write_bytes(UNRELATED)
    at = {"Bucket": bucket.name, "Key": "lake/files/md5/ab/cd"}
    bucket.client.create_multipart_upload(**at)
    other = bucket.client.create_multipart_upload(**at | {"Key": "lake/files/md5/ab/cde"})
    bucket.folder().add(source, "files/md5/ab/cd", "aside")
    assert bucket.body(at["Key"]) == UNRELATED
    (left,) = bucket.client.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    assert left["UploadId"] == other["UploadId"], "another object's is its writer's"
    with pytest.raises(FileExistsError):
        bucket.folder().add(source, "files/md5/ab/cd", "aside")


# What stands in the way.


def test_what_keeps_a_bucket_from_forgetting_is_named_before_anybody_approves(
    dvc_shop: Workshop, s3_server: S3Server, pushed: dict[str, bytes]
) -> None:
    bucket = Bucket.new(s3_server, versioned=True, locks=True)
    with_bucket(dvc_shop, bucket)
    for key, body in pushed.items():
        bucket.put(key, body)
    store_ = opened(dvc_shop, bucket, exclusive=["store", "cloud"])
    findings = store_.find_subject(PERSON)
    path = min(o.path.partition(" ")[0] for o in findings.objects if o.kind == "data")
    bucket.client.put_object_legal_hold(
        Bucket=bucket.name, Key=f"{PREFIX}/{path}", LegalHold={"Status": "ON"}
    )
    s3_server.fault(status=403, times=99, method="DELETE", code="AccessDenied")
    permission, lock = store_.plan_erase(findings, mode="purge").blockers
    s3_server.fault()
    assert "may not do s3:DeleteObjectVersion" in permission
    assert f"{path} in the remote cloud (a legal hold)" in lock


def test_a_remote_that_does_not_answer_is_named(
    shop: Workshop, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(opened(shop, bucket))
    monkeypatch.setattr(access, "ATTEMPTS", 1)
    refs = shop.git("for-each-ref")
    bucket.server.fault(status=503, times=999)
    with pytest.raises(StoreError, match=r"The remote cloud failed\. .* overloaded"):
        opened(shop, bucket).versions(digests=False)
    with pytest.raises(StoreError, match="The remote cloud failed"):
        opened(shop, bucket).erase(plan, PERSON)
    bucket.server.fault()
    assert shop.git("for-each-ref") == refs
    with_bucket(shop, bucket, url="s3://no-such-bucket/x")
    with pytest.raises(StoreError, match=r"The remote cloud .* there is no such bucket"):
        opened(shop, bucket).erase(plan, PERSON)
    assert shop.git("for-each-ref") == refs


CONFIGURED: list[tuple[dict[str, Any], dict[str, str], dict[str, str], str]] = [
    ({"VESTIGE_STORE_HOSTS": []}, {}, {}, "VESTIGE_STORE_HOSTS"),
    ({"VESTIGE_STORE_BUCKETS": ["other"]}, {}, {}, "VESTIGE_STORE_BUCKETS"),
    ({}, {}, {"endpointurl": "https://evil.example"}, "endpointurl in the repository's"),
    ({}, {"endpoint_url": ""}, {"endpointurl": "https://evil.example"}, "VESTIGE_STORE_HOSTS"),
    ({}, {}, {"url": "s3://me:pass-word@bucket/x"}, "names no bucket"),
    ({}, {"endpoint_url": "", "region": ""}, {"endpointurl": ""}, "the bucket's region"),
    ({}, {"secret_key_file": "/etc/passwd"}, {}, "VESTIGE_STORE_SECRETS"),
    ({}, {"key_id_env": "", "secret_key_env": "TEST_SECRET_ACCESS_KEY"}, {}, "A key has two parts"),
]


def test_a_repository_leads_no_further_than_the_installation_lets_it(
    dvc_shop: Workshop, bucket: Bucket, settings: Any
) -> None:
    """Also where it would give a key for it."""
    for changed, options, said, reason in CONFIGURED:
        settings.VESTIGE_STORE_HOSTS, settings.VESTIGE_STORE_BUCKETS = ["127.0.0.1"], []
        for name, value in changed.items():
            setattr(settings, name, value)
        with_bucket(dvc_shop, bucket, **said)
        bucket.server.fault()
        plan = planned(by_installation(dvc_shop, bucket, **options))
        (blocker,) = plan.blockers
        assert blocker.startswith("The remote cloud (s3://")
        assert reason in blocker
        assert "pass-word" not in blocker
        assert bucket.server.calls() == [], "nothing was asked"


def test_a_remote_is_reached_as_the_repository_and_the_connector_say(
    shop: Workshop, bucket: Bucket, settings: Any
) -> None:
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1"]
    settings.VESTIGE_STORE_BUCKETS = [f"{bucket.name}/shop"]
    shutil.rmtree(shop.root / ".dvc" / "cache")
    for options in ({}, {"endpoint_url": "", "region": ""}):
        found = by_installation(shop, bucket, **options).versions(digests=False)
        assert len(found) == 4, "all data is in the bucket"


def by_installation(shop: Workshop, bucket: Bucket, **options: Any) -> DvcStore:
    """As the application opens it."""
    given = {"exclusive": ["store", "cloud"], **bucket.server.options, **options}
    store_ = OPENERS["dvc"](str(shop.root), COLUMNS, given, "writer").store
    assert isinstance(store_, DvcStore)
    return store_
