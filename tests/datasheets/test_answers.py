"""Answering, confirming, going stale: what a reader of the document sees of it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from audit.queries import event_of
from connectors.models import Connector
from datasheets.actions import (
    AnswersRefusedError,
    Given,
    answer_question,
    answer_questions,
    confirm_answer,
    open_sheet,
)
from datasheets.models import Answer, Sheet
from datasheets.queries.sheets import Entry, Status, sheet_view
from datasheets.tasks import measure_due_profiles
from datasheets.values import answer_digest
from lineage.actions import sync_connector
from tests.builders import sequenced
from tests.compliance.builders import purchases
from tests.datasheets.builders import Company


@pytest.fixture
def sheet(northgate: Company, data_owner: User) -> Sheet:
    return open_sheet(northgate.purchases, by=data_owner)


def entry(sheet: Sheet, question: str) -> Entry:
    return sheet_view(sheet.dataset).entries[question]


def status(sheet: Sheet, question: str) -> Status:
    return entry(sheet, question).status


PURPOSE = "ds.motivation.purpose"
INSTANCES = "ds.composition.instances_represent"
MISSING = "ds.composition.missing_information"


def test_what_nobody_answered_is_not_stated(sheet: Sheet) -> None:
    assert status(sheet, PURPOSE) == Status.UNANSWERED
    assert sheet_view(sheet.dataset).guide.purpose is None


def test_an_answer_is_shown_as_answered_until_it_is_confirmed(
    sheet: Sheet, data_owner: User, dpo: User
) -> None:
    answer_question(sheet, PURPOSE, "Sales reports", by=data_owner)
    assert status(sheet, PURPOSE) == Status.ANSWERED

    confirm_answer(sheet, PURPOSE, by=dpo)

    found = entry(sheet, PURPOSE)
    assert found.status == Status.CONFIRMED
    assert found.answer
    assert found.answer.author == data_owner
    assert found.answer.confirmed_by == dpo


def test_counts_are_measured_and_a_persons_number_does_not_overwrite_them(
    sheet: Sheet, data_owner: User
) -> None:
    answer_question(sheet, "ds.composition.instance_count", "1000000", by=data_owner)
    found = entry(sheet, "ds.composition.instance_count")
    assert (found.status, found.value) == (Status.MEASURED, {"rows": 9})
    assert sheet_view(sheet.dataset).guide.instance_count == 9


def test_a_computed_draft_counts_only_after_a_person_confirmed_it(
    sheet: Sheet, data_owner: User
) -> None:
    before = sheet_view(sheet.dataset).completeness
    assert status(sheet, INSTANCES) == Status.DRAFT

    confirm_answer(sheet, INSTANCES, by=data_owner)

    assert status(sheet, INSTANCES) == Status.CONFIRMED
    assert "customer\\_id" in entry(sheet, INSTANCES).value
    assert sheet_view(sheet.dataset).completeness.done == before.done + 3


def test_a_confirmed_answer_is_stale_when_the_schema_it_rests_on_has_changed(
    sheet: Sheet, northgate: Company, data_owner: User
) -> None:
    answer_question(sheet, INSTANCES, "Purchases", "confirmed", by=data_owner)
    done = sheet_view(sheet.dataset).completeness.done

    wider = purchases(4).with_columns(purchases(4)["amount"].alias("tax"))
    wider.write_delta(
        str(northgate.table), mode="append", delta_write_options={"schema_mode": "merge"}
    )
    sync_connector(Connector.objects.get(), by=data_owner)

    found = entry(sheet, INSTANCES)
    assert found.status == Status.STALE
    assert "changed" in found.stale_because
    assert sheet_view(sheet.dataset).completeness.done == done - 3


def test_a_new_version_with_the_same_columns_leaves_the_answer_standing(
    sheet: Sheet, northgate: Company, data_owner: User
) -> None:
    answer_question(sheet, INSTANCES, "Purchases", "confirmed", by=data_owner)
    purchases(4).write_delta(str(northgate.table), mode="append")
    sync_connector(Connector.objects.get(), by=data_owner)
    assert entry(sheet, "ds.composition.instance_count").value == {"rows": 12}
    assert status(sheet, INSTANCES) == Status.CONFIRMED


def test_a_stale_answer_stands_again_after_somebody_looked_and_confirmed(
    sheet: Sheet, data_owner: User, dpo: User
) -> None:
    answer_question(sheet, MISSING, {"answer": False, "text": ""}, "confirmed", by=data_owner)
    assert measure_due_profiles() == 1
    assert "for the first time" in entry(sheet, MISSING).stale_because

    confirm_answer(sheet, MISSING, by=dpo)

    assert status(sheet, MISSING) == Status.CONFIRMED


def test_what_rests_on_peoples_knowledge_is_due_for_review_after_a_year(
    sheet: Sheet, data_owner: User
) -> None:
    answer_question(sheet, PURPOSE, "Sales reports", "confirmed", by=data_owner)
    long_ago = timezone.now() - timedelta(days=366)
    Answer.objects.update(answered_at=long_ago, confirmed_at=long_ago)
    assert status(sheet, PURPOSE) == Status.STALE


def test_unknown_needs_a_reason_and_never_counts_as_answered(
    sheet: Sheet, data_owner: User
) -> None:
    with pytest.raises(AnswersRefusedError, match="needs a reason"):
        answer_question(sheet, PURPOSE, None, "unknown", by=data_owner)
    before = sheet_view(sheet.dataset).completeness

    answer_question(sheet, PURPOSE, None, "unknown", by=data_owner, reason="The founders left.")

    after = sheet_view(sheet.dataset).completeness
    assert (after.done, after.weight) == (before.done, before.weight)
    assert sheet_view(sheet.dataset).guide.purpose is None


def test_not_applicable_counts_as_done(sheet: Sheet, data_owner: User) -> None:
    before = sheet_view(sheet.dataset).completeness.done
    answer_question(
        sheet, "ds.motivation.funding", None, "not_applicable", by=data_owner, reason="No grant."
    )
    assert sheet_view(sheet.dataset).completeness.done == before + 1


def test_questions_about_people_stay_while_a_column_identifies_them(
    sheet: Sheet, data_owner: User
) -> None:
    answer_question(sheet, "dsx.gate.relates_to_people", value=False, by=data_owner)
    assert entry(sheet, "ds.collection.consent").applies

    override = {"answer": False, "text": "All customers are companies."}
    answer_question(sheet, "dsx.gate.relates_to_people", override, by=data_owner)
    assert not entry(sheet, "ds.collection.consent").applies


def test_one_wrong_answer_means_that_none_is_saved(sheet: Sheet, data_owner: User) -> None:
    given = {
        PURPOSE: Given("Sales"),
        "ds.motivation.nothing": Given("x"),
        "ds.collection.consent": Given({"answer": "perhaps", "text": ""}),
    }
    with pytest.raises(AnswersRefusedError) as refused:
        answer_questions(sheet, given, by=data_owner)
    assert [f.question_id for f in refused.value.faults] == [
        "ds.motivation.nothing", "ds.collection.consent",
    ]  # fmt: skip
    assert not Answer.objects.exists()


def test_an_answer_without_anything_in_it_withdraws_the_earlier_one(
    sheet: Sheet, data_owner: User
) -> None:
    answer_question(sheet, PURPOSE, "Sales", by=data_owner)
    answer_questions(sheet, {PURPOSE: Given()}, by=data_owner)
    assert status(sheet, PURPOSE) == Status.UNANSWERED
    assert sequenced()[-1].type == "datasheet.answer_withdrawn"


def test_the_log_holds_the_answers_digest_and_not_its_text(sheet: Sheet, data_owner: User) -> None:
    answer_question(sheet, PURPOSE, "A most remarkable purpose", by=data_owner)
    event = event_of(sequenced()[-1])
    assert event["type"] == "datasheet.answered"
    assert "remarkable" not in str(event)
    saved = Answer.objects.get()
    recomputed = answer_digest(
        question_id=PURPOSE, state="answered", value="A most remarkable purpose", reason="",
        salt=saved.salt,
    )  # fmt: skip
    assert event["details"]["answers"] == [
        {"question": PURPOSE, "state": "answered", "sha256": recomputed}
    ]


def test_a_model_card_counts_the_erasures_and_notices_that_its_data_led_to(
    northgate: Company,
) -> None:
    card = sheet_view(northgate.model)
    facts = dict(card.entries["mc.training_data.personal_data"].value["rows"])
    assert facts["Datasets upstream with personal data"] == 1
    assert facts["Retraining notices, any version: open"] == 0
    assert card.entries["mc.quantitative.unitary"].value["rows"] == [
        ["brier", "0.21"], ["roc_auc", "0.75"],
    ]  # fmt: skip
    assert card.entries["mc.evaluation_data.datasets"].status == Status.UNANSWERED


def test_raw_data_are_not_said_to_be_there_when_no_store_shows_it(sheet: Sheet) -> None:
    raw = entry(sheet, "ds.preprocessing.raw_saved")
    assert raw.status == Status.DRAFT
    assert sheet_view(sheet.dataset).guide.raw_data_available is None


def test_every_value_names_the_evidence_that_it_rests_on(sheet: Sheet) -> None:
    sequenced()
    for found in sheet_view(sheet.dataset).entries.values():
        if found.finding and found.question.id != "ds.uses.repository_of_uses":
            assert found.finding.evidence, found.question.id
    count = entry(sheet, "ds.composition.instance_count").finding
    assert count
    assert count.evidence[0].seq is not None


def test_a_dataset_that_was_only_mentioned_has_a_datasheet_that_claims_nothing(
    northgate: Company,
) -> None:
    from lineage.models import Dataset

    mentioned = Dataset.objects.get(name="export.txt")
    view = sheet_view(mentioned)
    assert view.guide.instance_count is None
    assert view.completeness.percent < 20
