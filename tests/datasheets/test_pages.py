"""The pages: what each role sees and does on them."""

import re
from html import unescape

import pytest
from django.test import Client

from accounts.models import User
from datasheets.actions import answer_question, open_sheet
from datasheets.models import Answer, Profile
from datasheets.tasks import measure_due_profiles
from tests.builders import sequenced
from tests.datasheets.builders import Company


@pytest.fixture
def page(northgate: Company) -> str:
    return f"/datasets/{northgate.purchases.pk}/datasheet/"


def text_of(html: bytes) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.decode())).split())


def test_an_auditor_reads_the_datasheet_and_finds_no_button_that_changes_it(
    browser: Client, auditor: User, page: str
) -> None:
    sequenced()
    browser.force_login(auditor)
    answer = browser.get(page)
    said = text_of(answer.content)
    assert "Datasheet of purchases" in said
    assert "9 rows Measured purchases, version 2, entry" in said
    assert "Computed, not confirmed by anybody" in said
    assert "/confirm/" not in answer.content.decode()
    assert "/edit/" not in answer.content.decode()


def test_a_model_has_a_card(browser: Client, auditor: User, northgate: Company) -> None:
    browser.force_login(auditor)
    said = text_of(browser.get(f"/models/{northgate.model.pk}/card/").content)
    assert "Model card of again" in said
    assert "roc_auc 0.75" in said
    assert browser.get(f"/datasets/{northgate.model.pk}/datasheet/").status_code == 404


def test_nobody_reads_it_without_signing_in(browser: Client, page: str) -> None:
    assert browser.get(page).status_code == 302
    assert browser.get(f"{page}file.pdf").status_code == 302


def test_an_owner_answers_a_section(browser: Client, data_owner: User, page: str) -> None:
    browser.force_login(data_owner)
    form = browser.get(f"{page}edit/motivation/")
    assert "For what purpose was the dataset created?" in text_of(form.content)

    answer = browser.post(
        f"{page}edit/motivation/",
        {
            "ds.motivation.purpose:text": "Sales *reports*",
            "ds.motivation.purpose:state": "confirmed",
            "ds.motivation.creators:text": "Team A\nTeam B",
            "ds.motivation.creators:state": "answered",
            "ds.motivation.funding:text": "Nobody wrote it down.",
            "ds.motivation.funding:state": "unknown",
        },
    )

    assert answer.status_code == 302
    saved = {a.question_id: a for a in Answer.objects.all()}
    assert saved["ds.motivation.purpose"].state == "confirmed"
    assert saved["ds.motivation.creators"].value == ["Team A", "Team B"]
    assert saved["ds.motivation.funding"].reason == "Nobody wrote it down."
    assert set(saved) == {
        "ds.motivation.purpose", "ds.motivation.creators", "ds.motivation.funding",
    }  # fmt: skip
    assert "<em>reports</em>" in browser.get(page).content.decode()


def test_saving_a_form_unchanged_changes_nothing(
    browser: Client, data_owner: User, dpo: User, northgate: Company, page: str
) -> None:
    sheet = open_sheet(northgate.purchases, by=dpo)
    given = answer_question(sheet, "ds.motivation.purpose", "Sales", by=dpo)
    browser.force_login(data_owner)
    browser.post(
        f"{page}edit/motivation/",
        {
            "ds.motivation.purpose:text": "Sales",
            "ds.motivation.purpose:state": "answered",
            "ds.motivation.purpose:seen": given.digest,
        },
    )
    assert Answer.objects.get().author == dpo


def test_an_answer_that_somebody_changed_meanwhile_is_not_overwritten(
    browser: Client, data_owner: User, dpo: User, northgate: Company, page: str
) -> None:
    sheet = open_sheet(northgate.purchases, by=dpo)
    answer_question(sheet, "ds.motivation.purpose", "The DPO's words", by=dpo)
    browser.force_login(data_owner)
    answer = browser.post(
        f"{page}edit/motivation/",
        {
            "ds.motivation.purpose:text": "Mine",
            "ds.motivation.purpose:state": "answered",
            "ds.motivation.purpose:seen": "",
        },
    )
    assert answer.status_code == 422
    assert "Somebody else has answered this meanwhile" in text_of(answer.content)
    assert Answer.objects.get().value == "The DPO's words"


def test_a_reason_is_asked_for_where_the_form_says_unknown(
    browser: Client, data_owner: User, page: str
) -> None:
    browser.force_login(data_owner)
    answer = browser.post(f"{page}edit/motivation/", {"ds.motivation.purpose:state": "unknown"})
    assert answer.status_code == 422
    assert "needs a reason" in text_of(answer.content)
    assert not Answer.objects.exists()


def test_a_computed_draft_is_confirmed_with_one_button(
    browser: Client, data_owner: User, page: str
) -> None:
    browser.force_login(data_owner)
    question = "ds.composition.identify_individuals"
    browser.post(f"{page}confirm/", {"question": question})
    saved = Answer.objects.get()
    assert (saved.question_id, saved.state, (saved.value or {})["answer"]) == (
        question,
        "confirmed",
        True,
    )


def test_who_may_not_edit_cannot_confirm_either(browser: Client, auditor: User, page: str) -> None:
    browser.force_login(auditor)
    answer = browser.post(f"{page}confirm/", {"question": "ds.composition.identify_individuals"})
    assert answer.status_code == 403
    assert not Answer.objects.exists()


def test_a_hostile_answer_stays_text_on_the_page(
    browser: Client, data_owner: User, northgate: Company, page: str
) -> None:
    hostile = (
        '<script>alert(1)</script> [x](javascript:alert(1)) <a rel="attachment" '
        'href="file:///etc/hostname">y</a> ![z](http://evil.example/z.png)'
    )
    sheet = open_sheet(northgate.purchases, by=data_owner)
    answer_question(sheet, "ds.motivation.purpose", hostile, by=data_owner)
    browser.force_login(data_owner)
    html = browser.get(page).content.decode()
    assert "<script>alert" not in html
    assert 'href="javascript' not in html
    assert '<a rel="attachment' not in html
    assert "<img" not in html[html.index("<main") :]


def test_measuring_is_asked_for_on_the_page_and_done_in_the_background(
    browser: Client, data_owner: User, page: str
) -> None:
    browser.force_login(data_owner)
    browser.post(f"{page}measure/")
    assert Profile.objects.get().state == "due"
    assert "waits to be read" in text_of(browser.get(page).content)

    assert measure_due_profiles() == 1

    said = text_of(browser.get(page).content)
    assert "No empty value in 9 rows of 4 columns." in said
    assert "0 rows of 9 (0%) repeat another row exactly." in said


def test_a_store_that_is_gone_fails_the_profile_visibly(
    browser: Client, data_owner: User, northgate: Company, page: str
) -> None:
    northgate.table.rename(northgate.table.with_name("elsewhere"))
    browser.force_login(data_owner)
    browser.post(f"{page}measure/")
    for _ in range(3):
        measure_due_profiles()
    assert Profile.objects.get().state == "failed"
    assert "The store could not be read" in text_of(browser.get(page).content)


@pytest.mark.parametrize(
    ("ending", "mime"),
    [("pdf", "application/pdf"), ("md", "text/markdown"), ("json", "application/json")],
)
def test_each_file_can_be_taken_away_and_that_is_recorded(
    browser: Client, auditor: User, page: str, ending: str, mime: str
) -> None:
    browser.force_login(auditor)
    answer = browser.get(f"{page}file.{ending}")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith(mime)
    assert f'filename="datasheet-purchases.{ending}"' in answer["Content-Disposition"]
    assert sequenced()[-1].type == "datasheet.exported"
