"""Markdown that people wrote, as HTML that is safe on a page and in a document."""

import re
from functools import cache

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

_TAGS = {
    "p", "br", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "hr", "a",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
_HEADING = re.compile(r"<(/?)h[1-6]>")


@cache
def _markdown() -> MarkdownIt:
    # No images: they would be loaded from elsewhere, which neither a page nor a document may do.
    # No raw HTML: `<a rel=attachment href="file:…">` once put a server's file into a PDF.
    return MarkdownIt("commonmark", {"html": False}).enable(["table"]).disable(["image"])


def as_html(markdown: str) -> SafeString:
    """Sanitised HTML: paragraphs, lists, tables, code, links to http, https and mailto.

    Headings become bold paragraphs, so that an answer cannot change the document's outline.
    """
    html = _HEADING.sub(
        lambda m: "</strong></p>" if m[1] else "<p><strong>", _markdown().render(markdown)
    )
    clean = nh3.clean(
        html.replace('style="text-align:right"', 'class="num"'),
        tags=_TAGS,
        attributes={"a": {"href"}, "th": {"class"}, "td": {"class"}},
        attribute_filter=lambda _tag, name, value: (
            value if name != "class" or value == "num" else None
        ),
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"th": {"scope": "col"}},
    )
    return mark_safe(clean)  # noqa: S308 - this is what nh3 is for
