"""The public page /verify/ in a real browser: it agrees with the offline verifier, and sends
nothing. The page and its scripts are handed to the browser by the test; there is no server."""

import copy
import json
import random
import shutil
from base64 import b64decode, b64encode
from hashlib import sha256
from io import BytesIO
from typing import Any

import pikepdf
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction

from accounts.models import User
from audit.actions import record, sequence
from audit.events import define
from audit.ledger import bundle, canonical
from audit.ledger.checkpoint import Checkpoint, parse, sign, vkey
from audit.ledger.cosignature import cosign, with_cosignatures
from audit.ledger.verify import verify_file
from audit.queries import entries, evidence, verifier_key
from tests.audit.builders import log_with
from tests.audit.verify_page import VerifyPage

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed"),
]
STATED = define("test.stated", "statement_sha256")


@pytest.fixture
def made(analyst: User) -> dict[str, Any]:
    """A bundle with a statement, in a log of 300 entries."""
    log_with(300)
    statement = {
        "purpose": "certificate",
        "text": "Grüße, \u2028 \U0001f600",
        "numbers": [1, -7, 0.5],
        "entries": [7, 8],
    }
    with transaction.atomic():
        record(
            STATED,
            by=analyst,
            resource="report:1",
            details={"statement_sha256": bundle.statement_digest(statement)},
        )
    sequence()
    stated = entries().get(type=STATED.name).seq
    return evidence([0, 7, 8, 9, 255, stated], purpose="certificate", statement=statement)


def stating(made: dict[str, Any]) -> int:
    """The entry that commits to the statement."""
    return int(made["entries"][-1]["seq"])


def test_a_good_bundle_is_valid_and_nothing_is_sent(page: VerifyPage, made: dict[str, Any]) -> None:
    valid, said = page.judge(bundle.dumps(made))
    assert valid, said
    assert "6 entries proven" in said
    assert f"Entry {stating(made)} (test.stated) commits to the statement." in said
    assert all(asked.startswith("GET /static/") for asked in page.asked)


def test_a_checkpoint_with_cosignatures_is_as_good(page: VerifyPage, made: dict[str, Any]) -> None:
    line = cosign(made["checkpoint"], "witness.example/w1", Ed25519PrivateKey.generate(), 1)
    cosigned = made | {"checkpoint": with_cosignatures(made["checkpoint"], [line]), "digest": None}
    cosigned["digest"] = sha256(canonical.encode(cosigned)).hexdigest()
    page.trust(verifier_key())
    valid, said = page.judge(bundle.dumps(cosigned))
    assert valid, said


def test_a_known_key_is_compared(page: VerifyPage, made: dict[str, Any]) -> None:
    page.trust(verifier_key())
    valid, said = page.judge(bundle.dumps(made))
    assert valid
    assert "The key that you gave has signed" in said
    page.trust(verifier_key().replace("+A", "+B"))
    assert not page.judge(bundle.dumps(made))[0]


def pdf_with(content: bytes, *, name: str = "evidence.json", **options: Any) -> bytes:
    pdf = pikepdf.new()
    pdf.add_blank_page()
    pdf.attachments["readme.txt"] = b"1 0 obj << /EF 9 0 R >> stream"
    pdf.attachments[name] = content
    target = BytesIO()
    pdf.save(target, **options)
    return target.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {"object_stream_mode": pikepdf.ObjectStreamMode.disable},
        {"object_stream_mode": pikepdf.ObjectStreamMode.generate},
        {"compress_streams": False},
        {"linearize": True},
    ],
    ids=["plain", "object streams", "uncompressed", "linearized"],
)
def test_the_evidence_in_a_pdf_is_found(
    page: VerifyPage, made: dict[str, Any], options: dict[str, Any]
) -> None:
    valid, said = page.judge(pdf_with(bundle.dumps(made), **options), "certificate.pdf")
    assert valid, said
    assert "compare them with the statement" in said


def test_a_pdf_without_evidence_or_with_damage_is_not_valid(
    page: VerifyPage, made: dict[str, Any]
) -> None:
    whole = bundle.dumps(made)
    assert "carries no attachment" in page.judge(pdf_with(whole, name="other.json"))[1]
    pdf = bytearray(pdf_with(whole))
    at = pdf.rindex(b"stream", 0, len(pdf) // 2) + 60
    pdf[at] ^= 1
    assert page.judge(bytes(pdf))[0] is verify_file(bytes(pdf)).valid
    assert not page.judge(pdf_with(whole.replace(b"certificate", b"certificatf", 1)))[0]


def test_a_document_in_json_is_compared_with_its_statement(
    page: VerifyPage, made: dict[str, Any]
) -> None:
    document = made["statement"] | {
        "statement_entry": stating(made),
        "checkpoint": made["checkpoint"],
        "evidence": made,
    }
    assert page.judge(canonical.encode(document))[0]
    for change in ({"text": "other"}, {"statement_entry": 7}, {"extra": 1}, {"checkpoint": ""}):
        content = canonical.encode(document | change)
        assert not page.judge(content)[0], change
        assert not verify_file(content).valid, change


def resealed(made: dict[str, Any]) -> dict[str, Any]:
    """With a digest that fits, as one who changes a bundle would give it."""
    members = {**made, "digest": None}
    digest = sha256(canonical.encode(members)).hexdigest()
    return {**members, "digest": digest}


def flipped(text: str, chance: random.Random) -> str:
    data = bytearray(b64decode(text))
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return b64encode(bytes(data)).decode()


def change_leaf(made: dict[str, Any], chance: random.Random) -> None:
    entry = chance.choice(made["entries"])
    entry["leaf"] = flipped(entry["leaf"], chance)


def change_proof(made: dict[str, Any], chance: random.Random) -> None:
    proof = chance.choice(made["entries"])["proof"]
    at = chance.randrange(len(proof))
    proof[at : at + 1] = [flipped(proof[at], chance)] if chance.random() < 0.5 else []


def change_place(made: dict[str, Any], chance: random.Random) -> None:
    chance.choice(made["entries"])["seq"] += chance.choice([-1, 1, 1000])


def change_statement(made: dict[str, Any], chance: random.Random) -> None:
    made["statement"]["text"] += "!"


def change_signature(made: dict[str, Any], chance: random.Random) -> None:
    head, _, signature = made["checkpoint"].rstrip("\n").rpartition(" ")
    made["checkpoint"] = f"{head} {flipped(signature, chance)}\n"


def change_size(made: dict[str, Any], chance: random.Random) -> None:
    size = stating(made) + 1
    made["checkpoint"] = made["checkpoint"].replace(f"\n{size}\n", f"\n{size + 1}\n")


def change_origin(made: dict[str, Any], chance: random.Random) -> None:
    made["log"]["origin"] += "x"


def leave_out(made: dict[str, Any], chance: random.Random) -> None:
    made["entries"].remove(chance.choice(made["entries"]))


CHANGES = [
    change_leaf,
    change_proof,
    change_place,
    change_statement,
    change_signature,
    change_size,
    change_origin,
    leave_out,
]


def mutated(made: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    changed = copy.deepcopy(made)
    chance.choice(CHANGES)(changed, chance)
    return resealed(changed) if chance.random() < 0.8 else changed


def test_the_browser_agrees_with_the_offline_verifier_on_changed_bundles(
    page: VerifyPage, made: dict[str, Any]
) -> None:
    chance = random.Random(11)  # noqa: S311  # a test's choice of changes
    for turn in range(60):
        content = json.dumps(mutated(made, chance)).encode()
        expected = verify_file(content)
        found, said = page.judge(content)
        assert found is expected.valid, f"turn {turn}: {said}\n{expected.as_dict()}"


def test_a_forger_with_a_key_of_their_own_is_only_caught_by_the_known_key(
    page: VerifyPage, made: dict[str, Any]
) -> None:
    forger = Ed25519PrivateKey.generate()
    said, _ = parse(made["checkpoint"])
    forged = {
        **made,
        "checkpoint": sign(Checkpoint(said.origin, said.size, said.root), forger),
        "log": {"origin": said.origin, "vkey": vkey(said.origin, forger.public_key())},
    }
    assert page.judge(canonical.encode(resealed(forged)))[0]
    page.trust(verifier_key())
    assert not page.judge(canonical.encode(resealed(forged)))[0]


def test_nonsense_is_not_valid_and_breaks_nothing(page: VerifyPage) -> None:
    for content in (
        b"",
        b"{",
        b"null",
        b"7",
        b"[]",
        b'{"evidence": 3}',
        b'{"format": "vestige-evidence/1"}',
        b"%PDF-1.7",
        b"%PDF-1.4\n" + b"(" * 5000,
        b"\xff\xfe\x00",
        b'{"evidence": null}',
        b"%PDF-1.7\n1 0 obj << /EF << /F 1 0 R >> /F (evidence.json) >> endobj",
    ):
        assert not page.judge(content)[0]
