"""Whether a document is still what was issued: its digests, and the proofs inside it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from audit.ledger.verify import Check, verify_pdf
from audit.queries import verifier_keys
from reports import files
from reports.models import Certificate, Report


@dataclass(frozen=True)
class DocumentCheck:
    """`valid` only if every check holds; the notes say how far the proof reaches."""

    valid: bool
    checks: Sequence[Check]
    notes: Sequence[str]


def checked_document(document: Certificate | Report) -> DocumentCheck:
    """Reads both files of a document that is done, and verifies the bundle in the PDF.

    What `python -m audit.ledger verify` does, with this log's own key, and the files' digests.
    """
    checks: list[Check] = []
    pdf = b""
    for name, digest in (
        (document.json_file, document.json_sha256),
        (document.pdf_file, document.pdf_sha256),
    ):
        ending = name.rpartition(".")[2].upper()
        try:
            data = files.read(name)
        except files.DocumentFileMissingError as exc:
            checks.append(Check(ending, ok=False, sentence=str(exc)))
            continue
        same = hashlib.sha256(data).hexdigest() == digest
        says = "is the one that was rendered" if same else "was changed since it was rendered"
        checks.append(Check(ending, ok=same, sentence=f"The {ending} file {says}."))
        if ending == "PDF":
            pdf = data
    if not pdf:
        return DocumentCheck(valid=False, checks=checks, notes=())
    verdict = verify_pdf(pdf, trusted_vkey=verifier_keys())
    all_checks = [*checks, *verdict.checks]
    return DocumentCheck(all(c.ok for c in all_checks), all_checks, verdict.notes)
