"""The process that sets type: reads one job from standard input, writes the PDF to the output.

`python -m datasheets.render_worker` is started by `datasheets.rendering`, with an empty
environment. No Django here: it starts in half the time, and has nothing worth stealing.
"""

import gc
import io
import logging
import os
import re
import sys
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

_STATIC = Path(__file__).resolve().parent.parent / "static"
_FONTS = {path.name: path for path in sorted((_STATIC / "vendor").glob("plex-*/*.woff2"))}
_STYLESHEETS = {path.name: path for path in sorted((_STATIC / "css").glob("print*.css"))}
_SCHEME = "bundled:"  # in print.css: url("bundled:IBMPlexSans-Regular.woff2")
# Only bundled faces: what a machine has installed must not change what a document looks like.
_NO_SYSTEM_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><cachedir>{}</cachedir></fontconfig>"""
# Laid out, never drawn. The bidi controls are not here: they could make a signed text read
# otherwise than it is, so they are printed by number.
_INVISIBLE = frozenset("\t\n\r\f\u00ad\u200b\u200c\u200d\u2060\ufeff")
_TEXT_ATTRIBUTES = ("alt", "title", "aria-label", "data-reference")

# PDF/UA identification, and its description as PDF/A wants it of schemas that it does not know.
# (ISO 14289-1, 5; ISO 19005-3, 6.6.2.3.) WeasyPrint writes one variant's metadata, not both.
_UA_METADATA = (
    b'<rdf:Description xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/" rdf:about="">'
    b"<pdfuaid:part>1</pdfuaid:part></rdf:Description>"
    b'<rdf:Description xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"'
    b' xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#"'
    b' xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#" rdf:about="">'
    b'<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">'
    b"<pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>"
    b"<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>"
    b"<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>"
    b'<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">'
    b"<pdfaProperty:name>part</pdfaProperty:name>"
    b"<pdfaProperty:valueType>Integer</pdfaProperty:valueType>"
    b"<pdfaProperty:category>internal</pdfaProperty:category>"
    b"<pdfaProperty:description>PDF/UA version identifier</pdfaProperty:description>"
    b"</rdf:li></rdf:Seq></pdfaSchema:property></rdf:li></rdf:Bag></pdfaExtension:schemas>"
    b"</rdf:Description>"
)


class Enclosure(msgspec.Struct):
    name: str
    data: bytes
    mime: str
    relationship: str
    description: str


class Job(msgspec.Struct):
    html: str
    title: str
    language: str
    author: str
    subject: str
    created: str
    attachments: list[Enclosure]


class _Warnings(logging.Handler):
    """What WeasyPrint complains of, for the log of the process that asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage()[:500])


def _bundled(url: str) -> bytes:
    """The bytes of a bundled font or stylesheet. Raises ValueError for every other address."""
    name = url.removeprefix(_SCHEME)
    path = (_FONTS | _STYLESHEETS).get(name) if url.startswith(_SCHEME) else None
    if path is None:
        raise ValueError(f"{url[:200]} is not bundled: documents load nothing else")
    return path.read_bytes()


@cache
def _drawable() -> frozenset[int]:
    """The characters that every weight of Plex Sans has, or every weight of Plex Mono."""
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

    of_family: dict[str, set[int]] = {}
    for name, path in _FONTS.items():
        family = name.partition("-")[0]
        with TTFont(path, lazy=True) as font:
            found = set(font.getBestCmap())
        of_family[family] = of_family.get(family, found) & found
    return frozenset().union(*of_family.values()) | {ord(c) for c in _INVISIBLE}


def _plain(text: str | None) -> str | None:
    """The text with every character that cannot be drawn by its number: [U+1F642]."""
    if not text or text.isascii():
        return text
    drawable = _drawable()
    return "".join(c if ord(c) in drawable else f"[U+{ord(c):04X}]" for c in text)


def _make_drawable(root: Any) -> None:
    for element in root.iter():
        if not isinstance(element.tag, str) or element.tag in ("style", "title"):
            element.tail = _plain(element.tail)
            continue
        element.text, element.tail = _plain(element.text), _plain(element.tail)
        for name in _TEXT_ATTRIBUTES:
            if name in element.attrib:
                element.attrib[name] = _plain(element.attrib[name])


def _finisher(job: Job) -> Any:
    by_name = {a.name: a for a in job.attachments}

    def finish(_document: Any, pdf: Any) -> None:
        objects = {o.reference: o for o in pdf.objects}
        metadata = objects[pdf.catalog["Metadata"]]
        end = b"</rdf:RDF>"
        metadata.stream = [
            (part if isinstance(part, bytes) else part.encode()).replace(end, _UA_METADATA + end, 1)
            for part in metadata.stream
        ]
        if "AF" in pdf.catalog:  # WeasyPrint lists each attachment twice
            unique = list(dict.fromkeys(pdf.catalog["AF"]))
            pdf.catalog["AF"].clear()
            pdf.catalog["AF"].extend(unique)
            for reference in unique:
                spec = objects[reference]
                enclosure = by_name[spec["UF"].string]
                spec["AFRelationship"] = f"/{enclosure.relationship}"
                stream = objects[spec["EF"]["F"]]
                stream.extra["Subtype"] = "/" + re.sub(
                    r"[^A-Za-z0-9.+-]", lambda m: f"#{ord(m[0]):02x}", enclosure.mime
                )

    return finish


def render(job: Job) -> tuple[bytes, list[str]]:
    """The PDF of a job, and what WeasyPrint had to say about its page."""
    # WeasyPrint has no types.
    from weasyprint import CSS, HTML  # type: ignore[import-untyped]
    from weasyprint import Attachment as Embedded
    from weasyprint.logger import LOGGER  # type: ignore[import-untyped]
    from weasyprint.text.fonts import FontConfiguration  # type: ignore[import-untyped]
    from weasyprint.urls import URLFetcher, URLFetcherResponse  # type: ignore[import-untyped]

    class BundledOnly(URLFetcher):  # type: ignore[misc]  # WeasyPrint ships no types
        def fetch(self, url: str, headers: Any = None) -> Any:
            return URLFetcherResponse(url, _bundled(url))

    warnings = _Warnings()
    LOGGER.handlers = [warnings]
    fetcher, fonts = BundledOnly(), FontConfiguration()
    created = datetime.fromisoformat(job.created)
    page = HTML(string=job.html, url_fetcher=fetcher)
    _make_drawable(page.etree_element)
    css = CSS(
        string=_bundled(f"{_SCHEME}print.css").decode(), url_fetcher=fetcher, font_config=fonts
    )
    options: dict[str, Any] = {
        "stylesheets": [css],
        "pdf_variant": "pdf/a-3a",
        "attachments": [
            Embedded(
                file_obj=io.BytesIO(a.data),
                name=a.name,
                description=a.description,
                created=created,
                modified=created,
                relationship=a.relationship,
                url_fetcher=fetcher,
            )
            for a in job.attachments
        ],
    }
    document = page.render(font_config=fonts, **options)
    about = document.metadata
    about.title, about.lang, about.description = job.title, job.language, job.subject or None
    about.authors = [job.author] if job.author else []
    about.keywords, about.attachments, about.generator = [], [], "Vestige"
    about.created = about.modified = f"{created:%Y-%m-%dT%H:%M:%SZ}"
    pdf = document.write_pdf(finisher=_finisher(job), **options)
    return pdf, warnings.texts


def main() -> None:
    gc.set_threshold(200_000, 50, 100)  # a layout is one growing tree: halves the time of long ones
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "fonts.conf"
        own.write_text(_NO_SYSTEM_FONTS.format(folder))
        os.environ["FONTCONFIG_FILE"] = str(own)
        pdf, warnings = render(job)
    sys.stdout.buffer.write(msgspec.msgpack.encode({"pdf": pdf, "warnings": warnings}))


if __name__ == "__main__":
    main()
