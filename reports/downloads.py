"""Taking a document away: its files as they were rendered, and the evidence out of them."""

import io
import json

from django.http import FileResponse

from accounts.models import User
from audit.ledger import bundle
from reports import files
from reports.actions import note_export
from reports.models import Certificate, Report
from reports.rendering import file_name

_MIME = {"json": "application/json", "pdf": "application/pdf"}


class UnknownFormatError(Exception):
    """There is no file of this kind, or not yet."""


def download(document: Certificate | Report, ending: str, *, by: User) -> FileResponse:
    """The file as an answer, and the export on record.

    `ending` is "json", "pdf" or "evidence.json". Raises UnknownFormatError and
    DocumentFileMissingError.
    """
    if document.state != document.State.DONE:
        raise UnknownFormatError(f"{document} is not done: it is {document.get_state_display()}.")
    if ending == "evidence.json":
        with files.opened(document.json_file) as file:
            proofs = json.load(file)["evidence"]
        answer = FileResponse(io.BytesIO(bundle.dumps(proofs)), content_type=_MIME["json"])
    elif ending in _MIME:
        name = document.pdf_file if ending == "pdf" else document.json_file
        answer = FileResponse(files.opened(name), content_type=_MIME[ending])
    else:
        raise UnknownFormatError(f"There is no .{ending} of {document}.")
    note_export(document, ending, by=by)
    shown = file_name(document, ending)
    answer["Content-Disposition"] = f'attachment; filename="{shown}"'
    return answer
