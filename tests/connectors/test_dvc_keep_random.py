"""Histories drawn at random: after an erasure that keeps them they have the same shape, and every
commit has its rows but the person's."""

import hashlib
import json
import random
import subprocess
from pathlib import Path

import pytest

from tests.connectors.dvc_builders import HEADER, PERSON, Workshop, begun, store, traces
from tests.connectors.dvc_history import commit_map, git_objects, keep, parents

HERS = b"c-000042,,hers\n"
Data = dict[str, bytes]  # path → bytes


def cached(shop: Workshop, body: bytes, suffix: str = "") -> str:
    name = hashlib.md5(body, usedforsecurity=False).hexdigest() + suffix
    target = shop.root / ".dvc/cache/files/md5" / name[:2] / name[2:]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(body)
    return name


def pointers(shop: Workshop, data: Data) -> Data:
    """What stands in git for these files: one output each, those below parts/ a folder."""
    found = {}
    parts = {p.removeprefix("parts/"): cached(shop, b) for p, b in data.items() if "/" in p}
    if parts:
        listed = [{"md5": md5, "relpath": path} for path, md5 in sorted(parts.items())]
        md5 = cached(shop, json.dumps(listed).encode(), ".dir")
        size = sum(len(b) for p, b in data.items() if "/" in p)
        text = f"outs:\n- md5: {md5}\n  size: {size}\n  nfiles: {len(parts)}\n  hash: md5\n"
        found["parts.dvc"] = f"{text}  path: parts\n".encode()
    for path, body in data.items():
        if "/" not in path:
            text = f"outs:\n- md5: {cached(shop, body)}\n  size: {len(body)}\n  hash: md5\n"
            found[f"deep/er/{path}.dvc"] = f"{text}  path: {path}\n".encode()
    return found


def drawn(dice: random.Random) -> Data:
    def table(seed: int) -> bytes:
        rows = [b"c-%06d,,n\n" % dice.randrange(100, 105) for _ in range(seed)]
        if dice.random() < 0.4:
            rows.insert(dice.randrange(len(rows) + 1), HERS)
        return HEADER + b"".join(rows)

    names = ["a.csv", "b.csv", "parts/c.csv", "parts/d.csv"]
    return {name: table(dice.randrange(3)) for name in dice.sample(names, dice.randrange(1, 4))}


def history(shop: Workshop, dice: random.Random) -> dict[str, Data]:
    """Commits, each on top of one or two others, with branches and tags on some: commit → data."""
    stream, data = [], {}
    for number in range(1, 16):
        data[number] = drawn(dice)
        before = dice.sample(range(1, number), min(number - 1, dice.choice([1, 1, 1, 2])))
        stream += [
            b"commit refs/heads/b%d\nmark :%d\n" % (number, number),
            b"committer D <d@x> %d +0000\ndata 3\nm%02d\n" % (1_700_000_000 + number, number),
            *(b"%s :%d\n" % (w, b) for w, b in zip((b"from", b"merge"), before, strict=False)),
            b"deleteall\nM 100644 inline .dvc/config\ndata 0\n\n",
        ]
        for path, body in pointers(shop, data[number]).items():
            stream.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(body), body))
    marks = shop.folder / "marks"
    command = ["git", "fast-import", "--quiet", f"--export-marks={marks}"]
    subprocess.run(command, cwd=shop.root, input=b"".join(stream), check=True)
    ids = {int(m[1:]): c for m, c in (line.split() for line in marks.read_text().splitlines())}
    for number, commit in ids.items():
        if number < 15 and dice.random() < 0.7:  # many are reached through others only, or not
            shop.git("branch", "-q", "-D", f"b{number}")
            if dice.random() < 0.3:
                shop.git("tag", "-a", f"t{number}", "-m", "t", commit)
    return {commit: data[number] for number, commit in ids.items()}


def read(shop: Workshop, commit: str) -> Data:
    """By the pointers of a commit, followed by hand."""
    found: Data = {}
    for name in shop.git("ls-tree", "-r", "--name-only", commit).splitlines():
        if name.endswith(".dvc"):
            text = shop.git("show", f"{commit}:{name}")
            md5 = text.split("md5: ")[1].split()[0].strip("'")
            path = text.split("path: ")[1].split()[0]
            body = (shop.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).read_bytes()
            members = {path: body}
            if md5.endswith(".dir"):
                where = {f"{path}/{m['relpath']}": m["md5"] for m in json.loads(body)}
                cache = shop.root / ".dvc/cache/files/md5"
                members = {p: (cache / m[:2] / m[2:]).read_bytes() for p, m in where.items()}
            assert f"size: {sum(map(len, members.values()))}\n" in text
            found |= members
    return found


@pytest.mark.parametrize("seed", range(4))
def test_any_history_keeps_its_shape_and_everybody_elses_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 (no secret)
    shop = begun(tmp_path / "shop")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(shop.site))
    shop.commit("begin")
    shop.git("tag", "v0")
    data = history(shop, dice)
    shop.git("checkout", "-q", "-f", "b15")
    shape = {commit: parents(shop, commit) for commit in data}
    led_to = set(shop.git("rev-list", "--all").split()) & set(data)
    held = {c for c in led_to if any(HERS in body for body in data[c].values())}
    assert held

    keep(store(shop))
    now = commit_map(shop)
    for commit in data:
        new = now.get(commit, commit)
        assert parents(shop, new) == [now.get(parent, parent) for parent in shape[commit]]
    for commit in led_to:
        files = {path: body.replace(HERS, b"") for path, body in data[commit].items()}
        assert read(shop, now.get(commit, commit)) == files
        touched = commit in held or any(parent in now for parent in shape[commit])
        assert (commit in now) == touched
    assert not git_objects(shop) & set(now)
    assert shop.git("fsck", "--strict", "--no-dangling") == ""
    assert traces(store(shop), PERSON) == []
