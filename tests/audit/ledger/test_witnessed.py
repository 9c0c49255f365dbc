"""An auditor's check of a cosigned checkpoint, from the command line."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger.__main__ import main
from audit.ledger.cosignature import cosign, with_cosignatures, witness_vkey
from tests.audit.ledger.builders import KEY, OTHER_KEY, log_of, vkey

KEYS = {f"w{n}": Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3)}
WITNESSES = "".join(
    f"witness {name} {witness_vkey(f'witness.example/{name}', key.public_key())}\n"
    for name, key in KEYS.items()
)
QUORUM = "group G 2 w1 w2 w3\nquorum G\n"


def cosigned(*names: str, time: int = 1_790_000_000, key: Ed25519PrivateKey = KEY) -> str:
    note = log_of(9).note(key)
    lines = [cosign(note, f"witness.example/{name}", KEYS[name], time) for name in names]
    return with_cosignatures(note, lines)


def judged(folder: Path, note: str, policy: str, *arguments: str) -> int:
    (folder / "note").write_text(note)
    (folder / "policy").write_text(policy)
    return main(
        ["checkpoint", str(folder / "note"), "--policy", str(folder / "policy"), *arguments]
    )


def test_two_of_three_are_enough_and_all_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(tmp_path, cosigned("w1", "w3"), f"log {vkey()}\n{WITNESSES}{QUORUM}") == 0
    said = capsys.readouterr().out
    assert said.startswith("VALID")
    assert "vestige.example/log has signed 9 entries" in said
    assert "w1 has cosigned at 2026-09-21T14:13:20Z" in said
    assert "w2 has not cosigned" in said
    assert "ok      quorum   2 of w1, w2, w3 must have cosigned." in said


@pytest.mark.parametrize(
    ("note", "fault"),
    [
        (cosigned("w1"), "FAILED  quorum"),
        (cosigned(), "FAILED  quorum"),
        (cosigned("w1", "w2").replace("\n9\n", "\n8\n"), "does not hold"),
        (cosigned("w1", "w2", key=OTHER_KEY), "none of the known keys"),
        ("rubbish", "no signature lines"),
    ],
)
def test_what_is_not_enough_or_does_not_hold_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], note: str, fault: str
) -> None:
    assert judged(tmp_path, note, WITNESSES + QUORUM, "--vkey", vkey()) == 1
    said = capsys.readouterr().out
    assert said.startswith("NOT VALID")
    assert fault in said


def test_the_log_must_be_known_from_the_policy_or_by_its_key(tmp_path: Path) -> None:
    assert judged(tmp_path, cosigned("w1", "w2"), WITNESSES + QUORUM) == 1


def test_a_time_far_away_is_no_crash(tmp_path: Path) -> None:
    note = cosigned("w1", "w2", time=2**62)
    assert judged(tmp_path, note, WITNESSES + QUORUM, "--vkey", vkey()) == 0


def test_files_that_cannot_be_read_end_it_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(tmp_path, cosigned(), "quorum x\n") == 2
    assert main(["checkpoint", "/nowhere", "--policy", "/nowhere"]) == 2
    assert "line 1: no witness or group x" in capsys.readouterr().err
