import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger import hashing, leaf


def test_a_leaf_has_the_documented_bytes() -> None:
    packed = leaf.pack(258, 1, bytes(range(32)), b'{"a":1}')

    assert packed.hex() == (
        "564c4731"
        "0000000000000102"
        "0000000000000001"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        "7b2261223a317d"
    )
    assert hashing.leaf_hash(packed).hex() == (
        "a1cee0c66ccfcaa12a1ec37e7617d04c1f15096a2db423857e72e0ae9fdae3f7"
    )


@given(
    seq=st.integers(0, 2**64 - 1),
    timestamp=st.integers(0, 2**64 - 1),
    previous=st.binary(min_size=32, max_size=32),
    event=st.binary(min_size=1, max_size=2000),
)
def test_unpacking_gives_back_what_was_packed(
    seq: int, timestamp: int, previous: bytes, event: bytes
) -> None:
    assert leaf.unpack(leaf.pack(seq, timestamp, previous, event)) == leaf.Leaf(
        seq, timestamp, previous, event
    )


def test_the_largest_leaf_has_65535_bytes() -> None:
    packed = leaf.pack(0, 0, leaf.GENESIS, b"x" * leaf.MAX_EVENT_BYTES)
    assert len(packed) == 65_535
    assert leaf.unpack(packed).event == b"x" * leaf.MAX_EVENT_BYTES

    with pytest.raises(leaf.LeafError, match="send a digest"):
        leaf.pack(0, 0, leaf.GENESIS, b"x" * (leaf.MAX_EVENT_BYTES + 1))
    with pytest.raises(leaf.LeafError, match="at most 65,535 bytes"):
        leaf.unpack(packed + b"x")


@pytest.mark.parametrize(
    ("seq", "timestamp", "previous", "event"),
    [
        (-1, 0, leaf.GENESIS, b"{}"),
        (2**64, 0, leaf.GENESIS, b"{}"),
        (0, -1, leaf.GENESIS, b"{}"),
        (0, 2**64, leaf.GENESIS, b"{}"),
        (0, 0, b"short", b"{}"),
        (0, 0, leaf.GENESIS, b""),
    ],
)
def test_values_that_do_not_fit_are_refused(
    seq: int, timestamp: int, previous: bytes, event: bytes
) -> None:
    with pytest.raises(leaf.LeafError):
        leaf.pack(seq, timestamp, previous, event)


@pytest.mark.parametrize(
    "data", [b"", b"VLG1", bytes(100), b"VLG2" + bytes(60), b"VLG1" + bytes(48)]
)
def test_bytes_that_are_no_leaf_are_refused(data: bytes) -> None:
    with pytest.raises(leaf.LeafError):
        leaf.unpack(data)
