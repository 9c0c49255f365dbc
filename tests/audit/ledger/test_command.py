"""The command as an auditor runs it: another process, no Django, no database, no network."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pikepdf
import pytest

from audit.ledger import bundle
from tests.audit.ledger.builders import (
    OTHER_KEY,
    answer_of,
    certificate_bundle,
    log_of,
    tlog_proof,
    vkey,
    without,
    write_folder,
)

ROOT = Path(__file__).parents[3]


def ledger(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "audit.ledger", *arguments],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "evidence.json"
    path.write_bytes(bundle.dumps(certificate_bundle()))
    return path


def test_valid_evidence_exits_0_and_says_what_was_checked(file: Path) -> None:
    done = ledger("verify", str(file), "--vkey", vkey())

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"VALID  {file}\n")
    assert "commits to the statement" in done.stdout


def test_one_changed_byte_exits_1_and_says_what_failed(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"R-2026-0001", b"R-2026-0002"))

    done = ledger("verify", str(file))

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("NOT VALID  ")
    assert "FAILED  digest" in done.stdout
    assert "FAILED  statement" in done.stdout
    assert "No entry commits to the statement" in done.stdout


def test_a_key_that_did_not_sign_exits_1(file: Path) -> None:
    done = ledger("verify", str(file), "--vkey", vkey(OTHER_KEY))

    assert done.returncode == 1
    assert "FAILED  key" in done.stdout
    assert ledger("verify", str(file), "--vkey", vkey(OTHER_KEY), "--vkey", vkey()).returncode == 0


def test_the_verdict_can_be_had_as_json(file: Path) -> None:
    verdict = json.loads(ledger("verify", "--json", str(file)).stdout)

    assert verdict["valid"] is True
    assert verdict["file"] == str(file)
    assert [check["name"] for check in verdict["checks"]][-1] == "statement"


def test_a_pdf_is_recognised_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "certificate"
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        data = bundle.dumps(certificate_bundle())
        pdf.attachments["evidence.json"] = pikepdf.AttachedFileSpec(
            pdf, data, filename="evidence.json"
        )
        pdf.save(path)

    done = ledger("verify", str(path))

    assert done.returncode == 0, done.stdout
    assert "The PDF carries one evidence bundle." in done.stdout


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe\x00", b"%PDF-1.7 torn", b"[" * 10**6])
def test_a_file_without_evidence_exits_1(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)

    done = ledger("verify", str(path))

    assert (done.returncode, done.stderr) == (1, "")
    assert "FAILED" in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["verify"], ["other"], ["verify", "/nothing/here"], ["verify", str(ROOT)]]
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    done = ledger(*arguments)

    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_a_terminal_without_unicode_gets_a_readable_verdict(file: Path) -> None:
    changed = json.loads(file.read_bytes())
    changed["löschung"] = 1
    file.write_text(json.dumps(changed, ensure_ascii=False), encoding="utf-8")

    done = ledger("verify", str(file), PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (1, "")
    assert "l\\xf6schung" in done.stdout


def test_verifying_loads_neither_django_nor_a_database_driver(file: Path) -> None:
    code = (
        "import sys; from audit.ledger.__main__ import main\n"
        "status = main(['verify', sys.argv[1]])\n"
        "heavy = {'django', 'psycopg', 'sqlite3', 'rest_framework', 'pikepdf'} & set(sys.modules)\n"
        "sys.exit(status or (str(heavy) if heavy else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_saved_receipt_is_judged_and_a_broken_promise_is_named(tmp_path: Path) -> None:
    log, later = log_of(12), log_of(30)
    saved = tmp_path / "receipt.json"
    saved.write_text(json.dumps(answer_of(log, 7, 8)))
    kept = write_folder(later, tmp_path / "kept")
    done = ledger("verify", str(saved), "--vkey", vkey(), "--against", str(kept))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"VALID  {saved}\n")
    assert "2 of 2 events stand in the signed log" in done.stdout

    forged = write_folder(without(log, 8), tmp_path / "forged")
    done = ledger("verify", str(saved), "--vkey", vkey(), "--against", str(forged))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(f"PROMISE BROKEN  {saved}\n")
    assert "FAILED  promise" in done.stdout
    verdict = json.loads(ledger("verify", "--json", str(saved), "--against", str(forged)).stdout)
    assert verdict["promise"] == "broken"
    assert ledger("verify", str(saved), "--against", "/nothing/here").returncode == 2


def test_a_tlog_proof_is_judged_with_its_leaf_inside_or_apart(tmp_path: Path) -> None:
    log = log_of(12)
    whole, bare, leaf = (tmp_path / name for name in ("a.tlog-proof", "b.tlog-proof", "leaf"))
    whole.write_bytes(tlog_proof(log, 7))
    bare.write_bytes(re.sub(rb"extra .*\n", b"", tlog_proof(log, 7)))
    leaf.write_bytes(log.leaves[7])
    assert ledger("verify", str(whole), "--vkey", vkey()).returncode == 0
    assert ledger("verify", str(whole)).returncode == 1
    assert ledger("verify", str(bare), "--vkey", vkey()).returncode == 1
    assert ledger("verify", str(bare), "--vkey", vkey(), "--leaf", str(leaf)).returncode == 0
    leaf.write_bytes(log.leaves[8])
    assert ledger("verify", str(bare), "--vkey", vkey(), "--leaf", str(leaf)).returncode == 1
