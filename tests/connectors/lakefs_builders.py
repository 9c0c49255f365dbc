"""A lakeFS repository on the stand-in server, with a person in several commits and branches."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors.adapters.base import ErasePlan
from connectors.adapters.lakefs import LakefsStore
from tests.connectors.dvc_builders import COLUMNS, OTHERS, PERSON, UNRELATED, WITH, parquet
from tests.connectors.lakefs_server import (
    KEY,
    BlockStore,
    LocalBlocks,
    Server,
    Shop,
    served,
)

SECRET_VARIABLE = "TEST_LAKEFS_PASSWORD"


def shop_with_person(blocks: BlockStore, scratch: Path) -> Shop:
    """Three commits on main, a tag, three branches, an unrelated old version.

    1 (tag v1): orders.csv without the person, prices.csv, which no later commit changes, an image
    2: orders.csv with the person, and two files of parts/ with them
    same (from 2): a branch that is at main's older commit
    side (from 2): parts/ has one more file with the person
    3: orders.csv has one more row; main is protected from now on
    """
    shop = Shop(blocks)
    shop.put("main", "data/orders.csv", UNRELATED)
    shop.put("main", "data/prices.csv", b"customer_id,price\nc-000900,1\n")
    shop.put("main", "logo.png", b"\x89PNG\r\n\x1a\n\x00\x01\x02")
    shop.tags["v1"] = shop.commit("main", "first orders").id
    shop.put("main", "data/orders.csv", WITH, {"origin": "till"})
    parquet(scratch / "a.parquet", person=True)
    shop.put("main", "data/parts/a.parquet", (scratch / "a.parquet").read_bytes())
    (scratch / "a.parquet").unlink()
    lines = b'{"customer_id": "c-000042"}\n{"customer_id": "c-000005"}\n'
    shop.put("main", "data/parts/b.jsonl", lines)
    second = shop.commit("main", "orders and parts").id
    shop.begin("same", second)
    shop.begin("side", second)
    shop.put("side", "data/parts/d.csv", WITH + OTHERS[1])
    shop.commit("side", "one more part")
    shop.put("main", "data/orders.csv", WITH + OTHERS[0], {"origin": "till"})
    shop.commit("main", "one more order")
    shop.protected = ["main"]
    return shop


@contextmanager
def opened_shop(folder: Path) -> Iterator[Server]:
    with served(shop_with_person(LocalBlocks(folder), folder)) as server:
        yield server


def options(server: Server, **more: Any) -> dict[str, Any]:
    return {
        "user": KEY,
        "password_env": SECRET_VARIABLE,
        "unrelated_files": ["*.png"],
        **server.shop.blocks.options,
        **more,
    }


def store(
    server: Server, columns: Sequence[str] = COLUMNS, *, role: Any = "writer", path: str = "",
    **more: Any,
) -> LakefsStore:  # fmt: skip
    where = f"{server.location}{path}"
    return LakefsStore(where, columns, options(server, **more), role=role)


def planned(opened: LakefsStore, needles: Mapping[str, Sequence[str]] = PERSON) -> ErasePlan:
    return opened.plan_erase(opened.find_subject(needles), mode="purge")


def erase(opened: LakefsStore, needles: Mapping[str, Sequence[str]] = PERSON) -> ErasePlan:
    """Search, plan, erase and purge, as one would; returns the plan."""
    plan = planned(opened, needles)
    assert plan.blockers == ()
    opened.erase(plan, needles)
    opened.purge_history(plan)
    return plan


def traces(opened: LakefsStore, needles: Mapping[str, Sequence[str]] = PERSON) -> list[str]:
    """What the scan finds or cannot read."""
    control = opened.control_subject(needles)
    report = opened.verify_erased([v for vs in needles.values() for v in vs], control)
    assert control is None or report.control_found
    return [*(f"{t.path}: {t.where}" for t in report.traces), *report.unreadable]


def contents(shop: Shop, ref: str) -> dict[str, bytes]:
    """Path → what the ref shows there."""
    return {path: shop.body(o) for path, o in shop.resolve(ref)[1].items()}
