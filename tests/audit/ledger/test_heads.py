"""The hash over the heads of all resources, and what is shown of one of them."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import heads
from audit.ledger.hashing import EMPTY_ROOT
from audit.ledger.heads import Head, bucket_of, bucket_path, bucket_root, head_in, key_of, map_root
from audit.ledger.tree import InvalidProofError, root_of
from tests.audit.ledger.heads import CountingLog, bucket_roots

# Two names in one bucket, found by trying.
NEIGHBOURS = ["dataset:shop:3", "dataset:shop:13"]
NAMES = [*NEIGHBOURS, "dataset:shop:1", "model:churn", "log:main", "ä"]


def test_the_neighbours_stand_in_one_bucket() -> None:
    assert len({bucket_of(key_of(name)) for name in NEIGHBOURS}) == 1
    assert len({bucket_of(key_of(name)) for name in NAMES}) > 3


def test_the_empty_map_has_a_root_that_anybody_can_compute() -> None:
    assert map_root(heads.EMPTY_BUCKETS) == root_of([EMPTY_ROOT] * 4096)
    assert bucket_root([]) == EMPTY_ROOT


def test_a_leaf_is_hash_count_and_number() -> None:
    leaf = key_of("a") + (7).to_bytes(8, "big") + (300).to_bytes(8, "big")
    assert bucket_root([Head(key_of("a"), 7, 300)]) == sha256(b"\x00" + leaf).digest()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(NAMES), max_size=40), st.sampled_from(NAMES))
def test_a_bucket_shows_the_head_of_a_resource_or_that_it_has_none(
    resources: list[str], asked: str
) -> None:
    log = CountingLog(resources)
    found = log.heads(len(resources))
    roots = bucket_roots(found)
    bucket = [head for head in found if bucket_of(head.key) == bucket_of(key_of(asked))]
    path = bucket_path(bucket_of(key_of(asked)), roots)
    shown = head_in(asked, bucket, path, map_root(roots))
    seqs = log.seqs(asked)
    assert shown == (Head(key_of(asked), len(seqs), seqs[-1]) if seqs else None)


def test_what_is_not_the_whole_bucket_of_the_resource_is_refused() -> None:
    log = CountingLog([*NAMES, *NAMES])
    roots = bucket_roots(log.heads(12))
    root = map_root(roots)
    proof = log.heads_proof(0, NEIGHBOURS[0], 12)
    bucket, path = list(proof.bucket), list(proof.path)
    assert head_in(NEIGHBOURS[0], bucket, path, root) is not None
    other = log.heads_proof(0, "model:churn", 12)
    one, two = bucket
    wrong = {
        "one taken out": ([two], path),
        "none left": ([], path),
        "another order": ([two, one], path),
        "one twice": ([one, one, two], path),
        "an older head": ([one._replace(nth=1, seq=0), two], path),
        "another count": ([one._replace(nth=one.nth - 1), two], path),
        "another bucket": (list(other.bucket), list(other.path)),
        "another bucket's path": (bucket, list(other.path)),
        "a shorter path": (bucket, path[1:]),
        "a longer path": (bucket, [*path, path[0]]),
    }
    for heads_shown, way in wrong.values():
        with pytest.raises(InvalidProofError):
            head_in(NEIGHBOURS[0], heads_shown, way, root)
    with pytest.raises(InvalidProofError):
        head_in(NEIGHBOURS[0], bucket, path, map_root(heads.EMPTY_BUCKETS))


def test_a_map_with_two_heads_of_one_resource_shows_neither() -> None:
    """As only an operator could make it who lies about one of them."""
    heads_of_it = [Head(key_of("a"), 1, 0), Head(key_of("a"), 2, 5)]
    roots = bucket_roots(heads_of_it)
    path = bucket_path(bucket_of(key_of("a")), roots)
    with pytest.raises(InvalidProofError, match="each once"):
        head_in("a", heads_of_it, path, map_root(roots))


def test_bucket_roots_that_are_no_4096_hashes_are_refused() -> None:
    with pytest.raises(ValueError, match="4096"):
        map_root(heads.EMPTY_BUCKETS[:-1])
