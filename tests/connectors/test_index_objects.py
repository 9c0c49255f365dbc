"""The subject index of stores whose objects are files of any format: lakeFS and DVC."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.adapters.base import StoreError
from connectors.formats.delimited import Dialect
from connectors.formats.indexing import ObjectSource, StoredObject
from connectors.formats.objects import ObjectSearch
from connectors.formats.person import Columns, FileMatch, Person, Verdict
from connectors.formats.reading import Reader
from connectors.formats.staging import Staging
from connectors.index import SubjectIndex
from connectors.index.terms import MIXED, mixed_terms, sought_in
from tests.connectors import dvc_builders
from tests.connectors.dvc_builders import COLUMNS, OTHERS, PERSON, UNRELATED, WITH, Workshop
from tests.connectors.indexing import KEY, assert_forgets, both_ways, build, index_at
from tests.connectors.lakefs_builders import SECRET_VARIABLE, erase, opened_shop, store, traces
from tests.connectors.lakefs_server import SECRET, Server
from tests.connectors.test_index import identifiers, spellings

# One object: what the index rules out, the search finds nobody in


@contextmanager
def staged(folder: Path) -> Iterator[Staging]:
    """Objects are the files of the folder, under their names."""

    @contextmanager
    def fetch(stored: str) -> Iterator[Path]:
        yield folder / stored

    (folder / "links").mkdir(exist_ok=True)
    yield Staging(folder / "links", fetch)


def search_of(
    staging: Staging, columns: Columns, asked: dict[str, Sequence[str]], *unrelated: str
) -> ObjectSearch:
    return ObjectSearch(staging, Dialect(), columns, Person(columns, asked), unrelated)


def looked_up(
    folder: Path,
    found: StoredObject,
    asked: dict[str, Sequence[str]],
    columns: Columns = Columns(("person", "account.id")),  # noqa: B008 (it is frozen)
    *unrelated: str,
) -> tuple[FileMatch | None, bool]:
    """What the search finds without an index, and whether an index rules the object out."""
    with staged(folder) as staging:
        reader = Reader(staging, Dialect(), columns.subject)
        index = SubjectIndex(folder / "index", KEY)
        index.folder.mkdir(exist_ok=True)
        ObjectSource(found, staging, reader).hash_into(index, found.name_in(index, reader))
        search = search_of(staging, columns, asked, *unrelated)
        search.look_up(index, [found])
        plain = search_of(staging, columns, asked, *unrelated)
        return plain.best_match(found.stored, found.paths), search.is_ruled_out(found.stored)


def written(folder: Path, name: str, body: bytes, *paths: str) -> StoredObject:
    (folder / name).write_bytes(body)
    return StoredObject(name, "digest", len(body), paths or (name,))


numbers = st.integers(-9, 99) | st.integers(2**53 - 2, 2**53 + 2) | st.integers(-(10**40), 10**40)
plain_values = st.one_of(
    st.none(),
    identifiers,
    numbers,
    numbers.map(float),
    st.booleans(),
    st.floats(),
    numbers.map(str),
)
values = plain_values | st.lists(plain_values, max_size=2) | st.dictionaries(
    st.just("id"), plain_values, max_size=1
)  # fmt: skip


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_in(item)
    elif isinstance(value, float) and value.is_integer():
        yield str(int(value))
    elif value is not None:
        yield str(value)


@settings(max_examples=300, deadline=None)
@given(
    value=st.booleans().flatmap(lambda often: identifiers if often else plain_values),
    asked=st.lists(identifiers, max_size=2),
)
def test_a_value_without_a_type_has_a_term_that_is_sought_where_it_names_the_person(
    value: Any, asked: list[str]
) -> None:
    ways: list[Callable[[str], str]]
    ways = [str, str.strip, str.upper, lambda t: f"00{t}", lambda t: t.replace("-", "")]
    for wanted in ([*asked, way(text)] for text in texts_in(value) for way in ways):
        person = Person(Columns(("person",)), {"person": wanted})
        if person.verdict([[value]]) is not Verdict.NOBODY:
            terms = {term.encode() for term in mixed_terms([value])}
            assert terms & sought_in(MIXED, wanted), wanted


def test_an_object_with_a_category_that_no_row_has_is_not_ruled_out(tmp_path: Path) -> None:
    people = pa.table({"person": pa.array(["ann", "bob"]).dictionary_encode()})
    account = pa.StructArray.from_arrays([people["person"].chunk(0)], ["id"])
    nested = pa.table({"account": account})
    for name, table in (("flat.parquet", people), ("nested.parquet", nested)):
        pq.write_table(table.slice(1), tmp_path / name)
        found = written(tmp_path, name, (tmp_path / name).read_bytes())
        column = "person" if name == "flat.parquet" else "account.id"
        match, ruled_out = looked_up(tmp_path, found, {column: ["ann"]})
        assert match is not None
        assert (match.person, match.remnant, ruled_out) == (0, True, False)
        assert looked_up(tmp_path, found, {column: ["cid"]})[1]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), form=st.sampled_from(["csv", "jsonl", "parquet"]))
def test_an_object_that_is_ruled_out_holds_nothing_of_the_person(
    data: st.DataObject, form: str
) -> None:
    rows = data.draw(st.lists(values, min_size=1, max_size=5))
    there = [text for row in rows for text in texts_in(row)][:2]
    asked = data.draw(st.lists(identifiers, max_size=2))
    asked += [data.draw(spellings)(f"{zeros}{text}") for zeros in ("", "00") for text in there]
    texts = [next(texts_in(row), "") for row in rows]
    with TemporaryDirectory() as made:
        folder = Path(made)
        if form == "jsonl":
            lines = [json.dumps({"person": row, "account": {"id": row}}) for row in rows]
            body = "\n".join(lines).encode()
        elif form == "csv":
            quoted = [text.replace('"', '""') for text in texts]
            lines = [f'"{text}","{number}"' for number, text in enumerate(quoted)]
            body = "\n".join(["person,n", *lines]).encode()
        else:
            pl.DataFrame({"person": texts}).write_parquet(folder / "a.parquet")
            body = (folder / "a.parquet").read_bytes()
        found = written(folder, f"a.{form}", body)
        match, ruled_out = looked_up(folder, found, {"person": asked, "account.id": asked})
        assert match is not None
        if ruled_out:
            assert (match.person, match.mentions, match.alike) == (0, 0, 0), asked


ROWS: dict[str, bytes] = {
    "a.csv": b"person,n\n00004,1\nann@x.org,2\n",
    "a.jsonl": b'{"person": ["00004", "ann@x.org"]}\n{"account": {"id": 7}}\n',
    "late.jsonl": b'{"n": 1}\n' * 1001 + b'{"person": "00004"}\n',
}


@pytest.mark.parametrize(
    ("name", "asked", "ruled_out"),
    [
        ("a.csv", "00004", False),
        ("a.csv", "4", False),  # another spelling, which somebody has to look at
        ("a.csv", " ANN@x.org", False),
        ("a.csv", "00005", True),
        ("a.csv", "1", True),
        ("a.jsonl", "ANN@X.org", False),
        ("a.jsonl", "007", False),
        ("a.jsonl", "8", True),
        ("late.jsonl", "8", False),  # whether it has the column is seen by reading it
    ],
)
def test_objects_without_the_person_are_ruled_out(
    tmp_path: Path, name: str, asked: str, *, ruled_out: bool
) -> None:
    found = written(tmp_path, name, ROWS[name])
    both: dict[str, Sequence[str]] = {"person": [asked], "account.id": [asked]}
    assert looked_up(tmp_path, found, both)[1] is ruled_out


def test_what_a_path_says_is_not_ruled_out_by_what_the_rows_say(tmp_path: Path) -> None:
    def ruled_out(
        path: str,
        *unrelated: str,
        columns: Columns = Columns(("person",)),  # noqa: B008 (it is frozen)
    ) -> bool:
        found = written(tmp_path, "stored", ROWS["a.csv"], path)
        asked: dict[str, Sequence[str]] = {"person": ["bob@x.org", "0007"]}
        return looked_up(tmp_path, found, asked, columns, *unrelated)[1]

    assert ruled_out("a.csv")
    assert ruled_out("person=eve@x.org/a.csv")
    assert not ruled_out("person=bob@x.org/a.csv"), "in a file without the column, all is theirs"
    assert not ruled_out("person=7/a.csv", columns=Columns(("person",), numbers=("person",)))
    assert not ruled_out("bob@x.org/a.csv")
    assert not ruled_out("a.csv", "*.csv"), "rows of an unrelated file are searched as bytes"
    assert not ruled_out("a.txt"), "it holds no rows"
    assert not ruled_out("a.csv", columns=Columns(("person",), text=("n",))), "texts may say it"


def test_an_object_of_several_formats_is_never_ruled_out(tmp_path: Path) -> None:
    found = written(tmp_path, "stored", ROWS["a.jsonl"], "k=1/a.csv", "k=2/a.jsonl")
    with staged(tmp_path) as staging:
        reader = Reader(staging, Dialect(), ("person",))
        index = index_at(tmp_path)
        assert not ObjectSource(found, staging, reader).hash_into(index, "name")


# Whole repositories, both ways


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with opened_shop(tmp_path) as running:
        running.shop.protected = []
        yield running


SOMEBODY = {"customer_id": ["c-000001"]}
ASKED = [
    "c-000042", "C-000042", "c-000777", "c-000900", "nobody", "ann.archer@mail.example",
    " Ann.Archer@MAIL.example", "customer103@shop.example", "4", "00004",
]  # fmt: skip


@pytest.mark.enable_socket
def test_a_lakefs_repository_is_searched_alike_with_an_index(
    server: Server, tmp_path: Path
) -> None:
    server.shop.put("main", "data/customer_id=c-000042/x.csv", b"email\nzoe@x.org\n")
    server.shop.put("main", "data/ids.jsonl", b'{"customer_id": 4}\n{"customer_id": "004"}\n')
    server.shop.commit("main", "more")
    server.shop.put("main", "data/open.csv", UNRELATED + b"c-000777,,open\n")
    opened, index = store(server), index_at(tmp_path)
    assert build(opened, index) == 10, "all but the image"
    for asked in ASKED:
        _, found = both_ways(opened, index, {c: [asked] for c in COLUMNS})
        assert found.method.startswith("by index of 10 files built ")
    both_ways(opened, index, {"customer_id": ASKED})
    plain, nobody = both_ways(opened, index, {"email": ["nobody@x.org"]})
    assert nobody.bytes_searched == len(b"\x89PNG\r\n\x1a\n\x00\x01\x02") < plain.bytes_searched
    assert "; 1 files without an entry in it read once" in nobody.method


@pytest.mark.enable_socket
def test_objects_that_the_index_does_not_know_are_read(server: Server, tmp_path: Path) -> None:
    opened, index = store(server), index_at(tmp_path)
    build(opened, index)
    server.shop.put("main", "data/new.csv", WITH + OTHERS[2])
    server.shop.commit("main", "one more file")
    _, found = both_ways(opened, index, PERSON)
    assert any("new.csv" in o.path for o in found.objects)
    assert build(opened, index) == 1, "only the new one is hashed"
    assert build(opened, index) == 0
    for segment in index.folder.glob("*.segment"):
        segment.write_bytes(segment.read_bytes()[:-1])
    plain, found = both_ways(opened, index, PERSON)
    assert found.method == plain.method, "no segment is whole"


@pytest.mark.enable_socket
def test_a_damaged_object_is_told_as_without_an_index(server: Server, tmp_path: Path) -> None:
    opened, index = store(server), index_at(tmp_path)
    (path,) = (
        server.shop.path_of(o) for p, o in server.shop.resolve("main")[1].items() if "orders" in p
    )
    path.write_bytes(UNRELATED)
    build(opened, index)
    opened.index = index
    with pytest.raises(StoreError, match="damaged"):
        opened.find_subject({"customer_id": ["nobody"]})


@pytest.mark.enable_socket
def test_after_an_erasure_in_lakefs_nothing_of_the_person_is_left_in_it(
    server: Server, tmp_path: Path
) -> None:
    server.shop.tags.clear()
    opened, index = store(server), index_at(tmp_path)
    found = assert_forgets(opened, index, PERSON, SOMEBODY, partial(erase, opened))
    assert not found.objects
    assert traces(opened) == []


def test_a_dvc_repository_is_searched_alike_with_an_index(
    dvc_shop: Workshop, tmp_path: Path
) -> None:
    opened, index = dvc_builders.store(dvc_shop), index_at(tmp_path)
    hashed = build(opened, index)
    for asked in ASKED:
        _, found = both_ways(opened, index, {c: [asked] for c in COLUMNS})
        assert found.method.startswith(f"by index of {hashed} files built ")
    plain, nobody = both_ways(opened, index, {"email": ["nobody@x.org"]})
    assert nobody.bytes_searched < plain.bytes_searched
    assert build(opened, index) == 0


def test_after_an_erasure_in_dvc_nothing_of_the_person_is_left_in_it(
    dvc_shop: Workshop, tmp_path: Path
) -> None:
    opened, index = dvc_builders.store(dvc_shop), index_at(tmp_path)
    erasure = partial(dvc_builders.erase, opened)
    found = assert_forgets(opened, index, PERSON, SOMEBODY, erasure)
    assert not [o for o in found.objects if o.rows]
    assert dvc_builders.traces(opened) == []


def test_a_folder_that_is_named_after_somebody_is_found_by_its_name(
    dvc_shop: Workshop, tmp_path: Path
) -> None:
    """The listing of a folder is read, whatever the index says of the files in it."""
    dvc_shop.write("data/parts/eve@shop.example/a.csv", UNRELATED)
    dvc_shop.dvc("add", "-q", "data/parts")
    dvc_shop.commit("a file of one customer")
    opened, index = dvc_builders.store(dvc_shop), index_at(tmp_path)
    build(opened, index)
    _, found = both_ways(opened, index, {"email": ["eve@shop.example"]})
    assert found.objects
