"""How answers look on a page and in a document."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from datasheets.exports import WORDS, signature
from datasheets.markup import as_html
from datasheets.queries.sheets import Entry, Status

register = template.Library()

# Green says that somebody or something checked; what one person said is only said.
_KINDS = {
    Status.CONFIRMED: "ok",
    Status.MEASURED: "ok",
    Status.ANSWERED: "live",
    Status.DRAFT: "",
    Status.STALE: "warn",
    Status.UNKNOWN: "warn",
    Status.NOT_APPLICABLE: "quiet",
    Status.UNANSWERED: "quiet",
}
_SHORT = WORDS | {Status.DRAFT: "Draft", Status.ANSWERED: "Answered, to be confirmed"}


@register.filter
def markdown(text: str) -> SafeString:
    """A person's Markdown, or a computed value's, as sanitised HTML."""
    return as_html(text)


@register.filter
def status_tag(status: Status) -> SafeString:
    return format_html('<span class="tag {}">{}</span>', _KINDS[status], _SHORT[status])


@register.filter
def signed(entry: Entry) -> str:
    """By whom, when, and on what it rests: one line for paper, to stand after the state's tag."""
    return signature(entry).partition(" · ")[2]
