"""After an erasure, for real, the documents of the data and of its model say so."""

from pathlib import Path

import pytest

from accounts.models import User
from datasheets.actions import confirm_answer, open_sheet
from datasheets.queries.sheets import Status, sheet_view
from tests.compliance.builders import erased, team
from tests.datasheets.builders import Company, company


@pytest.fixture
def after(tmp_path: Path, pipeline: User, model_owner: User) -> Company:
    found = company(tmp_path, pipeline, model_owner)
    confirm_answer(
        open_sheet(found.purchases, by=model_owner),
        "ds.composition.instances_represent",
        by=model_owner,
    )
    request = erased(team())
    assert request.erased_at, request.reason
    return found


def test_the_datasheet_lists_the_erasure_and_the_versions_that_went(after: Company) -> None:
    view = sheet_view(after.purchases)

    deletions = view.entries["dsx.subjects.deletions"]
    ((reference, _, rows, versions),) = deletions.value["rows"]
    assert (reference[:2], rows, versions) == ("R-", 3, 3)
    assert view.entries["ds.composition.instance_count"].value == {"rows": 6}
    assert "Version 2 purged" in "".join(view.entries["ds.maintenance.erratum"].value)
    assert view.entries["ds.preprocessing.steps"].status == Status.MEASURED


def test_an_erasure_does_not_make_an_answer_about_the_columns_stale(after: Company) -> None:
    entries = sheet_view(after.purchases).entries
    assert entries["ds.composition.instances_represent"].status == Status.CONFIRMED


def test_the_model_card_says_that_a_retraining_is_open(after: Company) -> None:
    card = sheet_view(after.model)
    facts = dict(card.entries["mc.training_data.personal_data"].value["rows"])
    assert facts["Erasures upstream, scanned clean"] == 1
    assert facts["… since this version was made"] == 1
    assert facts["Retraining notices, any version: open"] == 1
    ((name, version, _, _, kept),) = card.entries["mc.training_data.datasets"].value["rows"]
    assert (name, version) == ("purchases", "2")
    assert kept.startswith("purged on")
