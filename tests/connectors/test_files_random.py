"""Random CSV and JSON Lines files: what is left is what the other rows were, byte for byte."""

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any, Literal

import pytest

from connectors.adapters.files import FilesStore

NEEDLES = {"id": ["c-000042", "00004"], "mail": ["ann@x.example"]}
TEXTS = [
    "c-000042", "C-000042", "c-0000421", "", "x", "ann@x.example", "ANN@x.example ", "zoë",
    "joann@x.example", "a,b", 'q"uo"te', "two\nlines", "two\r\nlines", "\u2028", "  c-000042 ",
    "日本", "'", ";", "\t", "00004", "4.0",
]  # fmt: skip
COLUMNS = ["id", "mail", "text"]


def is_person(column: str, value: Any, *, blanks: bool) -> bool:
    """The rule, said again in other words than the adapter's."""
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int | float):
        return column == "id" and value == 4
    if isinstance(value, list):
        return any(is_person(column, item, blanks=blanks) for item in value)
    if not isinstance(value, str):
        return False
    if column == "mail":
        return value.strip().lower() == "ann@x.example"
    return column == "id" and (value.strip() if blanks else value) in NEEDLES["id"]


def csv_file(rnd: random.Random) -> tuple[bytes, bytes]:
    """A file, and what must be left of it."""
    delimiter, end = rnd.choice(",;\t|"), rnd.choice(["\n", "\r\n"])
    quoted: list[Literal[0, 1, 2]] = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]
    quoting = rnd.choice(quoted)
    header = rnd.sample(COLUMNS, 3)

    def line(values: list[str]) -> str:
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerow(values)
        return out.getvalue()

    lines = [(line(header), False)]
    for _ in range(rnd.randint(0, 30)):
        row = [rnd.choice(TEXTS) for _ in header]
        theirs = any(is_person(c, v, blanks=True) for c, v in zip(header, row, strict=True))
        lines.append((line(row), theirs))
    if rnd.random() < 0.3:  # the last line without its end
        text, theirs = lines[-1]
        lines[-1] = (text.removesuffix(end), theirs)
    encoding = rnd.choice(["utf-8", "utf-8-sig", "utf-16"])
    whole, rest = "".join(t for t, _ in lines), "".join(t for t, theirs in lines if not theirs)
    return whole.encode(encoding), rest.encode(encoding)


def json_file(rnd: random.Random) -> tuple[bytes, bytes]:
    whole = rest = json.dumps({"id": "first", "mail": None}) + "\n"
    for _ in range(rnd.randint(0, 20)):
        values = [*TEXTS, None, 4, 4.0, 5, [rnd.choice(TEXTS), 3], {"id": rnd.choice(TEXTS)}, True]
        row = {c: rnd.choice(values) for c in COLUMNS if rnd.random() < 0.8}
        line = json.dumps(row, ensure_ascii=rnd.random() < 0.5) + rnd.choice(["\n", "\r\n", " \n"])
        line += "\n" if rnd.random() < 0.1 else ""
        whole += line
        if not any(is_person(c, v, blanks=False) for c, v in row.items()):
            rest += line
        elif line.endswith("\n\n"):
            rest += "\n"  # an empty line is no row
    return whole.encode(), rest.encode()


@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_is_what_the_other_rows_were(tmp_path: Path, seed: int) -> None:
    rnd = random.Random(seed)  # noqa: S311 (a test that can be repeated)
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = {"a.csv": csv_file(rnd), "b.csv.gz": csv_file(rnd), "c.jsonl": json_file(rnd)}
        for name, (body, _) in made.items():
            packed = gzip.compress(body) if name.endswith(".gz") else body
            (folder / name).write_bytes(packed)
        opened = FilesStore(str(folder), ["id", "mail"])
        plan = opened.plan_erase(opened.find_subject(NEEDLES), mode="purge")
        assert plan.blockers == ()
        opened.erase(plan, NEEDLES)
        opened.purge_history(plan)
        for name, (_, rest) in made.items():
            body = (folder / name).read_bytes()
            left = gzip.decompress(body) if name.endswith(".gz") else body
            assert left == rest, (seed, number, name)
        assert sorted(p.name for p in folder.iterdir()) == sorted(made)
