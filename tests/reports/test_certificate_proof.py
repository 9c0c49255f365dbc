"""The certificate's files: no person in them, and proofs that break."""

import json
from typing import Any

import pikepdf
import pytest

from audit.ledger.bundle import build, parse
from audit.ledger.verify import verify_bundle
from tests.compliance.builders import EMAIL, PERSON
from tests.reports import builders
from tests.reports.conftest import Specimen


def test_no_personal_data_are_in_the_certificate(specimen: Specimen) -> None:
    pdf = specimen.pdf
    texts = [
        specimen.json.read_text(),
        builders.text_of(pdf),
        builders.attachments(pdf)["evidence.json"].decode(),
    ]
    for text in texts:
        assert EMAIL not in text
        assert f'"{PERSON.value}"' not in text
        assert specimen.subject_lookup not in text
    assert specimen.pseudonym in texts[0]


@pytest.mark.parametrize("ending", ["pdf", "json"])
def test_the_verifier_says_valid_without_a_server(specimen: Specimen, ending: str) -> None:
    file = specimen.pdf if ending == "pdf" else specimen.json
    status, said = builders.verified_offline(file)
    assert status == 0, said
    assert "VALID" in said
    assert f"Entry {specimen.row.entry} (certificate.issued" in said


def test_one_changed_byte_of_the_bundle_makes_the_pdf_invalid(specimen: Specimen) -> None:
    pdf = specimen.pdf
    bundle = builders.attachments(pdf)["evidence.json"]
    for place in range(7, len(bundle), len(bundle) // 40):
        changed = bytearray(bundle)
        changed[place] ^= 0x01
        assert not verify_bundle(bytes(changed)).valid, f"byte {place} may be changed"
    spoiled = bundle.replace(b'"rows_erased":3', b'"rows_erased":4', 1)
    assert spoiled != bundle
    status, said = builders.verified_offline(
        builders.with_attachment(pdf, "evidence.json", spoiled)
    )
    assert status == 1
    assert "NOT VALID" in said
    same = builders.with_attachment(pdf, "evidence.json", bundle)
    assert builders.verified_offline(same)[0] == 0, "the change made it invalid, not the writing"


def test_a_forged_statement_with_a_fitting_digest_is_found_out(specimen: Specimen) -> None:
    """Whoever edits the statement can recompute the bundle's digest, but not the signed log."""
    said = json.loads(specimen.json.read_bytes())["evidence"]
    genuine = parse(said)
    said["statement"]["totals"]["traces"] = 7
    forged = build(
        purpose=genuine.purpose, statement=said["statement"], origin=genuine.origin,
        vkey=genuine.vkey, checkpoint=genuine.checkpoint,
        entries=[(e.seq, e.leaf, e.proof) for e in genuine.entries],
    )  # fmt: skip
    assert [check.name for check in verify_bundle(forged).faults] == ["statement"]


def test_the_pdf_is_signed_and_a_changed_page_breaks_the_signature(specimen: Specimen) -> None:
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    from reports import signing

    pdf = specimen.pdf
    data = pdf.read_bytes()

    def status(content: bytes) -> Any:
        import io

        signature = PdfFileReader(io.BytesIO(content)).embedded_signatures[0]
        context = ValidationContext(trust_roots=[signature.signer_cert])
        return signature, validate_pdf_signature(signature, context)

    signature, found = status(data)
    assert found.intact
    assert found.valid
    assert found.coverage.name == "ENTIRE_FILE"
    assert signature.signer_cert.sha256.hex() == signing.certificate_sha256()
    assert specimen.row.content
    assert specimen.row.content["signing_certificate_sha256"] == signing.certificate_sha256()
    place = data.index(b"stream\n") + 40
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    assert not status(changed)[1].intact


def test_the_signed_pdf_is_still_archival_and_accessible(specimen: Specimen) -> None:
    with pikepdf.open(specimen.pdf) as pdf:
        meta = pdf.open_metadata()
        assert (meta["pdfaid:part"], meta["pdfaid:conformance"]) == ("3", "A")
        assert meta["pdfuaid:part"] == "1"
        assert meta["dc:title"] == f"Certificate of erasure {specimen.row.number}"
        assert pdf.Root.Lang == "en"
        assert pdf.Root.MarkInfo.Marked
        assert "/StructTreeRoot" in pdf.Root
        (evidence,) = pdf.Root.AF
        assert evidence.AFRelationship == "/Supplement"
        (field,) = pdf.Root.AcroForm.Fields
        assert all(edge < -1000 for edge in field.Rect), "out of the page: need not be tagged"
        assert int(field.F) & 4, "printable, as PDF/A asks"


def test_a_reader_finds_the_facts_and_the_way_to_check_on_the_pages(specimen: Specimen) -> None:
    text = builders.text_of(specimen.pdf)
    row, people = specimen.row, specimen.people
    for words in (
        row.number, row.request.reference, "Erased, and verified by an independent scan",
        str(people.dpo), str(people.data_owner), "shop / purchases", "Art. 77 GDPR",
        f"python -m audit.ledger verify {row.number}.pdf", "not legal advice",
    ):  # fmt: skip
        assert words in text, words
