import importlib
import random
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from audit.ledger import attachment, bundle
from audit.ledger.verify import verify_pdf
from tests.audit.ledger.builders import OTHER_KEY, certificate_bundle, vkey

WRITTEN = bundle.dumps(certificate_bundle())


def pdf_with(*files: tuple[str, bytes]) -> bytes:
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        for number, (name, data) in enumerate(files):
            spec = pikepdf.AttachedFileSpec(pdf, data, filename=name)
            pdf.attachments[f"file {number}"] = spec
        return saved(pdf)


def saved(pdf: pikepdf.Pdf) -> bytes:
    output = BytesIO()
    pdf.save(output)
    return output.getvalue()


@pytest.fixture(scope="module")
def printed() -> bytes:
    """A certificate as the reports print it."""
    weasyprint: Any = importlib.import_module("weasyprint")  # it has no type hints
    evidence = weasyprint.Attachment(string=WRITTEN, name="evidence.json", relationship="Data")
    document = weasyprint.HTML(string="<h1>Certificate</h1>").render()
    document.metadata.attachments = [evidence]
    data: bytes = document.write_pdf()
    return data


def test_a_printed_certificate_is_valid_from_bytes_and_from_a_path(
    printed: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "certificate.pdf"
    path.write_bytes(printed)

    for verdict in (verify_pdf(printed), verify_pdf(path), verify_pdf(str(path))):
        assert verdict.valid, verdict.faults
        assert verdict.checks[0].sentence == "The PDF carries one evidence bundle."
        assert any("not the printed pages" in note for note in verdict.notes)


def test_the_trusted_key_is_asked_for_in_a_pdf_too(printed: bytes) -> None:
    assert verify_pdf(printed, trusted_vkey=vkey()).valid
    assert not verify_pdf(printed, trusted_vkey=vkey(OTHER_KEY)).valid


def test_other_attachments_beside_the_evidence_do_no_harm() -> None:
    assert verify_pdf(pdf_with(("data.csv", b"a,b"), ("evidence.json", WRITTEN))).valid


def fault(pdf: bytes | Path) -> str:
    verdict = verify_pdf(pdf)
    assert not verdict.valid
    assert verdict.faults[0].name == "attachment"
    return verdict.faults[0].sentence


def test_a_pdf_without_evidence_says_so() -> None:
    assert "no attachment named evidence.json" in fault(pdf_with())
    assert "no attachment named evidence.json" in fault(pdf_with(("other.json", WRITTEN)))


def test_a_pdf_with_two_bundles_is_ambiguous() -> None:
    twice = pdf_with(("evidence.json", WRITTEN), ("evidence.json", b"{}"))
    assert "carries 2 attachments" in fault(twice)


@pytest.mark.parametrize("password", ["", "secret"])
def test_an_encrypted_pdf_is_refused_with_advice(password: str) -> None:
    with pikepdf.open(BytesIO(pdf_with(("evidence.json", WRITTEN)))) as pdf:
        output = BytesIO()
        pdf.save(output, encryption=pikepdf.Encryption(owner="o", user=password))
    assert "remove its protection" in fault(output.getvalue())


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    assert "cannot be read" in fault(tmp_path / "nothing.pdf")


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\n", b"%PDF-1.7\n%%EOF\n", b"no pdf at all" * 50])
def test_a_file_that_is_no_pdf_is_reported(data: bytes) -> None:
    assert "no intact PDF" in fault(data)


def with_stream(raw: bytes, **entries: object) -> bytes:
    with pikepdf.open(BytesIO(pdf_with(("evidence.json", WRITTEN)))) as pdf:
        stream = next(iter(pdf.attachments.values())).get_file().obj
        stream.write(raw, filter=pikepdf.Name.FlateDecode)
        for key, value in entries.items():
            stream[f"/{key}"] = value
        output = BytesIO()
        pdf.save(output, compress_streams=False, stream_decode_level=pikepdf.StreamDecodeLevel.none)
        return output.getvalue()


def test_a_damaged_attachment_is_reported_and_not_repaired() -> None:
    packed = zlib.compress(WRITTEN)
    assert verify_pdf(with_stream(packed)).valid
    assert "cut off" in fault(with_stream(packed[:-6]))
    assert "damaged" in fault(with_stream(packed[:60] + b"\xff" * 20 + packed[80:]))
    assert "unusual way" in fault(with_stream(packed, DecodeParms=pikepdf.Dictionary(Predictor=12)))


def test_an_attachment_that_unpacks_to_gigabytes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attachment, "MAX_EVIDENCE_BYTES", 10 * 2**20)
    bomb = zlib.compress(b" " * (10 * 2**20) + WRITTEN, 9)
    assert "larger than" in fault(with_stream(bomb))


def test_no_changed_byte_leaves_a_pdf_valid_with_other_evidence(printed: bytes) -> None:
    dice = random.Random(3)  # noqa: S311
    for data in (printed, pdf_with(("evidence.json", WRITTEN))):
        for _ in range(400):
            at = dice.randrange(len(data))
            changed = data[:at] + bytes([data[at] ^ dice.randrange(1, 256)]) + data[at + 1 :]
            verdict = verify_pdf(changed)
            if verdict.valid:
                assert attachment.attached_evidence(changed) == WRITTEN


def test_a_truncated_pdf_is_never_valid_with_other_evidence(printed: bytes) -> None:
    for length in range(0, len(printed), 97):
        verdict = verify_pdf(printed[:length])
        if verdict.valid:
            assert attachment.attached_evidence(printed[:length]) == WRITTEN
