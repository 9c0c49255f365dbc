"""Pointers, settings and names as DVC writes them, in every form that it has had."""

import json
import shutil
from pathlib import Path

import pytest

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.names import ObjectName, listing, listing_name, members_of, name_of
from connectors.adapters.dvc.pointers import Content, PointerError, changed, is_pointer, outputs_of
from connectors.adapters.dvc.settings import read_settings
from tests.connectors.dvc_builders import PERSON, Workshop, begun, erase, planned, store

OLD = "a" * 32
NEW = Content(ObjectName("b" * 32), 7)
LOCK = f"""\
schema: '2.0'
stages:
  fit@1:
    cmd: fit é
    deps:
    - path: in.csv
      hash: md5
      md5: {OLD}
      size: 9
    outs:
    - path: out.csv   # kept
      hash: md5
      md5: {OLD}
      size: 9
    - {{path: ../other, md5: {OLD}.dir, hash: md5, nfiles: 2, size: 9}}
"""
STAGES = b"stages:\n  fit@1:\n    cmd: fit\n    wdir: work\n"


def test_only_what_changed_is_edited_in_a_pointer() -> None:
    outputs = outputs_of("sub/dvc.lock", LOCK.encode(), STAGES)
    assert [(o.path, o.name.md5, o.size) for o in outputs] == [
        ("sub/work/out.csv", OLD, 9),
        ("sub/other", f"{OLD}.dir", 9),
    ]
    folder = Content(ObjectName(f"{'c' * 32}.dir"), 5, files=1)
    new = {"sub/work/out.csv": NEW, "sub/other": folder}
    text = changed("sub/dvc.lock", LOCK.encode(), new, STAGES).decode()
    head, deps, outs = LOCK.partition("    outs:")
    outs = outs.replace(f"md5: {OLD}.dir", f"md5: {'c' * 32}.dir").replace("nfiles: 2", "nfiles: 1")
    outs = outs.replace("size: 9}", "size: 5}").replace(OLD, "b" * 32).replace("size: 9", "size: 7")
    assert text == head + deps + outs


def test_every_form_of_pointer_is_read() -> None:
    plain = outputs_of("data/a.csv.dvc", f"outs:\n- md5: {OLD}\n  path: a.csv\n".encode())
    assert [(o.path, o.name) for o in plain] == [("data/a.csv", ObjectName(OLD, legacy=True))]
    inside = f"wdir: ..\nouts:\n- md5: {OLD}\n  hash: md5\n  path: a.csv\n".encode()
    assert outputs_of("data/a.csv.dvc", inside)[0].path == "a.csv"
    first_lock = f"fit:\n  cmd: fit\n  outs:\n  - path: o\n    md5: {OLD}\n".encode()
    assert outputs_of("dvc.lock", first_lock)[0].path == "o"
    imported = f"deps:\n- path: x\nouts:\n- md5: {OLD}\n  hash: md5\n  path: a\n".encode()
    assert outputs_of("a.dvc", imported)[0].imported
    assert outputs_of("a.dvc", b"outs:\n- path: not-yet\n") == []
    assert outputs_of("a.dvc", b"") == []
    numbers = f"outs:\n- md5: '{'1' * 32}'\n  hash: md5\n  path: a\n".encode()
    (found,) = outputs_of("a.dvc", numbers)
    like = Content(ObjectName("2" * 30 + "e1"), 1)
    assert b"md5: '2222" in changed("a.dvc", numbers, {"a": like})
    assert found.name.md5 == "1" * 32
    assert [
        p for p in ("a.dvc", ".dvc", "dvc.lock", ".dvc/config", "dvc.yaml") if is_pointer(p)
    ] == [
        "a.dvc",
        "dvc.lock",
    ]


@pytest.mark.parametrize("body", [b"outs: [", b"<<<<<<< HEAD\nouts:\n=======\n", b"\xff\xfe"])
def test_what_is_no_pointer_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(PointerError, match=r"it is no"):
        outputs_of("a.dvc", body)


def test_names_are_what_dvc_makes_of_the_content(dvc_shop: Workshop, tmp_path: Path) -> None:
    cache = dvc_shop.root / ".dvc" / "cache"
    found = {p.relative_to(cache).as_posix(): p for p in (cache / "files").rglob("*")}
    names = {path: ObjectName.at(path) for path, file in found.items() if file.is_file()}
    assert None not in names.values()
    for path, name in names.items():
        assert name
        assert name.path == path
        assert name_of(found[path], legacy=False).md5 == name.md5.removesuffix(".dir")
        if name.is_folder:
            body = found[path].read_bytes()
            assert listing(members_of(name, body)) == body
            assert listing_name(body, legacy=False) == name
    text, binary = tmp_path / "text", tmp_path / "binary"
    text.write_bytes(b"a\r\nb\r\n")
    (tmp_path / "unix").write_bytes(b"a\nb\n")
    assert name_of(text, legacy=True).md5 == name_of(tmp_path / "unix", legacy=False).md5
    binary.write_bytes(b"\0a\r\nb\r\n")
    assert name_of(binary, legacy=True).md5 == name_of(binary, legacy=False).md5
    with pytest.raises(StoreError, match="is no listing of a folder"):
        members_of(ObjectName(f"{OLD}.dir"), b"{}x")


def test_settings_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "near").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        "[core]\n    remote = near\n[cache]\n    dir = ../shared\n"
        "['remote \"near\"']\n    url = ../near\n"
        "['remote \"below\"']\n    url = remote://near/sub\n"
        "['remote \"cloud\"']\n    url = https://user:secret@host/x?token=1\n"
    )
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    site_cache_dir = /var/x\n")
    old = b"['remote \"old\"']\n    url = gs://bucket\n"
    found = read_settings(tmp_path, [old, b"[broken"])
    assert found.cache == tmp_path / "shared"
    assert found.site_cache == Path("/var/x")
    assert {r.name: (r.url, r.fault) for r in found.remotes} == {
        "near": (str(tmp_path / "near"), ""),
        "below": (str(tmp_path / ".dvc" / ".." / "near" / "sub").replace("/.dvc/..", ""),
                  "there is no such folder"),
        "cloud": ("https://host/x", 'its address begins with "https://"'),
        "old": ("gs://bucket", 'its address begins with "gs://"'),
    }  # fmt: skip
    (tmp_path / ".dvc" / "config").write_text("core]\n")
    with pytest.raises(StoreError, match=r"\.dvc/config in .* cannot be read"):
        read_settings(tmp_path)


def test_a_repository_starts_no_program(dvc_shop: Workshop) -> None:
    """Hooks, a file system monitor, filters and a pager that its own configuration names."""
    mark = dvc_shop.folder / "started"
    program = dvc_shop.folder / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    hooks = dvc_shop.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("reference-transaction", "post-commit", "pre-commit", "post-index-change"):
        shutil.copy(program, hooks / hook)
    for name in (
        "core.fsmonitor",
        "core.pager",
        "filter.x.clean",
        "filter.x.smudge",
        "gpg.program",
    ):
        dvc_shop.git("config", name, str(program))
    dvc_shop.git("config", "commit.gpgsign", "true")
    (dvc_shop.root / ".git" / "info").mkdir(exist_ok=True)
    (dvc_shop.root / ".git" / "info" / "attributes").write_text("*.dvc filter=x\n")
    mark.unlink(missing_ok=True)
    plan = planned(store(dvc_shop))
    store(dvc_shop).erase(plan, PERSON)
    store(dvc_shop).purge_history(plan)
    assert not mark.exists()
    dvc_shop.git("update-ref", "refs/heads/other", "main")
    assert mark.exists()  # where nobody switches it off, it is started


def test_a_pipeline_in_a_folder_of_its_own_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = begun(tmp_path / "shop")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(shop.site))
    row = json.dumps({"customer_id": "c-000042"}) + "\n"
    other = json.dumps({"customer_id": "c-000001"}) + "\n"
    shop.write("flows/work/in.jsonl", (row + other).encode())
    shop.write(
        "flows/dvc.yaml",
        b"stages:\n  copy:\n    wdir: work\n    cmd: cp in.jsonl out.jsonl\n    deps: [in.jsonl]\n"
        b"    outs: [out.jsonl]\n",
    )
    shop.dvc("repro", "-q", "flows/dvc.yaml")
    shop.write("flows/work/in.jsonl", other.encode())  # git's: the person is in the output alone
    shop.write(".gitignore", b"in.jsonl\n")
    shop.commit("a flow")
    plan = erase(store(shop, ["customer_id"]), {"customer_id": ["c-000042"]})
    assert "(flows/work/out.jsonl)" in " ".join(plan.objects)
    assert (shop.root / "flows/work/out.jsonl").read_text() == other
    assert shop.git("status", "--porcelain") == ""
