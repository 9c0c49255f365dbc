"""From the installation to the auditor's desk: exported, killed in between, verified elsewhere."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from audit.ledger import tiles
from tests.audit.installations import ROOT, manage

_SIZE = 12_000
# What an auditor has: Python, the package cryptography, and the folder audit/ledger. -I takes
# neither the environment nor the working folder into account.
_AUDITOR = """
import runpy, sys, types
class NotHere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("django", "psycopg", "celery", "boto3", "rest_framework"):
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, NotHere())
audit = types.ModuleType("audit")
audit.__path__ = [sys.argv.pop(1)]
sys.modules["audit"] = audit
sys.argv[0] = "verify"
runpy.run_module("audit.ledger", run_name="__main__")
"""


def auditor(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            _AUDITOR,
            str(ROOT / "audit"),
            "verify",
            *map(str, arguments),
        ],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def started(environment: dict[str, str], *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_an_export_that_was_killed_goes_on_and_verifies_without_the_application(
    installation: dict[str, str],
    tmp_path: Path,
) -> None:
    filler = Path(__file__).with_name("fill_log.py")
    subprocess.run([sys.executable, str(filler), str(_SIZE)], env=installation, check=True)
    folder = tmp_path / "export"
    kills = 0
    for enough in (1, 15, 35):
        running = started(installation, "export_log", str(folder))
        while count(folder) < enough and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        kills += running.wait() == -signal.SIGKILL
        # Nothing that is cut has a name that counts, and there is no checkpoint yet.
        for path in folder.glob("tile/entries/*"):
            if path.is_file():
                assert len(tiles.decode_entries(path.read_bytes())) == 256
    assert kills >= 2
    said = manage(installation, "export_log", str(folder))
    assert f"verify {folder}" in said
    vkey = (folder / "vkey").read_text().strip()

    done = auditor(folder, "--vkey", vkey, "--full")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith("VALID")
    size = int((folder / "checkpoint").read_text().split("\n")[1])
    assert size >= _SIZE
    assert f"{size:,} entries read in" in done.stdout
    kept = tmp_path / "kept"
    kept.write_bytes((folder / "checkpoint").read_bytes())

    bundle = folder / "tile" / "entries" / "031"
    whole = bundle.read_bytes()
    at = whole.index(b"service:etl")
    bundle.write_bytes(whole[:at] + b"Service:etl" + whole[at + 11 :])
    done = auditor(folder)
    assert done.returncode == 1
    assert f"The first bad entry is number {31 * 256}." in done.stdout
    assert "tile/entries/031" in done.stdout

    # The next export mends it, adds what is new, and still holds what the kept checkpoint covers.
    # (Whether an export holds the record of itself depends on how quickly that was placed.)
    subprocess.run([sys.executable, str(filler), "1"], env=installation, check=True)
    manage(installation, "export_log", str(folder))
    done = auditor(folder, "--checkpoint", kept)
    assert done.returncode == 0, done.stdout
    assert int((folder / "checkpoint").read_text().split("\n")[1]) > size

    # A check by command that is killed, or stopped by the machine, goes on as well.
    running = started(installation, "verify_log", "--resume")
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert "The log holds." in manage(installation, "verify_log", "--resume")
