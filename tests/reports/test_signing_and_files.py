"""The document key, and the files on disk."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reports import files, signing


def test_the_key_is_made_once_and_for_us_alone(settings: Any, tmp_path: Path) -> None:
    settings.VESTIGE_KEYS = tmp_path
    first = signing.certificate_sha256()
    assert signing.certificate_sha256() == first
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("no key")
    with pytest.raises(signing.SigningKeyError, match="Restore it"):
        signing.certificate()


def test_workers_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    code = (
        "import django; django.setup()\n"
        "from reports import signing; print(signing.certificate_sha256())"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={"VESTIGE_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"},
            cwd=Path(__file__).resolve().parent.parent.parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert len({worker.communicate(timeout=60)[0] for worker in workers}) == 1
    assert all(worker.returncode == 0 for worker in workers)


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_half_written(settings: Any) -> None:
    files.write("tests/one.json", b"first")
    files.write("tests/one.json", b"second")
    assert files.read("tests/one.json") == b"second"
    folder = Path(settings.VESTIGE_DOCUMENTS) / "tests"
    assert [path.name for path in folder.iterdir()] == ["one.json"]


def test_names_do_not_lead_out_of_the_documents_folder() -> None:
    for name in ("../keys/log.key", "/etc/passwd", "a/../../keys/data.key"):
        with pytest.raises(ValueError, match="leads out"):
            files.read(name)


def test_a_missing_file_says_what_to_do() -> None:
    with pytest.raises(files.DocumentFileMissingError, match="Restore it from the backup"):
        files.read("certificates/none.pdf")
