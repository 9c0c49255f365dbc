"""Texts of people and of machines, on pages and in documents."""

import pytest

from datasheets.catalog import DATASHEET, catalogue
from datasheets.markup import as_html
from datasheets.values import AnswerError, as_markdown, parsed

QUESTIONS = catalogue(DATASHEET).questions


def test_markdown_of_an_answer_becomes_html() -> None:
    html = as_html("**Sales** and\n\n- one\n- two\n\n[terms](https://shop.example/terms)")
    assert "<strong>Sales</strong>" in html
    assert "<li>one</li>" in html
    assert 'href="https://shop.example/terms"' in html


def test_html_in_an_answer_is_shown_as_text() -> None:
    assert as_html("a <b>bold</b> claim") == "<p>a &lt;b&gt;bold&lt;/b&gt; claim</p>\n"


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "file:///etc/hostname", "data:text/html,x", "JaVaScRiPt:x"]
)
def test_a_link_leads_nowhere_but_to_the_web_and_to_mail(link: str) -> None:
    assert "href" not in as_html(f"[click]({link})")


def test_an_answer_makes_no_heading() -> None:
    assert "<h1" not in as_html("# Approved\n\ntext\n===")


def test_names_from_a_pipeline_are_shown_as_they_are() -> None:
    hostile = "a_b*c <i>&lt; | # [x](y) `z`\n1. no list"
    table = {"columns": ["Column"], "rows": [[hostile], ["- plain"]]}
    html = as_html(as_markdown(table, plain=True))
    assert "a_b*c &lt;i&gt;&amp;lt; | # [x](y) `z` 1. no list" in html
    assert html.count("<td>") == 2
    html = as_html(as_markdown([hostile], plain=True))
    assert html.count("<li>") == 1
    assert "<a " not in html


def test_numbers_of_a_table_stand_right_and_words_do_not() -> None:
    table = {"columns": ["Name", "Rows", "Note"], "rows": [["x", 12345, None], ["y", 2, "z"]]}
    html = as_html(as_markdown(table, plain=True))
    assert '<td class="num">12,345</td>' in html
    assert "<td>x</td>" in html


@pytest.mark.parametrize(
    ("question", "given", "stored"),
    [
        ("ds.motivation.purpose", " Sales\r\n", "Sales"),
        ("ds.uses.other_tasks", "one", ["one"]),
        ("ds.uses.other_tasks", ["one", " ", "two"], ["one", "two"]),
        ("ds.composition.labels", True, {"answer": True, "text": ""}),
        ("ds.composition.labels", "The last column", {"answer": None, "text": "The last column"}),
        ("ds.collection.consent", "some", {"answer": "some", "text": ""}),
        ("ds.collection.consent", "By form", {"answer": None, "text": "By form"}),
    ],
)
def test_an_answer_is_taken_in_the_plainest_form(
    question: str, given: object, stored: object
) -> None:
    assert parsed(QUESTIONS[question], given) == stored


@pytest.mark.parametrize(
    ("question", "given"),
    [
        ("ds.motivation.purpose", {"answer": True, "text": ""}),
        ("ds.uses.other_tasks", [1]),
        ("ds.uses.other_tasks", ["x"] * 501),
        ("ds.composition.labels", {"answer": "yes", "text": ""}),
        ("ds.composition.labels", {"yes": True}),
        ("ds.collection.consent", {"answer": True, "text": ""}),
        ("ds.motivation.purpose", ""),
    ],
)
def test_an_answer_of_another_shape_is_refused_by_its_question(
    question: str, given: object
) -> None:
    with pytest.raises(AnswerError) as refused:
        parsed(QUESTIONS[question], given)
    assert str(refused.value).startswith(f"{question}: ")


def test_both_catalogues_hold_every_question_once_and_in_a_section() -> None:
    for kind, own in (("datasheet", 57), ("model_card", 48)):
        found = catalogue(kind)
        numbers = [q.number for q in found.questions.values() if q.number]
        assert numbers == list(range(1, own + 1))
        keys = {section.key for section in found.sections}
        assert {q.section for q in found.questions.values()} == keys
    assert set(catalogue(DATASHEET).guide_fields.values()) <= set(QUESTIONS)
