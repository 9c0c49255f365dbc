import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import tree
from audit.ledger.hashing import EMPTY_ROOT, leaf_hash

VECTORS = Path(__file__).parents[2] / "data" / "ledger_vectors" / "merkle"

# The reference leaves of RFC 6962 implementations and the roots of the trees of the first 0 to 8.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def hashes_of(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def source(hashes: list[bytes]) -> tree.HashSource:
    def get(level: int, index: int) -> bytes:
        assert (index + 1) << level <= len(hashes), "only complete subtrees may be asked for"
        return naive_root(hashes[index << level : (index + 1) << level])

    return get


# The definitions of RFC 6962, section 2.1, word for word, to compare with.


def split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def naive_root(hashes: list[bytes]) -> bytes:
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:])).digest()


def naive_path(m: int, hashes: list[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if m < k:
        return [*naive_path(m, hashes[:k]), naive_root(hashes[k:])]
    return [*naive_path(m - k, hashes[k:]), naive_root(hashes[:k])]


def naive_subproof(m: int, hashes: list[bytes], *, known: bool) -> list[bytes]:
    if m == len(hashes):
        return [] if known else [naive_root(hashes)]
    k = split(len(hashes))
    if m <= k:
        return [*naive_subproof(m, hashes[:k], known=known), naive_root(hashes[k:])]
    return [*naive_subproof(m - k, hashes[k:], known=False), naive_root(hashes[:k])]


def vectors(kind: str) -> list[Any]:
    return [
        pytest.param(json.loads(path.read_text()), id=str(path.relative_to(VECTORS)))
        for path in sorted((VECTORS / kind).rglob("*.json"))
    ]


def decoded(proof: list[str] | None) -> list[bytes]:
    return [b64decode(item) for item in proof or []]


@pytest.mark.parametrize("vector", vectors("inclusion"))
def test_published_inclusion_proofs_are_judged_as_published(vector: dict[str, Any]) -> None:
    def verify() -> None:
        tree.verify_inclusion(
            vector["leafIdx"],
            vector["treeSize"],
            b64decode(vector["leafHash"]),
            decoded(vector["proof"]),
            b64decode(vector["root"]),
        )

    if vector["wantErr"]:
        with pytest.raises(tree.InvalidProofError):
            verify()
    else:
        verify()


@pytest.mark.parametrize("vector", vectors("consistency"))
def test_published_consistency_proofs_are_judged_as_published(vector: dict[str, Any]) -> None:
    def verify() -> None:
        tree.verify_consistency(
            vector["size1"],
            vector["size2"],
            b64decode(vector["root1"]),
            b64decode(vector["root2"]),
            decoded(vector["proof"]),
        )

    if vector["wantErr"]:
        with pytest.raises(tree.InvalidProofError):
            verify()
    else:
        verify()


def test_the_vector_folder_is_complete() -> None:
    assert (len(vectors("inclusion")), len(vectors("consistency"))) == (53, 42)


@pytest.mark.parametrize("size", range(9))
def test_the_reference_leaves_give_the_reference_roots(size: int) -> None:
    hashes = [leaf_hash(item) for item in LEAVES[:size]]

    assert tree.root_of(hashes).hex() == ROOTS[size]
    assert tree.tree_root(size, source(hashes)).hex() == ROOTS[size]


def test_every_proof_of_every_small_tree_is_the_rfc_one_and_verifies() -> None:
    hashes = hashes_of(34)
    for size in range(1, 35):
        get = source(hashes[:size])
        root = naive_root(hashes[:size])
        for index in range(size):
            proof = tree.inclusion_proof(index, size, get)
            assert proof == naive_path(index, hashes[:size])
            tree.verify_inclusion(index, size, hashes[index], proof, root)
        for old in range(size + 1):
            proof = tree.consistency_proof(old, size, get)
            assert proof == (naive_subproof(old, hashes[:size], known=True) if old else [])
            tree.verify_consistency(old, size, naive_root(hashes[:old]), root, proof)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_proofs_in_larger_trees_verify_and_any_change_to_them_does_not(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 600))
    hashes = hashes_of(size)
    get, root = source(hashes), naive_root(hashes)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size - 1))
    proof = tree.inclusion_proof(index, size, get)
    growth = tree.consistency_proof(old, size, get)
    old_root = naive_root(hashes[:old])
    assert proof == naive_path(index, hashes)
    tree.verify_inclusion(index, size, hashes[index], proof, root)
    tree.verify_consistency(old, size, old_root, root, growth)

    at, bit = data.draw(st.integers(0, 31)), 1 << data.draw(st.integers(0, 7))

    def changed(item: bytes) -> bytes:
        return item[:at] + bytes([item[at] ^ bit]) + item[at + 1 :]

    place = data.draw(st.integers(0, len(proof) - 1))
    broken = [*proof[:place], changed(proof[place]), *proof[place + 1 :]]
    for arguments in [
        (index, size, hashes[index], broken, root),
        (index, size, hashes[index], proof[:-1], root),
        (index, size, hashes[index], [*proof, root], root),
        (index, size, changed(hashes[index]), proof, root),
        (index, size, hashes[index], proof, changed(root)),
        (size, size, hashes[index], proof, root),
        ((index + 1) % size, size, hashes[index], proof, root),
    ]:
        with pytest.raises(tree.InvalidProofError):
            tree.verify_inclusion(*arguments)
    place = data.draw(st.integers(0, len(growth) - 1))
    broken = [*growth[:place], changed(growth[place]), *growth[place + 1 :]]
    for sizes_and_roots in [
        (old, size, old_root, root, broken),
        (old, size, old_root, root, growth[:-1]),
        (old, size, old_root, root, [*growth, root]),
        (old, size, changed(old_root), root, growth),
        (old, size, old_root, changed(root), growth),
    ]:
        with pytest.raises(tree.InvalidProofError):
            tree.verify_consistency(*sizes_and_roots)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 20))
def test_a_frontier_grown_in_any_steps_has_the_naive_root(batches: list[int], singles: int) -> None:
    hashes = hashes_of(sum(batches) + singles)
    frontier = tree.Frontier()
    start = 0
    for count in batches:
        frontier.extend(hashes[start : start + count])
        start += count
        frontier = tree.Frontier.from_bytes(frontier.to_bytes())
    for item in hashes[start:]:
        frontier.append(item)

    assert frontier.size == len(hashes)
    assert frontier.root() == naive_root(hashes)
    assert len(frontier.peaks) == len(hashes).bit_count()


def test_extending_across_internal_chunks_gives_the_same_tree_as_appending() -> None:
    hashes = hashes_of(10_001)
    one_by_one = tree.Frontier()
    for item in hashes:
        one_by_one.append(item)
    extended = tree.Frontier()
    extended.extend(iter(hashes[:3]))
    extended.extend(iter(hashes[3:]))

    assert extended.to_bytes() == one_by_one.to_bytes()


def test_extending_leaves_the_callers_list_and_a_copy_alone() -> None:
    hashes = hashes_of(5)
    frontier = tree.Frontier()
    copy = frontier.copy()
    frontier.extend(hashes)

    assert hashes == hashes_of(5)
    assert copy.root() == EMPTY_ROOT


@pytest.mark.parametrize(
    "data", [b"", bytes(7), bytes(8) + bytes(32), bytes(7) + b"\x03" + bytes(32), bytes(8) + b"x"]
)
def test_bytes_that_are_no_frontier_are_refused(data: bytes) -> None:
    with pytest.raises(tree.FrontierError):
        tree.Frontier.from_bytes(data)


def test_nothing_is_included_in_an_empty_tree() -> None:
    with pytest.raises(tree.InvalidProofError):
        tree.verify_inclusion(0, 0, EMPTY_ROOT, [], EMPTY_ROOT)


def test_an_empty_tree_grows_into_any_tree_by_an_empty_proof() -> None:
    root = tree.root_of(hashes_of(3))
    tree.verify_consistency(0, 3, EMPTY_ROOT, root, [])
    tree.verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])

    for size1, size2, root1, root2, proof in [
        (0, 3, root, root, []),
        (0, 3, EMPTY_ROOT, root, [root]),
        (0, 0, EMPTY_ROOT, root, []),
        (0, 0, EMPTY_ROOT, EMPTY_ROOT, [EMPTY_ROOT]),
        (3, 0, root, EMPTY_ROOT, []),
        (3, 2, root, root, []),
        (-1, 2, root, root, []),
    ]:
        with pytest.raises(tree.InvalidProofError):
            tree.verify_consistency(size1, size2, root1, root2, proof)


@pytest.mark.parametrize("proof", [["x" * 32], [None], [b"short"], [b"long" * 9]])
def test_a_proof_of_other_things_than_hashes_is_invalid_and_no_crash(proof: Any) -> None:
    hashes = hashes_of(2)
    with pytest.raises(tree.InvalidProofError):
        tree.verify_inclusion(0, 2, hashes[0], proof, tree.root_of(hashes))
    with pytest.raises(tree.InvalidProofError):
        tree.verify_consistency(1, 2, hashes[0], tree.root_of(hashes), proof)


def test_a_proof_about_a_size_beyond_all_logs_ends_at_once() -> None:
    root = tree.root_of(hashes_of(2))
    with pytest.raises(tree.InvalidProofError, match="too short"):
        tree.verify_inclusion(10**300, 10**301, root, [root] * 10, root)
    with pytest.raises(tree.InvalidProofError, match="whole numbers"):
        tree.verify_inclusion(True, 2, root, [root], root)  # noqa: FBT003


@pytest.mark.parametrize(("index", "size"), [(3, 3), (-1, 3), (0, 0), (0, -1)])
def test_a_proof_for_a_leaf_that_is_not_there_is_refused(index: int, size: int) -> None:
    with pytest.raises(tree.ProofRangeError):
        tree.inclusion_proof(index, size, source(hashes_of(3)))


@pytest.mark.parametrize(("size1", "size2"), [(3, 2), (-1, 2)])
def test_a_consistency_proof_backwards_is_refused(size1: int, size2: int) -> None:
    with pytest.raises(tree.ProofRangeError):
        tree.consistency_proof(size1, size2, source(hashes_of(3)))
