"""Datasets, models and versions by REST, and what owners decide about models."""

from datetime import timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from accounts.roles import Role
from lineage.actions import (
    ModelRetiredError,
    NotAModelError,
    describe,
    put_model_in_use,
    register_version,
    retire_model_version,
    set_owner,
)
from lineage.models import Dataset, Version
from lineage.queries import downstream_models
from tests import builders
from tests.builders import Api, sequenced
from tests.lineage.builders import START, dataset, run_event, take_in


@pytest.fixture
def churn(pipeline: User) -> Dataset:
    for number in (1, 2):
        take_in(
            run_event(
                "train", f"t{number}", minutes=number, inputs=[dataset("features", str(number))],
                outputs=[dataset("churn", str(number), model=True)],
                run_facets={"vestige_metrics": {"metrics": {"auc": 0.7 + number / 100}}},
            ),
            pipeline,
        )  # fmt: skip
    return Dataset.objects.get(kind="model")


@pytest.mark.usefixtures("churn")
def test_datasets_and_models_are_listed_apart_and_filtered(auditor: User, api: Api) -> None:
    client = api(auditor)

    datasets = client.get("/api/v1/datasets").json()
    assert [d["node"] for d in datasets["results"]] == ["dataset:s3://lake:features"]
    assert datasets["results"][0]["versions"] == 2
    models = client.get("/api/v1/models", {"name": "churn"}).json()["results"]
    assert [(m["node"], m["latest_version"], m["in_use"]) for m in models] == [
        ("model:churn", "2", False)
    ]
    assert client.get("/api/v1/models", {"name": "chur"}).json()["results"] == []
    assert client.get("/api/v1/datasets", {"q": "feat"}).json()["results"] != []
    assert client.get("/api/v1/datasets", {"namespace": "else"}).json()["results"] == []


def test_versions_say_what_they_are_and_where_they_come_from(
    churn: Dataset, auditor: User, api: Api
) -> None:
    client = api(auditor)

    versions = client.get(f"/api/v1/models/{churn.pk}/versions").json()["results"]
    assert [(v["version"], v["metrics"], v["trained_on"]) for v in versions] == [
        ("2", {"auc": 0.72}, ["dataset:s3://lake:features@2"]),
        ("1", {"auc": 0.71}, ["dataset:s3://lake:features@1"]),
    ]
    assert versions[0]["produced_by"]["job"] == "job:shop:train"
    features = Dataset.objects.get(kind="dataset")
    found = client.get(f"/api/v1/datasets/{features.pk}/versions").json()["results"]
    assert [v["node"] for v in found] == [
        "dataset:s3://lake:features@2", "dataset:s3://lake:features@1",
    ]  # fmt: skip
    assert client.get(f"/api/v1/datasets/{churn.pk}").status_code == 404
    assert client.get("/api/v1/datasets/9999").status_code == 404


def test_a_page_of_many_model_versions_needs_few_queries(
    pipeline: User, auditor: User, api: Api,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    data = register_version(namespace="s3://lake", name="features", version="1", by=pipeline)
    for number in range(40):
        register_version(
            kind="model", namespace="models", name="m", version=str(number), by=pipeline,
            made_from=[data], created_at=START + timedelta(minutes=number),
        )  # fmt: skip
    client = api(auditor)
    model = Dataset.objects.get(kind="model")

    with django_assert_max_num_queries(12):
        found = client.get(f"/api/v1/models/{model.pk}/versions").json()["results"]

    assert len(found) == 40
    assert found[0]["trained_on"] == ["dataset:s3://lake:features@1"]


def test_a_model_owner_puts_versions_in_use_and_retires_them(
    churn: Dataset, model_owner: User, api: Api
) -> None:
    client = api(model_owner)
    path = f"/api/v1/models/{churn.pk}/versions/1"

    used = client.post(f"{path}/use")
    assert used.status_code == 200
    assert used.json()["in_use"] is True
    assert client.post(f"{path}/use").status_code == 200
    retired = client.post(f"{path}/retire").json()
    assert (retired["in_use"], retired["retired_at"] is None) == (False, False)
    again = client.post(f"{path}/use")
    assert again.status_code == 409
    assert "was retired" in again.json()["detail"]
    assert client.post(f"/api/v1/models/{churn.pk}/versions/9/use").status_code == 404
    decided = [e for e in sequenced() if e.type.startswith("model.")]
    assert [(e.type, e.resource_version, e.by) for e in decided] == [
        ("model.put_in_use", "1", model_owner.actor),
        ("model.retired", "1", model_owner.actor),
    ]


def test_nobody_else_decides_about_a_model(
    churn: Dataset, model_owner: User, auditor: User, pipeline: User, api: Api
) -> None:
    path = f"/api/v1/models/{churn.pk}/versions/1/use"
    set_owner(churn, model_owner, by=model_owner)

    other = builders.user(Role.MODEL_OWNER)
    assert api(other).post(path).status_code == 403
    assert api(auditor).post(path).status_code == 403
    assert api(pipeline).post(path).status_code == 403
    assert api(model_owner).post(path).status_code == 200


def test_data_is_not_put_in_use(churn: Dataset, model_owner: User) -> None:
    features = Version.objects.get(dataset__kind="dataset", version="1")
    with pytest.raises(NotAModelError):
        put_model_in_use(features, by=model_owner)
    with pytest.raises(NotAModelError):
        retire_model_version(features, by=model_owner)


def test_a_retired_version_stays_retired(churn: Dataset, model_owner: User) -> None:
    version = Version.objects.get(dataset=churn, version="1")
    retire_model_version(version, by=model_owner)
    retire_model_version(version, by=model_owner)

    with pytest.raises(ModelRetiredError):
        put_model_in_use(version, by=model_owner)
    assert sum(e.type == "model.retired" for e in sequenced()) == 1


def test_a_registered_version_joins_what_events_say(churn: Dataset, pipeline: User) -> None:
    features = register_version(
        namespace="s3://lake", name="features", version="1", by=pipeline, rows=7
    )
    again = register_version(
        namespace="s3a://lake/", name="/features", version="1", by=pipeline, digest="0" * 64
    )

    assert features == again
    again.refresh_from_db()
    assert (again.rows, again.digest) == (7, "0" * 64)
    assert [a.version.node for a in downstream_models([features.pk])] == ["model:churn@1"]


def test_words_of_a_person_outweigh_those_of_a_pipeline(
    data_owner: User, pipeline: User, api: Api
) -> None:
    told: dict[str, Any] = {"documentation": {"description": "from the pipeline"}}
    take_in(run_event("a", "r1", outputs=[dataset("x", "1", **told)]), pipeline)
    table = Dataset.objects.get()

    answer = api(data_owner).patch(
        f"/api/v1/datasets/{table.pk}", {"description": "All orders, by hand"},
        content_type="application/json",
    )  # fmt: skip
    take_in(run_event("a", "r2", minutes=99, outputs=[dataset("x", "2", **told)]), pipeline)

    assert answer.status_code == 200
    table.refresh_from_db()
    assert table.description == "All orders, by hand"
    assert api(pipeline).patch(
        f"/api/v1/datasets/{table.pk}", {}, content_type="application/json"
    ).status_code == 403  # fmt: skip
    assert "dataset.described" in {e.type for e in sequenced()}


def test_an_owner_is_named_and_others_then_decide_no_more(
    churn: Dataset, model_owner: User, data_owner: User, api: Api
) -> None:
    def change(user: User, owner: str | None) -> int:
        return (
            api(user)
            .patch(f"/api/v1/models/{churn.pk}", {"owner": owner}, content_type="application/json")
            .status_code
        )

    other = builders.user(Role.MODEL_OWNER)
    assert change(data_owner, data_owner.username) == 403
    assert change(model_owner, "nobody-of-that-name") == 422
    assert change(model_owner, model_owner.username) == 200
    assert change(other, other.username) == 403
    assert change(model_owner, None) == 200
    assert [e.type for e in sequenced()].count("dataset.owner_set") == 2


def test_describing_again_with_the_same_words_is_no_new_event(
    churn: Dataset, data_owner: User
) -> None:
    describe(churn, title="Churn", by=data_owner)
    describe(churn, title="", by=data_owner)

    churn.refresh_from_db()
    assert churn.title == "Churn"
    assert sum(e.type == "dataset.described" for e in sequenced()) == 1


def test_who_may_not_read_lineage_sees_nothing(churn: Dataset, api: Api) -> None:
    nobody = builders.user(Role.ADMIN)
    nobody.grants.all().delete()

    assert api(nobody).get("/api/v1/datasets").status_code == 403
    assert api(nobody).get("/api/v1/lineage", {"node": churn.node}).status_code == 403
