import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import chain, leaf, tree
from audit.ledger.hashing import leaf_hash
from tests.audit.ledger.builders import START_US, log_of


def chained(times: list[int]) -> list[bytes]:
    previous = leaf.GENESIS
    leaves = []
    for seq, time in enumerate(times):
        leaves.append(leaf.pack(seq, time, previous, b'{"type":"x.happened"}'))
        previous = leaf_hash(leaves[-1])
    return leaves


def test_an_intact_log_is_read_to_its_root() -> None:
    log = log_of(1000)
    verifier = chain.ChainVerifier()

    assert verifier.feed_batch(log.leaves) == log.hashes
    assert (verifier.size, verifier.root()) == (1000, tree.root_of(log.hashes))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 40), max_size=8))
def test_a_run_goes_on_from_a_stored_state_as_if_it_had_never_stopped(batches: list[int]) -> None:
    log = log_of(sum(batches))
    verifier = chain.ChainVerifier()
    start = 0
    for count in batches:
        for item in log.leaves[start : start + count // 2]:
            verifier.feed(item)
        verifier.feed_batch(iter(log.leaves[start + count // 2 : start + count]))
        start += count
        verifier = chain.ChainVerifier.from_bytes(verifier.to_bytes())

    assert (verifier.size, verifier.root()) == (len(log.leaves), tree.root_of(log.hashes))


def refused(leaves: list[bytes]) -> chain.ChainError:
    verifier = chain.ChainVerifier()
    with pytest.raises(chain.ChainError) as caught:
        verifier.feed_batch(leaves)
    error = caught.value
    one_by_one = chain.ChainVerifier()
    with pytest.raises(chain.ChainError) as caught_too:
        list(map(one_by_one.feed, leaves))
    assert str(caught_too.value) == str(error)
    assert one_by_one.to_bytes() == verifier.to_bytes()
    # What came before the fault is kept, and the log goes on from there.
    assert verifier.size == error.seq
    assert verifier.root() == tree.root_of(map(leaf_hash, leaves[: error.seq]))
    return error


def test_an_edited_entry_is_found_at_its_successor() -> None:
    leaves = log_of(20).leaves
    leaves[7] = leaves[7].replace(b'"rows":7', b'"rows":8')

    error = refused(leaves)

    assert error.seq == 8
    assert "hash of the entry before it" in error.reason
    assert str(error).startswith("entry 8: ")


def test_a_deleted_entry_is_found_where_it_was() -> None:
    leaves = log_of(20).leaves
    del leaves[7]

    error = refused(leaves)

    assert error.seq == 7
    assert "number 8" in error.reason


def test_swapped_entries_are_found() -> None:
    leaves = log_of(20).leaves
    leaves[7], leaves[8] = leaves[8], leaves[7]

    assert refused(leaves).seq == 7


def test_an_inserted_entry_is_found() -> None:
    leaves = log_of(20).leaves
    leaves.insert(7, leaf.pack(7, START_US + 7_000_000, leaf_hash(leaves[6]), b"{}"))

    assert refused(leaves).seq == 8


def test_an_entry_dated_before_its_predecessor_is_found() -> None:
    leaves = chained([5, 5, 6, 4, 7])

    error = refused(leaves)

    assert error.seq == 3
    assert "before that of the entry before it" in error.reason


def test_a_log_that_does_not_start_at_the_beginning_is_refused() -> None:
    leaves = log_of(3).leaves
    assert refused(leaves[1:]).seq == 0
    assert refused([leaf.pack(0, 0, bytes(31) + b"\x01", b"{}")]).seq == 0


@pytest.mark.parametrize("broken", [b"", b"VLG1", bytes(60), b"VLG1" + bytes(65_600)])
def test_bytes_that_are_no_leaf_are_refused_with_their_place(broken: bytes) -> None:
    assert refused([*log_of(2).leaves, broken]).seq == 2


def read(leaves: list[bytes]) -> tuple[int | None, bytes]:
    """Where the chain breaks, if it does, and the root up to there."""
    verifier = chain.ChainVerifier()
    found = None
    try:
        verifier.feed_batch(leaves)
    except chain.ChainError as error:
        found = error.seq
    return found, verifier.root()


def test_any_changed_byte_in_a_log_is_found_by_chain_or_root() -> None:
    log = log_of(64)
    root = tree.root_of(log.hashes)
    dice = random.Random(20)  # noqa: S311
    for _ in range(2000):
        leaves = list(log.leaves)
        seq = dice.randrange(len(leaves))
        at = dice.randrange(len(leaves[seq]))
        changed = bytearray(leaves[seq])
        changed[at] ^= dice.randrange(1, 256)
        leaves[seq] = bytes(changed)
        found, read_root = read(leaves)
        # Only a change in the last entry can stay unseen by the chain; the root shows it.
        assert found in {seq, seq + 1} or (seq == 63 and found is None and read_root != root)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(chain.ChainStateError):
        chain.ChainVerifier.from_bytes(data)


def test_a_state_that_contradicts_itself_is_refused() -> None:
    verifier = chain.ChainVerifier()
    state = bytearray(verifier.to_bytes())
    state[8] ^= 1
    with pytest.raises(chain.ChainStateError, match="empty log"):
        chain.ChainVerifier.from_bytes(bytes(state))

    verifier.feed(log_of(1).leaves[0])
    state = bytearray(verifier.to_bytes())
    state[8] ^= 1
    with pytest.raises(chain.ChainStateError, match="last leaf"):
        chain.ChainVerifier.from_bytes(bytes(state))
