"""The PDF renderer, for real: what is in the file, and what can never get into it."""

import shutil
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pikepdf
import pytest

from datasheets.rendering import Attachment, RenderError, render_pdf
from tests.datasheets.builders import opened

PDFTOTEXT = shutil.which("pdftotext")
WHEN = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
ATTACHED = (
    Attachment("evidence.json", b'{"a": 1}', "application/json", "Supplement", "Proofs"),
    Attachment("events.jsonl", b"{}\n", "application/jsonl", "Data", "Events"),
)


def page(body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><title>not this</title></head>'
        f'<body data-reference="R-1"><h1>Łukasz Żółć</h1>{body}</body></html>'
    )


def rendered(body: str = "<p>Text</p>", **options: object) -> bytes:
    given = {"title": "A title", "created": WHEN, "attachments": ATTACHED} | options
    return render_pdf(page(body), **given)  # type: ignore[arg-type]


def xmp(pdf: bytes) -> str:
    with opened(pdf) as file:
        return file.Root.Metadata.read_bytes().decode()


def test_one_file_says_that_it_is_pdf_a_3a_and_pdf_ua_1() -> None:
    said = xmp(rendered())
    assert 'pdfaid:part="3"' in said
    assert 'pdfaid:conformance="A"' in said
    first = said[: said.index("</rdf:RDF>")]
    assert "<pdfuaid:part>1</pdfuaid:part>" in first
    assert "http://www.aiim.org/pdfa/ns/extension/" in first


def test_the_file_is_tagged_titled_and_in_a_language() -> None:
    pdf = opened(rendered(language="de"))
    root = pdf.Root
    assert root.MarkInfo.Marked
    assert root.ViewerPreferences.DisplayDocTitle
    assert str(root.Lang) == "de"
    assert "/StructTreeRoot" in root
    assert root.OutputIntents[0].S == "/GTS_PDFA1"


def test_the_title_is_the_callers_and_not_the_pages() -> None:
    pdf = opened(rendered(author="Northgate", subject="About"))
    info = pdf.docinfo
    assert [str(info[k]) for k in ("/Title", "/Author", "/Subject")] == [
        "A title", "Northgate", "About",
    ]  # fmt: skip
    assert str(info["/CreationDate"]) == "D:20261123093000Z"


def test_attachments_are_listed_once_with_what_they_are() -> None:
    pdf = opened(rendered())
    listed = [(str(f.UF), str(f.AFRelationship)) for f in pdf.Root.AF]
    assert listed == [("events.jsonl", "/Data"), ("evidence.json", "/Supplement")]
    assert pdf.attachments["evidence.json"].get_file().read_bytes() == b'{"a": 1}'
    assert pdf.attachments["evidence.json"].get_file().mime_type == "application/json"
    assert str(pdf.Root.AF[0].Desc) == "Events"


def test_two_attachments_with_the_same_bytes_keep_their_own_relationship() -> None:
    same = [
        Attachment("a.json", b"{}", "application/json", "Data", ""),
        Attachment("b.json", b"{}", "application/json", "Alternative", ""),
    ]
    pdf = opened(rendered(attachments=same))
    assert [str(f.AFRelationship) for f in pdf.Root.AF] == ["/Data", "/Alternative"]


def test_the_same_input_gives_the_same_bytes() -> None:
    assert rendered() == rendered(attachments=tuple(reversed(ATTACHED)))


def test_every_font_is_embedded_and_only_ours_is_used() -> None:
    pdf = opened(rendered("<p>Żółć ✓ ß <code>mono ├</code> <em>schräg</em></p>"))
    fonts = {str(f.BaseFont): f for page in pdf.pages for f in page.Resources.Font.values()}
    assert fonts
    for name, font in fonts.items():
        assert "IBM-Plex" in name
        assert "/FontFile2" in font.DescendantFonts[0].FontDescriptor
        assert "/ToUnicode" in font


def _text(pdf: bytes) -> str:
    """The words of the pages, by the fonts' own ToUnicode maps."""
    done = subprocess.run(
        [str(PDFTOTEXT), "-layout", "-", "-"], input=pdf, capture_output=True, check=True
    )
    return done.stdout.decode()


needs_pdftotext = pytest.mark.skipif(PDFTOTEXT is None, reason="poppler-utils is not installed")


@needs_pdftotext
def test_letters_beyond_ascii_come_out_as_they_went_in() -> None:
    assert "Łukasz Żółć" in _text(rendered())


@needs_pdftotext
def test_a_character_that_no_bundled_font_has_is_printed_by_its_number() -> None:
    assert "smile [U+1F642] end" in _text(rendered("<p>smile 🙂 end</p>"))


@needs_pdftotext
def test_a_text_cannot_be_turned_around_by_invisible_signs() -> None:
    assert "pay [U+202E]100" in _text(rendered("<p>pay \u202e100</p>"))


@pytest.mark.parametrize(
    "theft",
    [
        '<a rel="attachment" href="file://{secret}">steal</a>',
        '<link rel="attachment" href="file://{secret}">',
        '<img alt="x" src="file://{secret}">',
        '<object data="file://{secret}"></object>',
        '<style>@import url("file://{secret}"); p {{ background: url("file://{secret}") }}</style>',
        '<style>@font-face {{ font-family: x; src: url("file://{secret}") }} p {{ font: 9pt x }}'
        "</style>",
        '<svg width="10" height="10"><title>x</title><image href="file://{secret}"/></svg>',
        '<a rel="attachment" href="bundled:../../../../../..{secret}">steal</a>',
        '<base href="file://{secret}"><a rel="attachment" href="">steal</a>',
    ],
)
def test_no_file_of_the_server_gets_into_a_document(theft: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret-of-the-house")
    pdf = opened(rendered(theft.format(secret=secret) + "<p>rest</p>"))
    assert set(pdf.attachments) == {"evidence.json", "events.jsonl"}
    streams = [o.read_bytes() for o in pdf.objects if isinstance(o, pikepdf.Stream)]
    assert not any(b"the-secret-of-the-house" in s for s in streams)


@pytest.mark.enable_socket
def test_no_address_is_fetched_while_a_document_is_made() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.png"
        rendered(f'<img alt="x" src="{url}"><p>rest</p>')
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\nb"])
def test_an_attachment_with_an_unsafe_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no safe file name"):
        rendered(attachments=[Attachment(name, b"", "text/plain", "Data", "")])


def test_two_attachments_of_one_name_are_refused() -> None:
    twice = [Attachment("a.txt", b"", "text/plain", "Data", "")] * 2
    with pytest.raises(ValueError, match="the same name"):
        rendered(attachments=twice)


def test_a_document_that_takes_too_long_is_given_up_with_a_sentence() -> None:
    with pytest.raises(RenderError, match="not finished after 0 seconds"):
        rendered(timeout=0.01)


def test_the_renderer_knows_neither_the_database_nor_the_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the web process has in its environment is not handed on."""
    seen: dict[str, object] = {}
    run = subprocess.run

    def noted(*args: object, **kwargs: object) -> object:
        seen.update(kwargs)
        return run(*args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setenv("SECRET_KEY", "s")
    monkeypatch.setattr("datasheets.rendering.subprocess.run", noted)
    rendered()
    assert set(seen["env"]) == {"PATH", "LANG"}  # type: ignore[call-overload]


def test_cells_of_a_table_know_their_headers() -> None:
    pdf = opened(
        rendered(
            '<table><thead><tr><th scope="col">Name</th><th scope="col">Rows</th></tr></thead>'
            '<tbody><tr><th scope="row">May</th><td>12</td></tr></tbody></table>'
        )
    )
    elements = [o for o in pdf.objects if isinstance(o, pikepdf.Dictionary) and "/S" in o]
    (cell,) = [e for e in elements if e.S == "/TD"]
    headers = {str(e.ID) for e in elements if e.S == "/TH"}
    assert len(headers) == 3
    assert {str(h) for h in cell.A.Headers} < headers
    assert len(cell.A.Headers) == 2
