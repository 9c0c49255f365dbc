"""The evidence bundle inside a PDF: an embedded file named evidence.json (ISO 32000, 7.11.4)."""

import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pikepdf import Object, Pdf

EVIDENCE_NAME = "evidence.json"
MAX_EVIDENCE_BYTES = 256 * 2**20

_ENCRYPTED = "The PDF is encrypted; remove its protection, then verify again."


class AttachmentError(ValueError):
    """The file is no PDF with one readable evidence bundle; a sentence says why."""


def attached_evidence(source: str | Path | bytes) -> bytes:
    """The bytes of evidence.json in a PDF, given as a path or as bytes. Raises AttachmentError."""
    # Imported here, so that verifying a JSON bundle does not need a PDF library.
    from pikepdf import PasswordError, PikepdfError
    from pikepdf import open as open_pdf

    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise AttachmentError(f"The file cannot be read: {error.strerror}.") from error
    try:
        with open_pdf(BytesIO(data)) as pdf:
            return _evidence(pdf)
    except AttachmentError:
        raise
    except PasswordError as error:
        raise AttachmentError(_ENCRYPTED) from error
    except (
        PikepdfError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as error:
        # Which of them a broken object raises depends on the object.
        raise AttachmentError(f"The file is no intact PDF: {error}.") from error


def _evidence(pdf: "Pdf") -> bytes:
    if pdf.is_encrypted:
        raise AttachmentError(_ENCRYPTED)
    files = [
        spec.get_file()
        for name, spec in pdf.attachments.items()
        if EVIDENCE_NAME in {name, spec.filename}
    ]
    if not files:
        raise AttachmentError(f"The PDF carries no attachment named {EVIDENCE_NAME}.")
    if len(files) > 1:
        raise AttachmentError(f"The PDF carries {len(files)} attachments named {EVIDENCE_NAME}.")
    return _content(files[0].obj)


def _content(stream: "Object") -> bytes:
    """The file's bytes, unpacked here so that neither damage nor a huge expansion goes unseen."""
    filters = stream.get("/Filter")
    raw = stream.read_raw_bytes()
    if filters is None:
        return raw
    if str(filters) != "/FlateDecode" or "/DecodeParms" in stream:
        raise AttachmentError(f"{EVIDENCE_NAME} is encoded in an unusual way: {filters}.")
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(raw, MAX_EVIDENCE_BYTES)
    except zlib.error as error:
        raise AttachmentError(f"{EVIDENCE_NAME} in the PDF is damaged: {error}.") from error
    if not unpacker.eof:
        raise AttachmentError(f"{EVIDENCE_NAME} in the PDF is cut off or larger than 256 MiB.")
    return content
