"""What every page promises: it renders without help, and obeys the content security policy."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.template import Context, Template
from django.template.loader import get_template, render_to_string
from django.test import RequestFactory
from django.utils import timezone

from audit.templatetags import vestige

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
STATIC = TEMPLATES.parent / "static"
PAGES = sorted(p for p in TEMPLATES.rglob("*.html") if "pdf" not in p.parts)


def rendered(source: str, **facts: object) -> str:
    return Template(source).render(Context(facts))


@pytest.mark.parametrize("page", ["400.html", "403_csrf.html", "500.html"])
def test_the_last_error_pages_render_without_a_request(page: str) -> None:
    assert "<h1>" in get_template(page).render()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TEMPLATES)))
def test_a_page_carries_nothing_that_the_content_security_policy_refuses(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<[^>]*\sstyle\s*=", text), "an inline style"
    assert "<style" not in text
    assert not re.search(r"<[a-z][^>]*\son[a-z]+\s*=", text), "an inline event handler"
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", text), "inline script"
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text), "another host"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TEMPLATES)))
def test_every_static_file_that_a_page_names_exists(page: Path) -> None:
    for name in re.findall(r"""{% static ["']([^"']+)["']""", page.read_text()):
        assert finders.find(name), name


def test_every_file_that_the_stylesheet_names_exists() -> None:
    css = STATIC / "css" / "vestige.css"
    named = re.findall(r'url\("([^"]+)"\)', css.read_text())
    assert named
    assert [n for n in named if not (css.parent / n).resolve().is_file()] == []


def test_a_hash_is_shortened_and_copied_whole() -> None:
    digest = "6f2a0b7c" + "0" * 50 + "d91c4a"
    shown = rendered("{{ digest|hash }}", digest=digest)
    assert ">6f2a0b7c…d91c4a<" in shown
    assert f'data-copy="{digest}"' in shown
    assert rendered("{{ d|hash }}", d=bytes.fromhex(digest)) == shown


def test_values_from_outside_are_escaped() -> None:
    nasty = '"><script>alert(1)</script>'
    for name in ("hash", "copyable", "when", "day", "state_tag", "actor", "resource"):
        assert "<script" not in rendered("{{ v|" + name + " }}", v=nasty), name
    assert "<script" not in rendered("{% tag v %}{% diff_lines v v %}", v=nasty)


def test_a_moment_is_written_out_in_utc_whatever_its_zone() -> None:
    berlin = datetime.fromisoformat("2026-11-03T10:00:05.000001+01:00")
    shown = rendered("{{ t|when }}", t=berlin)
    assert ">3 Nov 2026, 09:00 UTC<" in shown
    assert 'datetime="2026-11-03T09:00:05.000001Z"' in shown
    assert "09:00:05 UTC" in rendered('{{ t|when:"second" }}', t="2026-11-03T09:00:05Z")
    assert "09:00:05.000001" in rendered('{{ t|when:"exact" }}', t=berlin)
    assert "—" in rendered("{{ t|when }}", t=None)


def test_a_day_takes_dates_moments_and_their_text() -> None:
    late = datetime(2026, 11, 3, 23, 30, tzinfo=UTC)
    for value in (date(2026, 11, 3), late, "2026-11-03", "2026-11-03T23:30:00Z"):
        assert ">3 Nov 2026<" in rendered("{{ d|day }}", d=value)


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (timedelta(minutes=-3), "3 minutes ago"),
        (timedelta(hours=-1, minutes=-1), "1 hour ago"),
        (timedelta(days=12, hours=1), "in 12 days"),
        (timedelta(), "just now"),
    ],
)
def test_distances_are_in_words(distance: timedelta, words: str) -> None:
    assert words in rendered("{{ t|ago }}", t=timezone.now() + distance)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1_700_000_000, "1.7 GB"), (712_400_000, "712 MB"), (None, "—")],
)
def test_sizes_are_decimal(size: int | None, words: str) -> None:
    assert rendered("{{ n|bytes }}", n=size) == words


def test_nothing_unknown_is_shown_in_green() -> None:
    assert vestige.state_kind("completed") == "ok"
    assert vestige.state_kind("verifying_erasure") == "live"
    assert vestige.state_kind("a state nobody defined") == ""
    assert vestige.state_kind("unverified") == "warn"
    assert "re-scanning" in rendered("{{ s|state_tag }}", s="verifying_erasure")
    assert rendered("{{ f|yes_no }}", f=None) == "Not stated"


def test_a_state_has_one_kind_only() -> None:
    names = [n for states in vestige._KINDS.values() for n in states.split()]
    assert len(names) == len(set(names))


def test_an_actor_is_shown_by_name_and_falls_back_to_the_log_text() -> None:
    assert ">Dana Ruiz<" in rendered("{{ a|actor:n }}", a="user:7", n={"user:7": "Dana Ruiz"})
    assert ">user 7<" in rendered("{{ a|actor }}", a="user:7")


def test_a_diff_marks_what_went_and_what_came() -> None:
    shown = rendered("{% diff_lines a b %}", a="same\nold", b="same\nnew")
    assert '<del class="line"><i>-</i>old</del>' in shown
    assert '<ins class="line"><i>+</i>new</ins>' in shown


def test_a_page_without_a_user_shows_no_permission() -> None:
    assert vestige.can("", "log.read") is False
    assert vestige.can(None, "log.read") is False


@pytest.mark.parametrize(
    ("cookie", "attribute"), [("dark", ' data-theme="dark"'), ('"><script>', ""), ("", "")]
)
def test_only_a_known_theme_reaches_the_page(cookie: str, attribute: str) -> None:
    request = RequestFactory().get("/")
    request.COOKIES["vestige_theme"] = cookie
    assert rendered("{% theme %}", request=request) == attribute


def test_the_integrity_strip_says_how_many_of_how_many() -> None:
    shown = render_to_string(
        "components/integrity.html",
        {"kind": "warn", "word": "partial", "verified": 40_000, "total": 48_211, "facts": []},
    )
    assert "40,000 of 48,211" in shown
    assert 'class="tag warn"' in shown
    assert "never checked" in shown
