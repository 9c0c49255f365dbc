"""Whatever happened to an Iceberg table, each snapshot keeps the rows of everybody else."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.transforms import BucketTransform, IdentityTransform

from tests.connectors.iceberg_builders import (
    append,
    clean,
    customers,
    make,
    person,
    row,
    store,
    table,
)
from tests.connectors.iceberg_history import (
    erase,
    every_snapshot,
    identity,
    metadata,
    others,
    rows,
)
from tests.connectors.test_iceberg_shapes import partitioned

SHAPES: dict[str, tuple[tuple[int, Any, str], ...]] = {
    "whole": (),
    "by a number": ((3, IdentityTransform(), "bought"),),
    "by buckets of the person": ((1, BucketTransform(3), "who"),),
}


def branches(opened: Table) -> list[str]:
    refs = opened.metadata.refs.items()
    return sorted(n for n, r in refs if r.snapshot_ref_type == SnapshotRefType.BRANCH)


class History:
    """Writers who do one thing after another, each on a branch of their choice."""

    def __init__(self, lake: Path, seed: int) -> None:
        self.lake = lake
        self.chance = random.Random(seed)  # noqa: S311 (the same in each run)
        self.number = 0

    def go_on(self, steps: int) -> None:
        acts: list[Callable[[Table, str], None]]
        acts = [self.add, self.add, self.delete, self.overwrite, self.branch, self.tag, self.expire]
        self.add_to("main")
        for _ in range(steps):
            with table(self.lake) as opened:
                self.chance.choice(acts)(opened, self.chance.choice(branches(opened)))

    def add_to(self, branch: str) -> None:
        self.number += 1
        theirs = [person(n) for n in range(self.chance.randrange(3))]
        append(self.lake, customers(10 * self.number, 10 * self.number + 4, *theirs), branch)

    def add(self, _opened: Table, branch: str) -> None:
        self.add_to(branch)

    def delete(self, opened: Table, branch: str) -> None:
        opened.delete(f"bought = {self.chance.randrange(3)}", branch=branch)

    def overwrite(self, opened: Table, branch: str) -> None:
        found = [row(900 + self.chance.randrange(9)), person(5)]
        told = pa.Table.from_pylist(found, schema=opened.schema().as_arrow())
        opened.overwrite(
            told, overwrite_filter=f"bought > {self.chance.choice((3, 4))}", branch=branch
        )

    def branch(self, opened: Table, _branch: str) -> None:
        at = self.chance.choice(opened.snapshots()).snapshot_id
        opened.manage_snapshots().create_branch(at, f"branch-{len(opened.metadata.refs)}").commit()

    def tag(self, opened: Table, _branch: str) -> None:
        at = self.chance.choice(opened.snapshots()).snapshot_id
        opened.manage_snapshots().create_tag(at, f"tag-{len(opened.metadata.refs)}").commit()

    def expire(self, opened: Table, _branch: str) -> None:
        held = {ref.snapshot_id for ref in opened.metadata.refs.values()}
        if free := [s.snapshot_id for s in opened.snapshots() if s.snapshot_id not in held]:
            opened.maintenance.expire_snapshots().by_id(self.chance.choice(free)).commit()


@pytest.mark.filterwarnings("ignore:Delete operation did not match any records")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", SHAPES)
def test_any_history_is_kept_without_the_person(tmp_path: Path, shape: str, seed: int) -> None:
    lake = make(tmp_path, spec=partitioned(*SHAPES[shape]))
    History(lake, seed).go_on(9)
    before, was = every_snapshot(lake), metadata(lake)
    erase(store(lake))
    assert rows(every_snapshot(lake), before) == others(before)
    found = metadata(lake)
    assert {n: i for n, i in identity(found).items() if n in before} == identity(was)
    assert found.refs.keys() == was.refs.keys()
    assert clean(store(lake))
