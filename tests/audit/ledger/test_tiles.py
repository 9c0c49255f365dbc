import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import tiles, tree
from audit.ledger.hashing import leaf_hash


class Folder:
    """Tiles as they would lie in a folder or table, and how often each was read."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.reads: list[tuple[int, int]] = []

    def read(self, level: int, index: int) -> bytes:
        self.reads.append((level, index))
        return self.tiles[level, index]

    def source(self) -> tiles.TileHashSource:
        self.reads.clear()
        return tiles.TileHashSource(self.read)


def hashes_of(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def folder_of(hashes: list[bytes], steps: list[int]) -> Folder:
    folder = Folder()
    size = 0
    for step in [*steps, len(hashes)]:
        new = hashes[size : size + step]
        folder.tiles |= tiles.updated_tiles(size, new, folder.read)
        size += len(new)
    return folder


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 999, 256, "tile/0/999"),
        (0, 1000, 256, "tile/0/x001/000"),
        (0, 1_234_067, 256, "tile/0/x001/x234/067"),
        (2, 5, 1, "tile/2/005.p/1"),
        (63, 1_234_067, 255, "tile/63/x001/x234/067.p/255"),
        ("entries", 273, 112, "tile/entries/273.p/112"),
    ],
)
def test_paths_are_written_and_read_as_the_specification_shows(
    level: tiles.TileLevel, index: int, width: int, path: str
) -> None:
    assert tiles.tile_path(level, index, width) == path
    assert tiles.parse_tile_path(path) == (level, index, width)


@given(st.integers(0, 63) | st.just(tiles.ENTRIES), st.integers(0, 2**64), st.integers(1, 256))
def test_every_path_reads_back_as_the_tile_it_was_written_for(
    level: tiles.TileLevel, index: int, width: int
) -> None:
    path = tiles.tile_path(level, index, width)
    assert tiles.parse_tile_path(path) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/100/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "tile/0/\u0660\u0660\u0660",
        "tile/entries/000\n",
        "tile/data/000",
        "/tile/0/000",
        "tile/0/../../etc/passwd",
        "tile/0/" + "x000/" * 10_000 + "000",
    ],
)
def test_other_spellings_of_a_path_are_refused(path: str) -> None:
    with pytest.raises(tiles.TileError):
        tiles.parse_tile_path(path)


@pytest.mark.parametrize(
    ("level", "index", "width"), [(64, 0, 256), (-1, 0, 256), (0, -1, 256), (0, 0, 0), (0, 0, 257)]
)
def test_a_path_of_an_impossible_tile_is_refused(level: int, index: int, width: int) -> None:
    with pytest.raises(tiles.TileError):
        tiles.tile_path(level, index, width)


def test_a_tree_of_70000_leaves_has_the_tiles_of_the_specification() -> None:
    size = 70_000
    assert [tiles.tile_width(0, index, size) for index in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tiles.tile_width(1, index, size) for index in (0, 1, 2)] == [256, 17, 0]
    assert [tiles.tile_width(2, index, size) for index in (0, 1)] == [1, 0]
    assert tiles.tile_width(tiles.ENTRIES, 273, size) == 112
    assert [tiles.tile_width(level, 0, 256) for level in (0, 1, 2)] == [256, 1, 0]

    folder = folder_of(hashes_of(size), [256, 1, 40_000])
    widths = {place: len(data) // 32 for place, data in folder.tiles.items()}
    assert len(folder.tiles) == 274 + 2 + 1
    assert widths == {
        (level, index): tiles.tile_width(level, index, size) for level, index in folder.tiles
    }


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 700), max_size=4), st.integers(1, 700), st.data())
def test_proofs_from_tiles_equal_proofs_from_all_hashes(
    steps: list[int], last: int, data: st.DataObject
) -> None:
    hashes = hashes_of(sum(steps) + last)
    folder = folder_of(hashes, steps)
    size = data.draw(st.integers(1, len(hashes)))  # older sizes are served by wider tiles
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    root = tree.root_of(hashes[:size])

    def every_hash(level: int, index: int) -> bytes:
        return tree.root_of(hashes[index << level : (index + 1) << level])

    assert tree.tree_root(size, folder.source()) == root
    proof = tree.inclusion_proof(index, size, folder.source())
    assert proof == tree.inclusion_proof(index, size, every_hash)
    assert tree.consistency_proof(old, size, folder.source()) == tree.consistency_proof(
        old, size, every_hash
    )


def test_a_proof_in_a_tree_of_70000_leaves_reads_at_most_five_tiles_each_once() -> None:
    folder = folder_of(hashes_of(70_000), [])
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        tree.inclusion_proof(index, 70_000, folder.source())
        assert len(folder.reads) == len(set(folder.reads)) <= 5
    tree.consistency_proof(65_537, 70_000, folder.source())
    assert len(folder.reads) == len(set(folder.reads)) <= 6


def test_growing_a_log_reads_only_the_tiles_at_its_right_edge() -> None:
    hashes = hashes_of(66_000)
    folder = folder_of(hashes[:65_999], [])
    folder.reads.clear()

    changed = tiles.updated_tiles(65_999, hashes[65_999:], folder.read)

    assert folder.reads == [(0, 257)]
    assert list(changed) == [(0, 257)]


def test_a_tile_that_is_too_short_or_torn_is_an_error_and_no_wrong_proof() -> None:
    folder = folder_of(hashes_of(300), [])
    folder.tiles[0, 1] = folder.tiles[0, 1][:32]
    with pytest.raises(tiles.TileError, match="tile/0/001 is too short"):
        tree.inclusion_proof(0, 300, folder.source())
    with pytest.raises(tiles.TileError, match="shorter than the tree"):
        tiles.updated_tiles(300, hashes_of(1), folder.read)
    folder.tiles[0, 1] += b"x"
    with pytest.raises(tiles.TileError, match="32 bytes"):
        tree.inclusion_proof(0, 300, folder.source())


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_an_entry_bundle_gives_back_its_leaves(leaves: list[bytes]) -> None:
    assert tiles.decode_entries(tiles.encode_entries(leaves)) == leaves


def test_an_entry_bundle_has_the_documented_bytes() -> None:
    assert tiles.encode_entries([b"ab", b"", b"c" * 258]) == (
        b"\x00\x02ab\x00\x00\x01\x02" + b"c" * 258
    )
    assert len(tiles.encode_entries([bytes(65_535)])) == 65_537


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x01ab", b"\x00\x00" * 257])
def test_a_torn_or_overfull_entry_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(tiles.TileError):
        tiles.decode_entries(data)


@pytest.mark.parametrize("leaves", [[bytes(65_536)], [b""] * 257])
def test_leaves_that_do_not_fit_into_a_bundle_are_refused(leaves: list[bytes]) -> None:
    with pytest.raises(tiles.TileError):
        tiles.encode_entries(leaves)
