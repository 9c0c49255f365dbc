"""Broken evidence: never an exception, never a hang, and never "valid" for other content."""

import copy
import json
import time
import zlib
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pikepdf
import pytest

from audit.ledger import bundle, canonical, checkpoint
from audit.ledger.attachment import AttachmentError, attached_evidence
from audit.ledger.canonical import CanonicalError
from audit.ledger.verdict import Verdict
from audit.ledger.verify import verify_bundle, verify_file
from tests.audit.fuzzing.oddities import SEED, changed, damaged, dice_for, odd_value, written
from tests.audit.ledger.builders import (
    CERTIFICATE,
    certificate_bundle,
    certificate_log,
    vkey,
    with_digest,
)
from tests.audit.ledger.test_document import document
from tests.audit.ledger.test_verify_pdf import pdf_with

LONGEST_SECONDS = 5.0
BUNDLE, DOCUMENT = certificate_bundle(), document()
LEAVES = certificate_log().leaves


def judged(data: bytes) -> Verdict:
    """The verdict on a file, which must come, and come soon."""
    start = time.perf_counter()
    try:
        verdict = verify_file(data, trusted_vkey=vkey())
    except Exception as exc:
        raise AssertionError(f"seed {SEED}: {data!r}") from exc
    assert time.perf_counter() - start < LONGEST_SECONDS, f"seed {SEED}: {data[:500]!r}"
    assert verdict.checks
    assert json.dumps(verdict.as_dict(), allow_nan=False)
    for check in verdict.checks:
        assert check.sentence.isprintable()
    return verdict


def form(value: Any) -> bytes | None:
    try:
        return canonical.encode(value)
    except CanonicalError:
        return None


def parsed(data: bytes) -> Any:
    return bundle.decode(data)


def require_the_same(data: bytes, original: dict[str, Any], verdict: Verdict) -> None:
    if verdict.valid:
        assert form(parsed(data)) == form(original), f"seed {SEED}: {data!r}"


@pytest.mark.parametrize("indent", [None, 2])
def test_a_damaged_bundle_is_not_valid_with_other_content(indent: int | None) -> None:
    dice = dice_for(f"damaged bundle {indent}")
    intact = json.dumps(BUNDLE, indent=indent).encode()
    assert judged(intact).valid
    for _ in range(1_500):
        data = damaged(dice, intact)
        require_the_same(data, BUNDLE, judged(data))


def test_a_bundle_with_members_changed_is_not_valid_with_other_content() -> None:
    dice = dice_for("changed bundle")
    for _ in range(1_500):
        data = written(dice, changed(dice, BUNDLE))
        require_the_same(data, BUNDLE, judged(data))


def test_a_bundle_with_its_base64_written_otherwise_is_not_valid() -> None:
    """Spare bits, missing padding, spaces, the other alphabet: two spellings of the same bytes."""
    spellings: list[Callable[[str], str]] = [
        lambda text: text.rstrip("="),
        lambda text: text + "=",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:40] + "\n" + text[40:],
        lambda text: text.replace("+", "-").replace("/", "_") + "-",
        spare_bits,
    ]
    for entry in range(3):
        for spell in spellings:
            for leaf in (True, False):
                forged = copy.deepcopy(BUNDLE)
                item = forged["entries"][entry]
                if leaf:
                    item["leaf"] = spell(item["leaf"])
                else:
                    item["proof"][0] = spell(item["proof"][0])
                if forged != BUNDLE:  # a text without padding has none to lose
                    assert not judged(json.dumps(with_digest(forged)).encode()).valid


def spare_bits(text: str) -> str:
    """The last character before the padding, with a bit set that no byte uses."""
    body = text.rstrip("=")
    return body[:-1] + chr(ord(body[-1]) + 1) + text[len(body) :]


def test_a_forger_who_mends_the_digest_proves_nothing_that_was_not_there() -> None:
    """They may leave things out; whatever is still there is what the log signed."""
    dice = dice_for("mended bundle")
    valid = 0
    for _ in range(1_500):
        forged = changed(dice, BUNDLE)
        if not isinstance(forged, dict) or form(forged) is None:
            continue
        verdict = judged(json.dumps(with_digest(forged)).encode())
        if not verdict.valid:
            continue
        valid += 1
        where = f"seed {SEED}: {forged!r}"
        assert verdict.statement in (None, CERTIFICATE), where
        for entry in forged["entries"]:
            assert b64decode(entry["leaf"]) == LEAVES[entry["seq"]], where
        assert [entry["seq"] for entry in forged["entries"]] == verdict.entries
        assert forged["checkpoint"] == BUNDLE["checkpoint"], where
    assert valid, "not one forgery kept its form: the test tries nothing"


def test_a_changed_document_is_not_valid_with_other_content() -> None:
    dice = dice_for("changed document")
    statement = DOCUMENT["evidence"]["statement"]
    valid = 0
    for _ in range(1_000):
        data = written(dice, changed(dice, DOCUMENT))
        if not judged(data).valid:
            continue
        valid += 1
        value = parsed(data)
        if "evidence" not in value:  # a bundle of its own, not found here
            raise AssertionError(f"seed {SEED}: {data!r}")
        # What is not of the statement may be left out, and nothing may be changed or added.
        assert all(form(value[name]) == form(DOCUMENT.get(name)) for name in value), data
        assert statement.keys() <= value.keys()
    assert valid


def test_a_damaged_document_is_not_valid_with_other_content() -> None:
    dice = dice_for("damaged document")
    intact = json.dumps(DOCUMENT, indent=1).encode()
    for _ in range(1_000):
        data = damaged(dice, intact)
        require_the_same(data, DOCUMENT, judged(data))


def packed_pdf(evidence: bytes) -> bytes:
    """A PDF whose attachment is compressed, as the reports make them."""
    with pikepdf.open(BytesIO(pdf_with(("evidence.json", evidence)))) as pdf:
        stream = next(iter(pdf.attachments.values())).get_file().obj
        stream.write(zlib.compress(evidence), filter=pikepdf.Name.FlateDecode)
        output = BytesIO()
        pdf.save(output)
        return output.getvalue()


@pytest.mark.parametrize("pack", [lambda data: pdf_with(("evidence.json", data)), packed_pdf])
def test_a_damaged_pdf_is_not_valid_with_other_evidence(pack: Callable[[bytes], bytes]) -> None:
    dice = dice_for("pdf")
    evidence = bundle.dumps(BUNDLE)
    intact = pack(evidence)
    assert judged(intact).valid
    for _ in range(500):
        data = damaged(dice, intact)
        if judged(data).valid:
            try:
                found = attached_evidence(data)
            except AttachmentError:  # it is no PDF any more, but the bundle that was in it
                found = data
            assert form(parsed(found)) == form(BUNDLE), f"seed {SEED}: {data!r}"


def test_a_damaged_note_is_refused_or_says_the_same() -> None:
    dice = dice_for("note")
    note = BUNDLE["checkpoint"]
    said = checkpoint.verify_note(note, [vkey()])
    for _ in range(3_000):
        text = damaged(dice, note.encode()).decode("utf-8", "surrogateescape")
        try:
            found = checkpoint.verify_note(text, [vkey()])
        except checkpoint.InvalidNoteError:
            continue
        assert found == said, f"seed {SEED}: {text!r}"


def test_odd_keys_are_refused() -> None:
    dice = dice_for("vkeys")
    for _ in range(500):
        key = damaged(dice, vkey().encode()).decode("utf-8", "surrogateescape")
        verdict = verify_bundle(BUNDLE, trusted_vkey=key)
        assert not verdict.valid or key == vkey()


def test_anything_instead_of_a_bundle_is_judged() -> None:
    dice = dice_for("anything")
    for _ in range(500):
        value = odd_value(dice)
        assert not verify_bundle(value).valid
        assert not judged(written(dice, {"evidence": value})).valid
        assert not judged(written(dice, value)).valid
