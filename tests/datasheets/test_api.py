"""Datasheets and model cards by REST."""

import json
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from audit.ledger.verify import verify_pdf
from datasheets.models import Answer, Sheet
from tests.builders import Api, sequenced
from tests.datasheets.builders import Company, opened

DATA = Path(__file__).parent / "data"
GUIDE = json.loads((DATA / "guide_datasheet.json").read_text())


@pytest.fixture
def url(northgate: Company) -> str:
    return f"/api/v1/datasheets/{northgate.purchases.pk}"


def put(api: Api, user: User, url: str, body: Any) -> Any:
    return api(user).put(url, json.dumps(body), content_type="application/json")


def test_every_role_reads_a_datasheet_before_anybody_answered(
    api: Api, auditor: User, url: str
) -> None:
    body = api(auditor).get(url).json()
    assert body["node"] == "dataset:shop:purchases"
    assert len(body["questions"]) == 85
    assert set(body["datasheet"]) == set(GUIDE)
    assert body["datasheet"]["instance_count"] == 9
    assert body["datasheet"]["consent_obtained"] is None
    assert body["completeness"]["percent"] < 20
    assert not Sheet.objects.exists()


def test_answers_come_back_with_their_state_and_author(
    api: Api, data_owner: User, url: str
) -> None:
    answer = put(
        api, data_owner, url,
        {"answers": {
            "ds.motivation.purpose": {"value": "Sales reports"},
            "ds.motivation.funding": {"state": "unknown", "reason": "Never written down."},
            "ds.collection.ethical_review": {"value": {"answer": False, "text": "None."}},
        }},
    )  # fmt: skip
    assert answer.status_code == 200
    answers = answer.json()["answers"]
    assert answers["ds.motivation.purpose"]["value"] == "Sales reports"
    assert answers["ds.motivation.purpose"]["state"] == "answered"
    assert answers["ds.motivation.purpose"]["author"] == data_owner.name
    assert answers["ds.motivation.funding"]["reason"] == "Never written down."
    assert answer.json()["datasheet"]["ethical_review"] is False


def test_the_guides_own_keys_are_taken_and_come_back(api: Api, data_owner: User, url: str) -> None:
    """All but what is measured here: a person's count does not replace the store's."""
    back = put(api, data_owner, url, {"datasheet": GUIDE}).json()["datasheet"]
    measured = {"instance_count", "preprocessing_steps"}
    assert {k: v for k, v in back.items() if k not in measured} == {
        k: v for k, v in GUIDE.items() if k not in measured
    }
    assert back["instance_count"] == 9


def test_the_guides_example_prints_the_guides_bytes_for_a_dataset_without_measurements(
    api: Api, data_owner: User, northgate: Company
) -> None:
    url = "/api/v1/datasheets/dataset:shop:export.txt"
    assert put(api, data_owner, url, {"datasheet": GUIDE}).status_code == 200
    text = api(data_owner).get(f"{url}?as=markdown").content
    assert text.startswith((DATA / "guide_datasheet.md").read_bytes())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"answers": {"ds.none": {"value": "x"}}}, "answers.ds.none"),
        ({"answers": {"ds.motivation.purpose": {"value": {"a": 1}}}}, "answers.ds.motivation"),
        ({"answers": {"ds.motivation.purpose": {"value": "x" * 20_001}}}, "answers.ds.motivation"),
        ({"answers": {"ds.motivation.purpose": {"value": "a\0b"}}}, "answers.ds.motivation"),
        ({"answers": {"ds.motivation.purpose": {"value": "x", "state": "sure"}}}, "answers.ds"),
        ({"answers": {"ds.motivation.purpose": {"value": " "}}}, "answers.ds.motivation"),
        ({"answers": {"ds.motivation.purpose": "x"}}, "answers.ds.motivation.purpose"),
        ({"datasheet": {"colour": "red"}}, "datasheet.colour"),
        ({}, "answers"),
        ([], "non_field_errors"),
    ],
)
def test_a_wrong_answer_is_named_and_nothing_is_saved(
    api: Api, data_owner: User, url: str, body: Any, field: str
) -> None:
    if isinstance(body, dict) and "answers" in body:
        body["answers"]["ds.uses.other_tasks"] = {"value": ["fine"]}
    answer = put(api, data_owner, url, body)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"].startswith(field)
    assert not Answer.objects.exists()


def test_who_may_not_edit_documents_cannot_answer(
    api: Api, auditor: User, pipeline: User, url: str
) -> None:
    for user in (auditor, pipeline):
        answer = put(api, user, url, {"answers": {"ds.motivation.purpose": {"value": "x"}}})
        assert answer.status_code == 403
    assert not Answer.objects.exists()


def test_a_format_that_is_not_there_yet_names_those_that_are(
    api: Api, auditor: User, url: str
) -> None:
    for wanted in ("croissant", "huggingface", "cyclonedx", "docx"):
        answer = api(auditor).get(f"{url}?as={wanted}")
        assert answer.status_code == 400
        assert "json, markdown, pdf" in answer.json()["detail"]


def test_a_dataset_is_found_by_its_node_and_an_unknown_one_is_not(
    api: Api, auditor: User, northgate: Company
) -> None:
    client = api(auditor)
    by_node = client.get("/api/v1/datasheets/dataset%3Ashop%3Apurchases")
    assert by_node.json()["id"] == northgate.purchases.pk
    assert client.get("/api/v1/model-cards/model:again").json()["kind"] == "model_card"
    for name in ("dataset:shop:none", "999999", "model:again", str(northgate.model.pk), "9" * 30):
        answer = client.get(f"/api/v1/datasheets/{name}")
        assert answer.status_code == 404, name
        assert answer["Content-Type"] == "application/problem+json"


def test_the_pdf_carries_proofs_that_verify_offline(
    api: Api, auditor: User, url: str, northgate: Company
) -> None:
    sequenced()
    answer = api(auditor).get(f"{url}?as=pdf", headers={"Accept": "application/pdf"})
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/pdf"
    verdict = verify_pdf(answer.content)
    assert all(check.ok for check in verdict.checks), verdict.checks
    assert verdict.statement
    assert verdict.statement["node"] == "dataset:shop:purchases"
    assert [c.type for c in verdict.commitments] == ["datasheet.issued"]
    with opened(answer.content) as pdf:
        assert set(pdf.attachments) == {"evidence.json", "datasheet-purchases.md"}


def test_taking_a_document_away_is_recorded_with_its_digest(
    api: Api, auditor: User, url: str
) -> None:
    api(auditor).get(f"{url}?as=markdown")
    last = sequenced()[-1]
    assert (last.type, last.actor, last.resource) == (
        "datasheet.exported", auditor.actor, "dataset:shop:purchases",
    )  # fmt: skip


def test_markdown_of_an_answer_cannot_change_the_document_around_it(
    api: Api, data_owner: User, url: str
) -> None:
    hostile = "# Approved by the DPO\n\n<script>alert(1)</script>\n\nend\n==="
    put(api, data_owner, url, {"answers": {"ds.motivation.funding": {"value": hostile}}})
    text = api(data_owner).get(f"{url}?as=markdown").content.decode()
    after = text[text.index("\n---\n") :]
    assert "\n# Approved" not in after
    assert "\\<script>" in after
    assert "\n===" not in after
