"""What datasheets and model cards write into the log: ids, counts and digests, never a text."""

from audit.events import define

DATASHEET_OPENED = define("datasheet.opened", "kind")
# `answers`: [{"question", "state", "sha256"}]; the digest is salted, see `datasheets.values`.
DATASHEET_ANSWERED = define("datasheet.answered", "kind", "answers")
DATASHEET_CONFIRMED = define("datasheet.confirmed", "kind", "question", "sha256", "evidence_sha256")
DATASHEET_ANSWER_WITHDRAWN = define("datasheet.answer_withdrawn", "kind", "questions")
# The document as it stood: `statement_sha256` is of its JSON (RFC 8785), which the PDF carries.
DATASHEET_ISSUED = define("datasheet.issued", "kind", "percent", "statement_sha256")
DATASHEET_EXPORTED = define("datasheet.exported", "kind", "format", "sha256", "bytes")
PROFILE_ASKED = define("dataset.profile_asked")
PROFILE_MEASURED = define("dataset.profiled", "sha256", "rows", "columns", "duplicates")
