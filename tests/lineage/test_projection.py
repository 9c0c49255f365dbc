"""Reports become versions, runs and edges: in any order, and however often they are sent."""

import itertools
import random
from typing import Any

import pytest

from accounts.models import User
from lineage.models import Dataset, Edge, Intake, Run, Version
from lineage.queries import resolve
from tests.builders import sequenced
from tests.lineage.builders import (
    dataset,
    edges,
    graph_state,
    official,
    outcomes,
    run_event,
    take_in,
)

TRAINING = [
    run_event("clean", "r1", kind="START", minutes=0, inputs=[dataset("raw")]),
    run_event(
        "clean", "r1", minutes=5, inputs=[dataset("raw", "1")], outputs=[dataset("clean", "7")]
    ),
    run_event(
        "train", "r2", kind="START", minutes=10,
        inputs=[dataset("clean"), dataset("labels", "2")],
        outputs=[dataset("churn", model=True)],
    ),
    run_event("train", "r2", kind="RUNNING", minutes=11, inputs=[dataset("clean", "7")]),
    run_event(
        "train", "r2", minutes=12, outputs=[dataset("churn", "3", model=True)],
        run_facets={"vestige_metrics": {"auc": 0.71}},
    ),
]  # fmt: skip


def test_a_run_joins_the_versions_that_its_events_name(pipeline: User) -> None:
    for event in TRAINING:
        take_in(event, pipeline)

    assert edges() == {
        ("dataset:s3://lake:raw@1", "dataset:s3://lake:clean@7", "run"),
        ("dataset:s3://lake:clean@7", "model:churn@3", "run"),
        ("dataset:s3://lake:labels@2", "model:churn@3", "run"),
    }
    model = Version.objects.get(version="3")
    assert model.dataset.kind == Dataset.Kind.MODEL
    assert model.metrics == {"auc": 0.71}
    assert model.produced_by is not None
    assert model.produced_by.run_id == "r2"


def test_the_order_of_events_does_not_change_the_outcome(pipeline: User) -> None:
    orders = list(itertools.permutations(range(len(TRAINING))))[::3]

    first, *others = outcomes(TRAINING, orders, pipeline)

    assert first["edges"]
    for order, other in zip(orders[1:], others, strict=True):
        assert other == first, order


@pytest.mark.parametrize(
    "name",
    ["compat_CLL", "compat_spark_dataproc_simple_producer_test_complete", "dbt_ol",
     "openlineage_v2", "openlineage_v1", "compat_simple_run_event"],
)  # fmt: skip
def test_official_events_have_one_outcome_in_any_order_and_repetition(
    pipeline: User, name: str
) -> None:
    events = official(name)
    chance = random.Random(7)  # noqa: S311  # orders, not secrets
    straight = list(range(len(events)))
    orders = [straight, straight[::-1], [*straight, *straight]]
    orders += [chance.sample(straight, len(straight)) for _ in range(2)]

    first, *others = outcomes(events, orders, pipeline)

    assert first["runs"]
    for other in others:
        assert other == first


def test_the_same_bytes_again_are_no_second_entry_in_the_log(pipeline: User) -> None:
    take_in(TRAINING[1], pipeline)
    before = graph_state()
    take_in(TRAINING[1], pipeline)

    received = [e for e in sequenced() if e.type == "lineage.received"]
    assert len(received) == 1
    assert graph_state() == before
    assert Intake.objects.count() == 1


def test_a_run_that_ended_stays_ended_when_its_start_arrives_late(pipeline: User) -> None:
    take_in(run_event("clean", "r1", kind="FAIL", minutes=5), pipeline)
    take_in(run_event("clean", "r1", kind="START", minutes=0), pipeline)

    run = Run.objects.get()
    assert run.state == Run.State.FAIL
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.started_at < run.ended_at


def test_an_unnamed_read_follows_the_newest_version_at_that_time(pipeline: User) -> None:
    take_in(run_event("load", "r1", minutes=0, outputs=[dataset("raw", "1")]), pipeline)
    take_in(run_event("load", "r9", minutes=60, outputs=[dataset("raw", "2")]), pipeline)
    take_in(
        run_event(
            "train", "r2", minutes=30, inputs=[dataset("raw")],
            outputs=[dataset("churn", "1", model=True)],
        ),
        pipeline,
    )  # fmt: skip

    assert ("dataset:s3://lake:raw@1", "dataset:s3://lake:raw@seen:r2", "assumed") in edges()
    assert ("dataset:s3://lake:raw@2", "dataset:s3://lake:raw@seen:r2", "assumed") not in edges()

    late = run_event("load", "r3", minutes=20, outputs=[dataset("raw", "1b")])
    take_in(late, pipeline)
    assumed = {e for e in edges() if e[2] == "assumed"}
    assert assumed == {("dataset:s3://lake:raw@1b", "dataset:s3://lake:raw@seen:r2", "assumed")}


def test_who_read_while_the_writer_had_not_named_its_version_yet_follows_the_named_one(
    pipeline: User,
) -> None:
    events = [
        run_event("load", "w", kind="START", minutes=0, outputs=[dataset("raw")]),
        run_event("train", "r", minutes=3, inputs=[dataset("raw")], outputs=[dataset("x", "1")]),
        run_event("load", "w", minutes=9, outputs=[dataset("raw", "7")]),
    ]

    for found in outcomes(events, itertools.permutations(range(3)), pipeline):
        joined = {(source, target) for source, target, *_ in found["edges"]}
        assert ("dataset:s3://lake:raw@7", "dataset:s3://lake:raw@seen:r") in joined
        assert not [source for source, _ in joined if source.endswith("@run:w")]


def test_an_observation_leads_to_the_version_that_was_named_later(pipeline: User) -> None:
    take_in(run_event("load", "w", kind="START", outputs=[dataset("raw")]), pipeline)
    assert resolve("dataset:s3://lake:raw@run:w").version is not None
    take_in(run_event("load", "w", minutes=9, outputs=[dataset("raw", "7")]), pipeline)

    named = resolve("dataset:s3://lake:raw@run:w").version
    assert named is not None
    assert named.version == "7"


def test_an_unnamed_write_adds_to_the_one_before_unless_it_replaced_all(pipeline: User) -> None:
    overwrite: dict[str, Any] = {"lifecycleStateChange": {"lifecycleStateChange": "OVERWRITE"}}
    for number, facets in enumerate([{}, {}, overwrite]):
        take_in(
            run_event("load", f"r{number}", minutes=number, outputs=[dataset("raw", **facets)]),
            pipeline,
        )

    assert edges() == {("dataset:s3://lake:raw@run:r0", "dataset:s3://lake:raw@run:r1", "assumed")}


def test_what_a_facet_says_of_sources_outweighs_the_list_of_inputs(pipeline: User) -> None:
    columns: dict[str, Any] = {
        "columnLineage": {
            "fields": {
                "total": {
                    "inputFields": [{"namespace": "s3://lake", "name": "orders", "field": "amount"}]
                }
            }
        }
    }
    inputs = [dataset("orders", "1"), dataset("calendar", "1")]
    plain = run_event("sum", "r1", kind="START", inputs=inputs, outputs=[dataset("totals", "1")])
    by_column = run_event(
        "sum", "r1", minutes=1, inputs=inputs, outputs=[dataset("totals", "1", **columns)]
    )
    stated = run_event(
        "sum", "r1", minutes=2,
        job_facets={"lineage": {"entries": [{
            "namespace": "s3://lake", "name": "totals", "type": "DATASET",
            "inputs": [{"namespace": "s3://lake", "name": "calendar", "type": "DATASET"}],
        }]}},
    )  # fmt: skip

    take_in(plain, pipeline)
    assert {e[2] for e in edges()} == {"run"}
    assert len(edges()) == 2
    take_in(by_column, pipeline)
    assert edges() == {("dataset:s3://lake:orders@1", "dataset:s3://lake:totals@1", "column")}
    take_in(stated, pipeline)
    assert edges() == {("dataset:s3://lake:calendar@1", "dataset:s3://lake:totals@1", "lineage")}
    first, *others = outcomes(
        [plain, by_column, stated], itertools.permutations(range(3)), pipeline
    )
    assert all(other == first for other in others)


def test_what_was_only_mentioned_becomes_a_model_when_a_run_says_so(pipeline: User) -> None:
    unlabelled = {"namespace": "models", "name": "churn", "facets": {}}
    take_in(run_event("score", "r2", inputs=[unlabelled], minutes=9), pipeline)
    take_in(
        run_event("train", "r1", outputs=[dataset("churn", "1", model=True)], minutes=1), pipeline
    )

    assert [d.node for d in Dataset.objects.all()] == ["model:churn"]
    assert ("model:churn@1", "model:churn@seen:r2", "assumed") in edges()


def test_identities_of_object_stores_are_joined_whatever_their_spelling(pipeline: User) -> None:
    for number, (namespace, name) in enumerate(
        [("s3://lake", "raw/orders"), ("s3a://lake", "/raw/orders/"), ("s3n://lake/", "raw/orders")]
    ):
        spelled = {"namespace": namespace, "name": name, "facets": {}}
        take_in(run_event("load", f"r{number}", outputs=[spelled]), pipeline)

    assert [d.node for d in Dataset.objects.all()] == ["dataset:s3://lake:raw/orders"]


def test_descriptions_statistics_and_owners_are_kept(pipeline: User) -> None:
    take_in(
        run_event(
            "load", "r1",
            outputs=[dataset(
                "orders", "1",
                schema={"fields": [{"name": "id", "type": "int", "fields": []},
                                   {"name": "who", "type": "struct",
                                    "fields": [{"name": "mail", "type": "string"}]}]},
                ownership={"owners": [{"name": "team:shop", "type": "STEWARD"}]},
                documentation={"description": "All orders"},
                tags={"tags": [{"key": "pii", "value": "true", "field": "who.mail"}]},
                outputFacets={"outputStatistics": {"rowCount": 12, "size": 340, "fileCount": 1}},
            )],
        ),
        pipeline,
    )  # fmt: skip

    version = Version.objects.get()
    assert (version.rows, version.bytes) == (12, 340)
    assert [c["name"] for c in version.schema] == ["id", "who", "who.mail"]
    assert version.dataset.description == "All orders"
    assert version.dataset.personal_data
    assert version.dataset.facts["owners"] == [{"name": "team:shop", "type": "STEWARD"}]


def test_the_log_holds_the_hash_of_the_body_and_each_new_version(pipeline: User) -> None:
    take_in(TRAINING[1], pipeline)

    entries = [e for e in sequenced() if e.type.startswith(("lineage.", "dataset."))]
    assert [(e.type, e.resource, e.resource_version) for e in entries] == [
        ("lineage.received", "job:shop:clean", ""),
        ("dataset.registered", "dataset:s3://lake:clean", ""),
        ("dataset.registered", "dataset:s3://lake:raw", ""),
        ("dataset.version_recorded", "dataset:s3://lake:raw", "1"),
        ("dataset.version_recorded", "dataset:s3://lake:clean", "7"),
    ]
    assert {e.parent_id for e in entries[1:]} == {entries[0].event_id}


def test_a_job_by_design_joins_datasets_without_a_run(pipeline: User) -> None:
    event = {
        "eventTime": "2026-03-01T08:00:00Z", "producer": "x",
        "job": {"namespace": "shop", "name": "nightly"},
        "inputs": [dataset("raw", "1")], "outputs": [dataset("clean", "2")],
    }  # fmt: skip
    take_in(event, pipeline)

    edge = Edge.objects.get()
    assert edge.run is not None
    assert edge.run.state == Run.State.DESIGN
