"""How every page prints a hash, a time, a size, a state or an actor: one way, everywhere.

Registered as a template builtin: pages need no `{% load %}`. See templates/components/README.md.
"""

import json as json_module
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from difflib import ndiff
from typing import Any

from django import template
from django.conf import settings
from django.template import Context
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.logs import MAIN, LogUnknownError, log_of

register = template.Library()

# A colour says that somebody or something checked. `ok`: checked and good; `warn`: needs an eye;
# `bad`: wrong or late; `live`: at work; `quiet`: over, without a claim; `""`: plain.
_KINDS: dict[str, str] = {
    "ok": "completed verified valid proved closed anonymised pass passed approved healthy "
    "published done accepted clean confirmed",
    "warn": "tail_open tail_until completed_partial partial awaiting_subject "
    "refusal_proposed issued legal_hold paused extended retained restricted manual_confirmed "
    "review stale expiring expired purge_due disputed unverified revoked draft retrain_due "
    "never_verified residual",
    "bad": "failed fail residue_found residue invalid overdue rejected_evidence rejected blocked "
    "error broken tampered voided unreachable abort",
    "live": "received verifying triage discovery approval awaiting_approval scheduled executing "
    "verifying_erasure responding reopened running start in_progress assessing acknowledged "
    "evidence_submitted pending due rendering queued in_use current active claimed waiting "
    "finding erasing purging to_verify scanning erased",
    "quiet": "refused withdrawn duplicate waived retired superseded purged disabled not_found "
    "complete cancelled archived design unknown not_applicable",
}
_KIND_OF = {state: kind for kind, states in _KINDS.items() for state in states.split()}
_WORDS = {
    "tail_open": "tail open",
    "completed": "completed, proved",
    "completed_partial": "completed in part",
    "verifying": "checking identity",
    "verifying_erasure": "re-scanning",
    "approval": "awaiting approval",
    "review": "in review",
    "in_use": "in use",
    "fail": "fail",
    "complete": "complete, as reported",
    "start": "started",
    "abort": "aborted",
}


@register.filter
def can(user: Any, permission: str) -> bool:
    """Whether this user (or nobody: a page without a request) holds the permission."""
    return bool(getattr(user, "is_authenticated", False) and user.has_perm(permission))


@register.filter
def reads_only(user: Any) -> bool:
    """An auditor who is nothing else: sees, verifies and exports, and changes nothing."""
    return bool(
        getattr(user, "is_authenticated", False)
        and getattr(user, "role_names", None) == frozenset({"auditor"})
    )


def shortened(text: str, *, head: int = 8, tail: int = 6) -> str:
    return text if len(text) <= head + tail + 1 else f"{text[:head]}…{text[-tail:]}"


def _copy_button(value: str, what: str) -> SafeString:
    return format_html(
        '<button type="button" class="copy" data-copy="{}" aria-label="Copy {}"></button>',
        value,
        what,
    )


@register.filter(name="hash")
def hash_text(value: Any, length: int = 8) -> SafeString:
    """A digest in mono, shortened to `length` leading and 6 last signs; the whole one by copy."""
    if value in (None, ""):
        return format_html('<span class="none">none</span>')
    text = bytes(value).hex() if isinstance(value, (bytes, bytearray, memoryview)) else str(value)
    short = shortened(text, head=int(length))
    return format_html(
        '<span class="hash"><code title="{}">{}</code>{}</span>',
        text,
        short,
        _copy_button(text, f"hash {short}"),
    )


@register.filter
def copyable(value: Any, what: str = "") -> SafeString:
    """A value in mono, whole, with a copy button."""
    text = str(value)
    return format_html(
        '<span class="hash whole"><code>{}</code>{}</span>',
        text,
        _copy_button(text, what or shortened(text)),
    )


def _moment(value: Any) -> datetime | None:
    found = parse_datetime(value) if isinstance(value, str) else value
    if not isinstance(found, datetime):
        return None
    return (found if timezone.is_aware(found) else found.replace(tzinfo=UTC)).astimezone(UTC)


def _written(moment: date) -> str:
    return f"{moment.day} {moment:%b %Y}"


def _machine(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds").replace(
        "+00:00", "Z"
    )


_NONE = SafeString('<span class="none">—</span>')


@register.filter
def when(value: Any, precision: str = "minute") -> SafeString:
    """An aware datetime or RFC 3339 text, in UTC, written out: 3 Nov 2026, 09:00 UTC.

    `precision`: "minute", "second" or "exact" (microseconds).
    """
    moment = _moment(value)
    if moment is None:
        return _NONE if value in (None, "") else format_html("{}", value)
    clock = {"minute": "%H:%M", "second": "%H:%M:%S", "exact": "%H:%M:%S.%f"}[precision]
    return format_html(
        '<time datetime="{}" data-local>{}, {} UTC</time>',
        _machine(moment),
        _written(moment),
        moment.strftime(clock),
    )


@register.filter
def day(value: Any) -> SafeString:
    """A date (or the UTC date of a moment), written out: 3 Nov 2026."""
    found = parse_date(value) if isinstance(value, str) and len(value) == 10 else value
    moment = _moment(found)
    if moment is not None:
        return format_html(
            '<time datetime="{}" data-local>{}</time>', _machine(moment), _written(moment)
        )
    if isinstance(found, date):
        return format_html('<time datetime="{}">{}</time>', found.isoformat(), _written(found))
    return _NONE if value in (None, "") else format_html("{}", value)


@register.filter
def ago(value: Any) -> SafeString:
    """The distance from now, "3 minutes ago" or "in 12 days", with the moment itself on hover."""
    moment = _moment(value)
    if moment is None:
        return _NONE
    seconds = (timezone.now() - moment).total_seconds()
    size = abs(seconds)
    unit, length = next(
        (u, n)
        for u, n in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
        if size >= n or n == 1
    )
    number = int(size // length)
    plural = "" if number == 1 else "s"
    if seconds >= 0:
        text = f"{number} {unit}{plural} ago" if size >= 1 else "just now"
    else:
        text = f"in {number} {unit}{plural}"
    return format_html(
        '<time datetime="{}" data-local title="{}, {} UTC">{}</time>',
        _machine(moment),
        _written(moment),
        f"{moment:%H:%M:%S}",
        text,
    )


@register.filter
def count(value: Any) -> str:
    """A number with its thousands apart: 48,211."""
    if value in (None, ""):
        return "—"
    return f"{value:,}" if isinstance(value, (int, float)) else f"{int(value):,}"


@register.filter(name="bytes")
def byte_size(value: Any) -> str:
    """A size in decimal units: 1.7 GB."""
    if value in (None, ""):
        return "—"
    size = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def state_kind(state: str) -> str:
    return _KIND_OF.get(state.lower().strip().replace(" ", "_").replace("-", "_"), "")


@register.filter
def state_word(state: Any) -> str:
    """A state in plain words: `verifying_erasure` is "re-scanning"."""
    name = str(state)
    return _WORDS.get(name.lower(), name.lower().replace("_", " ").replace("-", " "))


@register.filter
def state_tag(state: Any, word: str = "") -> SafeString:
    """The coloured tag of a state, always with its word; `word` replaces the usual one."""
    if state in (None, ""):
        return _NONE
    return tag(word or state_word(state), state_kind(str(state)))


@register.simple_tag
def tag(word: Any, kind: str = "") -> SafeString:
    """A tag with any word. `kind`: "", "live", "ok", "warn", "bad", "quiet"."""
    return format_html('<span class="tag {}">{}</span>', kind, word)


@register.simple_tag
def bar(full: int, light: int, most: int) -> SafeString:
    """A bar of two parts beside others of its kind; the longest, of `most`, fills its place. The
    figures stand in words beside it."""
    parts = [round(100 * part / most, 2) if most else 0 for part in (full, light)]
    return format_html(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="full" width="{}" height="8"/><rect class="light" x="{}" width="{}"'
        ' height="8"/></svg>',
        parts[0],
        parts[0],
        parts[1],
    )


@register.filter
def actor(value: Any, names: Mapping[str, str] | None = None) -> SafeString:
    """An actor by name. `names` maps the log's opaque strings ("user:7") to names."""
    text = str(value)
    known = (names or {}).get(text)
    fallback = re.sub(r"^user:(\d+)$", r"user \1", text)
    return format_html('<span class="actor" title="{}">{}</span>', text, known or fallback)


@register.filter
def resource(value: Any) -> SafeString:
    """A resource string in words: `dataset:shop:purchases` is "dataset shop / purchases"."""
    kind, _, rest = str(value).partition(":")
    if not rest:
        return format_html('<span class="resource">{}</span>', kind)
    return format_html(
        '<span class="resource" title="{}"><span class="kind">{}</span> {}</span>',
        value,
        kind,
        rest.replace(":", " / "),
    )


@register.filter
def in_log(log_id: int) -> str:
    """What an address ends with that speaks of an entry of this log: nothing for the main one."""
    name = log_name(log_id)
    return "" if log_id == MAIN.id else f"?log={name}"


@register.filter
def log_name(log_id: int) -> str:
    """The name of a log, also of one whose row is gone."""
    try:
        return log_of(log_id).name
    except LogUnknownError:
        return str(log_id)


@register.filter
def json(value: Any) -> str:
    """Indented JSON for a `<pre class="code">`; text that is JSON is parsed first."""
    if isinstance(value, (bytes, str)):
        value = json_module.loads(value)
    return json_module.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def fact(value: Any) -> str:
    """A fact of an event as people write it: a list with commas, what is nested as JSON."""
    if value in (None, "", [], {}):
        return _NONE
    if isinstance(value, bool):
        return yes_no(value)
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ", ".join(str(item) for item in value)
    if isinstance(value, (list, dict)):
        return json_module.dumps(value, ensure_ascii=False)
    return str(value)


@register.filter
def yes_no(value: Any) -> str:
    """Unknown is not No."""
    return "Not stated" if value is None else ("Yes" if value else "No")


@register.simple_tag(takes_context=True)
def nav_item(
    context: Context, label: str, url_name: str, permission: str = "", also: str = ""
) -> SafeString:
    """A main navigation entry, if the address exists and the user may open it.

    `also`: another address below which the entry counts as the current one.
    """
    request = context.get("request")
    user = getattr(request, "user", None)
    if permission and not can(user, permission):
        return SafeString("")
    try:
        url = reverse(url_name)
    except NoReverseMatch:
        return SafeString("")
    path = getattr(request, "path", "")
    here = path == url or (url != "/" and path.startswith(url))
    here = here or bool(also and path.startswith(also))
    return format_html(
        '<li><a href="{}"{}>{}</a></li>',
        url,
        SafeString(' aria-current="page"' if here else ""),
        label,
    )


@register.simple_tag(takes_context=True)
def theme(context: Context) -> SafeString:
    """The colours this browser chose by the switch; without a choice the system decides."""
    request = context.get("request")
    chosen = getattr(request, "COOKIES", {}).get("vestige_theme", "")
    known = {"light": ' data-theme="light"', "dark": ' data-theme="dark"'}
    return SafeString(known.get(chosen, ""))


@register.simple_tag
def vestige_version() -> str:
    return str(getattr(settings, "VESTIGE_VERSION", "0.1"))


@register.simple_tag
def diff_lines(before: Any, after: Any) -> SafeString:
    """Old and new text as a line diff; the signs say it without colour too."""
    kinds = {"-": ("del", "-"), "+": ("ins", "+"), " ": ("span", " ")}
    lines: Iterable[str] = ndiff(str(before).splitlines(), str(after).splitlines())
    return format_html_join(
        "",
        '<{0} class="line"><i>{1}</i>{2}</{0}>',
        ((*kinds[line[0]], line[2:]) for line in lines if line[0] in kinds),
    )
