"""HTML into a PDF that archives accept: PDF/A-3a and PDF/UA-1 in one file.

The typesetting runs in a process of its own (`datasheets.render_worker`): memory goes back when
it ends, a hostile text cannot hang the server, and the process knows neither the database nor the
keys. The same input gives the same bytes.
"""

import logging
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

Relationship = Literal["Data", "Alternative", "Supplement", "Source"]

_ROOT = Path(__file__).resolve().parent.parent
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", re.ASCII)
_log = logging.getLogger(__name__)


class RenderError(Exception):
    """The document could not be made; the message says why."""


@dataclass(frozen=True)
class Attachment:
    """A file inside the PDF. `relationship` is PDF/A-3's word for what it is to the pages."""

    name: str
    data: bytes
    mime: str
    relationship: Relationship
    description: str


class _Answer(msgspec.Struct):
    pdf: bytes
    warnings: list[str]


def render_pdf(
    html: str,
    *,
    title: str,
    created: datetime,
    language: str = "en",
    author: str = "",
    subject: str = "",
    attachments: Sequence[Attachment] = (),
    timeout: float = 600,
) -> bytes:
    """The PDF of a whole HTML page; extend `templates/pdf/base.html` to write one.

    `static/css/print.css` is always applied. The page can load nothing but what is bundled: no
    file, no address. Characters that the bundled fonts lack are printed as [U+1F642].
    `title`, `language`, `author` and `subject` go into the metadata, whatever the page says.
    `created` (aware) dates the document and its attachments. Raises RenderError, and ValueError
    for attachments that have an unsafe name or the same name.
    """
    _check_names(attachments)
    job = {
        "html": _plain(html),
        "title": _plain(title),
        "language": _plain(language),
        "author": _plain(author),
        "subject": _plain(subject),
        "created": created.astimezone(UTC).isoformat(timespec="seconds"),
        "attachments": [asdict(a) for a in sorted(attachments, key=lambda a: a.name)],
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "datasheets.render_worker"],
            input=msgspec.msgpack.encode(job),
            capture_output=True,
            cwd=_ROOT,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise RenderError(
            f"{title}: not finished after {timeout:.0f} seconds. Ask for less in one document."
        ) from exc
    if done.returncode != 0:
        fault = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RenderError(
            f"{title}: the renderer ended with {done.returncode}"
            f" ({fault[0] if fault else 'no message'})."
        )
    answer = msgspec.msgpack.decode(done.stdout, type=_Answer)
    for warning in answer.warnings:
        _log.warning("PDF %s: %s", title, warning)
    return answer.pdf


def _plain(text: str) -> str:
    """A bare `str` (Django's templates give SafeString), without halves of surrogate pairs."""
    return text.encode(errors="replace").decode()


def _check_names(attachments: Sequence[Attachment]) -> None:
    names = [a.name for a in attachments]
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no safe file name for an attachment.")
    if len(set(names)) != len(names):
        raise ValueError("Two attachments of one PDF have the same name.")
