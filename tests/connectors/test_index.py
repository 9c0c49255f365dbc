"""The subject index finds what the search finds: never a person less, and no row more."""

import os
import random
import uuid
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.adapters.base import StoreError
from connectors.adapters.delta import DeltaStore
from connectors.index import SubjectIndex, segment
from connectors.index import build as build_index
from connectors.index.terms import column_terms, is_exact, kind_of, sought_terms, spelled
from connectors.people import identifier_text, person_rows
from tests.connectors.builders import (
    PERSON,
    KilledError,
    append,
    customers,
    erase,
    hide_rows,
    store,
    table_with_person,
    vectors_allowed,
)
from tests.connectors.indexing import (
    KEY,
    assert_forgets,
    both_ways,
    build,
    bytes_in,
    hashes_of,
    index_at,
)

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


# What equals what: the rule of the search, value by value

texts = st.text(alphabet="aAbB1-@. \u00a0\x1c\u212aKk\u0130\u0131ß\u03a3\u03c2\u0301", max_size=5)
numbers = st.integers(-(2**70), 2**70) | st.integers(2**53 - 3, 2**53 + 3) | st.integers(-9, 99)
spellings: st.SearchStrategy[Callable[[str], str]] = st.sampled_from(
    [str.lower, str.upper, str.title, str.strip, lambda t: f" {t}\t", str]
)
uuids = st.sampled_from([UUID, "0f8fad5bd9cb469fa16570867728950e", "urn:" + UUID.replace("-", "")])
words = st.one_of(
    texts,
    st.builds(lambda n, zeros: "0" * zeros + str(n), numbers, st.integers(0, 3)),
    st.builds(lambda a, b: f"{a}@{b}", texts, texts),
    uuids,
)
identifiers = st.builds(lambda word, spell: spell(word), words, spellings)
KINDS: list[tuple[pl.DataType, st.SearchStrategy[Any]]] = [
    (pl.String(), identifiers),
    (pl.Int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 99)),
    (pl.UInt8(), st.integers(0, 255)),
    (pl.Int128(), numbers),
    (pl.Float64(), st.floats(width=64) | numbers.map(float)),
    (pl.Float32(), st.floats(width=32) | st.integers(2**24 - 3, 2**24 + 3).map(float)),
    (pl.Decimal(20, 2), st.decimals(-99, 99, places=2) | st.integers(-9, 99).map(Decimal)),
    (pl.Binary(), identifiers.map(str.encode) | st.just(uuid.UUID(UUID).bytes)),
    (pl.Boolean(), st.booleans()),
    (pl.Categorical(), identifiers),
    (pl.Date(), st.dates()),
]


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=lambda k: str(k)[:12])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_value_that_the_search_matches_has_a_term_that_is_sought(
    kind: pl.DataType, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    column = pl.Series("v", data.draw(st.lists(st.none() | values, max_size=8)), dtype=kind)
    asked = data.draw(st.lists(identifiers, min_size=1, max_size=3))
    # Also what stands in the column, as people write it: else nearly nothing would ever match.
    there = column.drop_nulls().head(2).to_list()
    asked += [data.draw(spellings)(identifier_text(v)) for v in there]
    frame = column.to_frame()
    matched = frame.select(person_rows(pl.col("v"), kind, asked).alias("m"))["m"]
    terms = frame.select(column_terms(pl.col("v"), kind))["term"].cast(pl.Binary).to_list()
    named = [term in sought_terms(kind_of(spelled(kind)), asked) for term in terms]
    matches = matched.to_list() * (frame.height if matched.len() == 1 != frame.height else 1)
    missed = [v for v, m, n in zip(column, matches, named, strict=True) if m and not n]
    assert not missed, asked
    if is_exact(spelled(kind), asked):
        assert named == matches[: len(named)], asked


# Whole tables, both ways


def plain_table(path: Path) -> DeltaStore:
    return store(table_with_person(path))


def partitioned_table(path: Path) -> DeltaStore:
    frame = customers(0, 4, person=True).select("email", "customer_id", "bought")
    append(path, frame, partition_by=["email"])
    append(path, frame, partition_by=["email"])
    return store(path)


def numbered_table(path: Path) -> DeltaStore:
    frame = pl.DataFrame({"customer_id": [42, 42, 7, None], "n": [1, 2, 3, 4]})
    append(path, frame)
    append(path, frame.with_columns(pl.col("customer_id") + 1))
    return store(path, ["customer_id"])


def float_table(path: Path) -> DeltaStore:
    append(path, pl.DataFrame({"customer_id": [42.0, -0.0, 2.0**53, float("nan"), None, 0.5]}))
    return store(path, ["customer_id"])


def nested_table(path: Path) -> DeltaStore:
    rows = [{"account": {"email": e, "id": n}} for n, e in enumerate(["A@x.org ", "b@x.org", None])]
    append(path, pl.DataFrame(rows))
    append(path, pl.DataFrame({"account": [{"email": " a@X.org", "id": 42}]}))
    return store(path, ["account.email", "account.id"])


def uuid_table(path: Path) -> DeltaStore:
    spelled = [UUID, UUID.upper(), UUID.replace("-", ""), str(uuid.UUID(int=5)), UUID[:-1], None]
    append(path, pl.DataFrame({"person": spelled}))
    return store(path, ["person"])


def hidden_rows_table(path: Path) -> DeltaStore:
    append(path, customers(0, 20, person=True))
    vectors_allowed(path, 1)
    hide_rows(path, 2, [10], inline=True)
    return store(path)


def untidy_table(path: Path) -> DeltaStore:
    """With an older file that lacks a column, one without rows, a leftover, a broken leftover."""
    append(path, customers(0, 9, person=True).drop("email"))
    append(path, customers(10, 19, person=True), schema_mode="merge")
    append(path, customers(0, 0))
    customers(20, 25, person=True).write_parquet(path / "part-left.parquet")
    (path / "part-broken.parquet").write_bytes(b"PAR1 and no more")
    return store(path)


TABLES = [
    plain_table, partitioned_table, numbered_table, float_table, nested_table, uuid_table,
    hidden_rows_table, untidy_table,
]  # fmt: skip
ASKED = [
    "c-000042", "C-000042", "c-000101", "nobody", "ann.archer@mail.example",
    " Ann.Archer@MAIL.example", "customer101@shop.example", "42", "0042", "+42", "43", "0", "-0",
    "9007199254740993", "a@x.org", "b@x.org", UUID, UUID.upper(), UUID.replace("-", ""), UUID[:-1],
]  # fmt: skip


@pytest.mark.parametrize("made", TABLES)
def test_every_table_is_searched_alike_with_an_index(tmp_path: Path, made: Any) -> None:
    opened = made(tmp_path / "t")
    index = index_at(tmp_path)
    build(opened, index)
    columns = opened.subject_columns
    for asked in ASKED:
        for needles in [{c: [asked]} for c in columns] + [{c: [asked] for c in columns}]:
            _, found = both_ways(opened, index, needles)
            assert found.method.startswith("by index of "), found.method
    everybody = dict.fromkeys(columns, ASKED)
    both_ways(opened, index, everybody)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> tuple[DeltaStore, SubjectIndex, list[str]]:
    """2 files of 9,000 rows of 8,000 persons, some of whom stand in none; and their index."""
    folder = tmp_path_factory.mktemp("crowd")
    chance = random.Random(4)  # noqa: S311 (nothing secret)
    persons = [f"c-{chance.getrandbits(48):012x}" for _ in range(8_000)]
    for _ in range(2):
        append(folder / "t", pl.DataFrame({"person": chance.choices(persons, k=9_000)}))
    opened = store(folder / "t", ["person"])
    index = index_at(folder)
    assert build(opened, index) == 2
    return opened, index, persons


def test_10_000_persons_are_in_the_files_that_the_index_names(
    crowd: tuple[DeltaStore, SubjectIndex, list[str]],
) -> None:
    opened, index, persons = crowd
    files = [e for e in opened.folder.entries() if e.path.endswith(".parquet")]
    names = [index.name_of(file, {"person": ["person"]}) for file in files]
    there = [
        Counter(pl.read_parquet(f"{opened.folder.root}/{file.path}")["person"].to_list())
        for file in files
    ]
    for person in [*persons, *(f"x-{number}" for number in range(2_000))]:
        lookup = index.lookup({"person": [person]})
        hits = [lookup.hits(name) for name in names]
        assert [h.found.get("person", 0) for h in hits if h] == [t[person] for t in there]


def test_1_000_persons_are_found_in_one_pass(
    crowd: tuple[DeltaStore, SubjectIndex, list[str]],
) -> None:
    opened, index, persons = crowd
    plain, found = both_ways(opened, index, {"person": [*persons[:900], *map(str, range(100))]})
    assert sum(found.rows_by_version.values()) > 1_800
    assert plain.bytes_searched > found.bytes_searched == 0
    assert "by which rows were counted in 2 files (columns" in found.method


def test_only_files_that_may_name_the_person_are_read(tmp_path: Path) -> None:
    opened = plain_table(tmp_path / "t")
    build(opened, index_at(tmp_path))
    plain, found = both_ways(opened, index_at(tmp_path), PERSON)
    assert found.bytes_searched < plain.bytes_searched
    assert found.files_searched == plain.files_searched, "the others were looked up"
    read = len([o for o in found.objects if o.kind != "log"])
    assert f"then rows counted in the {read} files it named (columns" in found.method
    _, nobody = both_ways(opened, index_at(tmp_path), {"customer_id": ["c-999999"]})
    assert nobody.bytes_searched == 0


# Behind, broken, killed: an index that is not what it should be costs time alone


def test_files_that_the_index_does_not_know_are_searched_themselves(tmp_path: Path) -> None:
    opened, index = plain_table(tmp_path / "t"), index_at(tmp_path)
    known = build(opened, index)
    append(tmp_path / "t", customers(300, 320, person=True))
    _, found = both_ways(opened, index, PERSON)
    assert found.rows_by_version["5"] > found.rows_by_version["4"]
    assert "; 1 files without an entry in it read once" in found.method
    assert build(opened, index) == 1, "only the new file is hashed"
    assert len(list(index.folder.glob("*.segment"))) == known + 1
    assert build(opened, index) == 0
    _, found = both_ways(opened, index, PERSON)
    assert "without an entry" not in found.method


def test_a_file_that_changed_in_place_is_searched_itself(tmp_path: Path) -> None:
    append(tmp_path / "t", pl.DataFrame({"person": ["aaaa", "bbbb"]}))
    opened, index = store(tmp_path / "t", ["person"]), index_at(tmp_path)
    build(opened, index)
    (file,) = (tmp_path / "t").glob("*.parquet")
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"bbbb", b"cccc"))
    assert file.stat().st_size == before.st_size
    os.utime(file, (before.st_atime, before.st_mtime + 1))
    _, found = both_ways(opened, index, {"person": ["cccc"]})
    assert found.rows_by_version == {"0": 1}


def test_columns_that_it_does_not_cover_are_not_looked_up(tmp_path: Path) -> None:
    table_with_person(tmp_path / "t")
    index = index_at(tmp_path)
    build(store(tmp_path / "t", ["customer_id"]), index)
    for columns in (["customer_id"], ["customer_id", "email"]):
        opened = store(tmp_path / "t", columns)
        plain, found = both_ways(opened, index, {"email": PERSON["email"]})
        assert sum(found.rows_by_version.values())
        assert found.method == plain.method


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "text"])
def test_a_damaged_segment_is_built_anew(tmp_path: Path, damage: str) -> None:
    opened, index = plain_table(tmp_path / "t"), index_at(tmp_path)
    build(opened, index)
    damaged = sorted(index.folder.glob("*.segment"))[0]
    body = damaged.read_bytes()
    flipped = body[:-1] + bytes([body[-1] ^ 1])
    broken = {"cut": body[:-1], "emptied": b"", "flipped": flipped, "text": b"none of ours" * 9}
    damaged.write_bytes(broken[damage])
    if damage != "flipped":  # a lookup does not read it all; the next build does
        both_ways(opened, index, PERSON)
    assert build(opened, index) == 1
    assert damaged.read_bytes() == body


def test_a_build_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    opened, index = plain_table(tmp_path / "t"), index_at(tmp_path)

    def kill(_phase: str, done: int, _total: int, _bytes: int) -> None:
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError), index.building():
        build_index(opened, index, kill)
    (index.folder / ".half.segment.tmp").write_bytes(b"what a killed process left")
    _, found = both_ways(opened, index, PERSON)
    assert found.method.startswith("by index of 2 files being built")
    assert build(opened, index) == len(list(index.folder.glob("*.segment"))) - 2
    assert not list(index.folder.glob(".*"))
    both_ways(opened, index, PERSON)


def test_a_file_that_goes_while_it_is_read_leaves_nothing(tmp_path: Path) -> None:
    opened, index = plain_table(tmp_path / "t"), index_at(tmp_path)
    customers(20, 25, person=True).write_parquet(tmp_path / "t" / "part-left.parquet")

    def meanwhile(_phase: str, done: int, total: int, _bytes: int) -> None:
        if done == total:
            (tmp_path / "t" / "part-left.parquet").unlink(missing_ok=True)

    with index.building():
        hashed = build_index(opened, index, meanwhile)
    assert len(list(index.folder.glob("*.segment"))) == hashed - 1


def test_two_builds_at_once_are_one(tmp_path: Path) -> None:
    index = index_at(tmp_path)
    with index.building() as ours, SubjectIndex(index.folder, KEY).building() as theirs:
        assert ours
        assert not theirs


def test_a_file_that_cannot_be_read_is_told_as_without_an_index(tmp_path: Path) -> None:
    opened, index = plain_table(tmp_path / "t"), index_at(tmp_path)
    live = DeltaTable(str(tmp_path / "t")).file_uris()[0]
    Path(live).write_bytes(b"PAR1 and no more")
    build(opened, index)
    opened.index = index
    with pytest.raises(StoreError, match="cannot be read: it is damaged"):
        opened.find_subject(PERSON)


spread_evenly = st.integers(0, 2**64 - 1)
side_by_side = (
    st.integers(0, 300) | st.integers(2**63, 2**63 + 300) | st.integers(2**64 - 9, 2**64 - 1)
)


@given(
    st.dictionaries(spread_evenly | side_by_side, st.integers(1, 70_000), max_size=400), st.data()
)
@settings(max_examples=60)
def test_a_segment_knows_the_rows_of_its_hashes_and_of_no_others(
    held: dict[int, int], data: st.DataObject
) -> None:
    """However they are spread: a lookup begins where an evenly spread one would stand."""
    entries = pl.DataFrame(
        sorted(held.items()), schema={"hash": pl.UInt64, "rows": pl.UInt32}, orient="row"
    )
    others = data.draw(st.lists(spread_evenly | side_by_side, max_size=20))
    with TemporaryDirectory() as folder, mock.patch.object(segment, "_SPREAD", 2):
        path = Path(folder) / "a"
        path.write_bytes(segment.written({"customer_id": "String"}, entries))
        with segment.opened(str(path)) as found:
            assert found is not None
            assert found.whole
            assert [found.rows_with([h]) for h in held] == list(held.values())
            assert [found.rows_with([h]) for h in others] == [held.get(h, 0) for h in others]
            assert found.rows_with(held) == sum(held.values())


# The index holds personal data


def test_after_an_erasure_nothing_of_the_person_is_left_in_it(tmp_path: Path) -> None:
    opened, index = plain_table(tmp_path / "t"), index_at(tmp_path)
    somebody = {"customer_id": ["c-000120"]}
    assert_forgets(opened, index, PERSON, somebody, lambda: erase(opened))
    assert opened.verify_erased([v for vs in PERSON.values() for v in vs], None).clean


def test_it_says_nothing_without_its_key(tmp_path: Path) -> None:
    opened, index = partitioned_table(tmp_path / "t"), index_at(tmp_path)
    build(opened, index)
    for body in bytes_in(index.folder):
        assert b"archer" not in body.lower()
        assert b"c-000042" not in body
    assert not [p for p in index.folder.iterdir() if "archer" in p.name.lower()]
    assert index.folder.stat().st_mode & 0o077 == 0
    other = SubjectIndex(index.folder, KEY[::-1])
    assert not set(hashes_of(index, PERSON)) & set(hashes_of(other, PERSON))
    _, found = both_ways(opened, other, PERSON)
    assert not found.method.startswith("by index"), "with another key it knows no file"
    build(opened, other)
    with other.segment(next(iter(index.folder.glob("*.segment"))).stem) as its_own:
        assert its_own
