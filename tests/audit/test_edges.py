"""The right edge of the tree, which a process that appends carries on from batch to batch."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.models import User
from audit import proofs, sequencer, storage
from audit.actions import append
from audit.batches import Ends
from audit.ledger.hashing import leaf_hash
from audit.models import MAIN_LOG, Entry, Tile
from tests.audit.builders import event

HASHES = [leaf_hash(number.to_bytes(4, "big")) for number in range(66_500)]


@cache
def in_one(count: int) -> proofs.Grown:
    return proofs.grow(0, HASHES[:count], {})


def stored_hashes() -> list[bytes]:
    rows = Entry.objects.order_by("seq").values_list("leaf_hash", flat=True)
    return [bytes(one) for one in rows]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 700), max_size=12), st.sampled_from([0, 255, 256, 65_400, 65_536]))
def test_a_tree_that_grows_in_steps_fills_the_tiles_of_one_that_grows_at_once(
    steps: list[int], size: int
) -> None:
    filled, edges = in_one(size)
    for step in steps:
        step = min(step, len(HASHES) - size)
        new, edges = proofs.grow(size, HASHES[size : size + step], edges)
        filled = filled + new
        size += step
    assert sorted(filled) == sorted(in_one(size).filled)
    assert edges == in_one(size).edges


@pytest.mark.django_db
def test_what_is_carried_on_is_what_the_stored_log_holds(pipeline: User) -> None:
    for start in range(0, 1_100, 110):
        append([event(start + number) for number in range(110)], by=pipeline)
    hashes = [
        bytes(one) for one in Entry.objects.order_by("seq").values_list("leaf_hash", flat=True)
    ]
    whole = proofs.grow(0, hashes, {})
    head = storage.lock_head(MAIN_LOG)
    assert sequencer._ends.edges(head) == whole.edges == proofs.edges(MAIN_LOG, len(hashes))
    stored = Tile.objects.order_by("level", "index").values_list("level", "index", "hashes", "root")
    assert [(level, index, bytes(h), bytes(r)) for level, index, h, r in stored] == whole.filled


@pytest.mark.django_db
def test_an_edge_is_carried_on_past_a_round_that_found_nothing_to_place(pipeline: User) -> None:
    sequencer.drain(MAIN_LOG)
    append([event(number) for number in range(300)], by=pipeline)
    assert sequencer.drain(MAIN_LOG) == 0
    head = storage.lock_head(MAIN_LOG)
    assert sequencer._ends.edges(head) == proofs.edges(MAIN_LOG, head.size)


@pytest.mark.django_db
def test_an_edge_is_not_carried_on_behind_what_another_process_appended(
    pipeline: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    append([event(number) for number in range(300)], by=pipeline)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sequencer, "_ends", Ends())
        append([event(number) for number in range(300, 350)], by=pipeline)
    append([event(number) for number in range(350, 600)], by=pipeline)
    hashes = [
        bytes(one) for one in Entry.objects.order_by("seq").values_list("leaf_hash", flat=True)
    ]
    stored = Tile.objects.order_by("level", "index").values_list("hashes", flat=True)
    whole = proofs.grow(0, hashes, {})
    assert [bytes(one) for one in stored] == [part for *_, part, _ in whole.filled]
