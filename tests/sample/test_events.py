"""The sample's events, read as Vestige reads them."""

from datetime import datetime
from pathlib import Path

from deltalake import DeltaTable
from openlineage.client.serde import Serde

from lineage.intake.openlineage import decode
from lineage.intake.reports import DatasetFacts, Report
from sample.company import PURCHASES
from sample.events import events_of
from sample.runs import runs_of
from sample.tables import now, read
from sample.training import kept_models
from tests.sample import builders


def reports(folder: Path | None = None, since: datetime | None = None) -> list[Report]:
    found = folder or builders.built()
    runs = runs_of(found / "store", found / "models", since=since)
    return [decode(Serde.to_json(event).encode()) for event in events_of(runs)]


def written(job: str) -> dict[str, Report]:
    """The job's finished runs by the version they wrote."""
    return {
        report.outputs[0].version: report
        for report in reports()
        if report.job and report.job.name == job and report.outputs
    }


def named(facts: DatasetFacts) -> str:
    return f"{facts.namespace}:{facts.name}@{facts.version}"


def test_told_twice_the_events_are_the_same_bytes() -> None:
    folder = builders.built()

    def told() -> list[str]:
        runs = runs_of(folder / "store", folder / "models")
        return [Serde.to_json(event) for event in events_of(runs)]

    assert told() == told()


def test_every_run_starts_and_completes_once_in_the_order_of_time() -> None:
    states: dict[str, list[str]] = {}
    for report in reports():
        assert report.run is not None
        states.setdefault(report.run.run_id, []).append(report.run.state)

    assert set(map(tuple, states.values())) == {("running", "complete")}
    assert len(states) == 18 + 1 + 2 + 3 + 2 * 3
    times = [report.at for report in reports()]
    assert times == sorted(times)


def test_a_month_is_made_of_the_published_file_and_the_months_before() -> None:
    march = written("load_month")["2"]

    assert [named(read) for read in march.inputs] == [
        "cdnow:CDNOW_sample.txt@6fae10155c0b",
        "northgate:purchases@1",
    ]
    assert march.outputs[0].rows == 1204
    assert march.outputs[0].personal_data


def test_a_path_leads_from_each_model_to_the_purchases() -> None:
    for version, features in (("1", "0"), ("2", "1")):
        trained = written("train")[version]
        assert trained.outputs[0].is_model
        assert [named(r) for r in trained.inputs] == [f"northgate:customer_features@{features}"]
        built = written("build_features")[features]
        assert [named(r) for r in built.inputs] == ["northgate:purchases@19"]

    assert [named(r) for r in written("clean")["19"].inputs] == ["northgate:purchases@18"]
    assert [named(r) for r in written("correct")["18"].inputs] == ["northgate:purchases@17"]


def test_predictions_come_of_the_model_and_of_the_quarter_it_was_tested_on() -> None:
    second = written("predict")["1"]

    assert {named(r) for r in second.inputs} == {
        "northgate:customer_features@2",
        "models:purchase-again@2",
        "northgate:predictions@0",
    }


def test_a_model_carries_the_metrics_of_its_test() -> None:
    for model in kept_models(builders.built() / "models"):
        assert written("train")[str(model.version)].outputs[0].metrics == model.metrics


def test_a_replaced_table_says_so_and_an_appended_one_does_not() -> None:
    assert not written("clean")["19"].outputs[0].keeps_older
    assert not written("build_features")["1"].outputs[0].keeps_older
    assert written("load_month")["5"].outputs[0].keeps_older


def test_columns_of_the_features_are_traced_to_columns_of_the_purchases() -> None:
    built = written("build_features")["0"].outputs[0]

    assert built.sources == (("northgate", "purchases"),)
    assert built.sources_by == "column"


def test_children_name_their_parent() -> None:
    parents = {r.run.run_id for r in reports() if r.run and r.job and r.job.name == "release"}
    children = [r for r in reports() if r.job and r.job.name in ("train", "predict")]

    assert len(parents) == 2
    assert {c.run.parent_run_id for c in children if c.run} == parents


def test_no_event_says_where_on_this_machine_the_tables_are_or_who_is_in_them() -> None:
    folder = builders.built()
    runs = runs_of(folder / "store", folder / "models")
    text = "".join(Serde.to_json(event) for event in events_of(runs))

    assert str(folder) not in text
    customers = read(folder / "store", PURCHASES)["customer_id"].unique()
    assert not [number for number in customers if f'"{number}"' in text or f"c{number}@" in text]


def test_only_what_ran_since_is_told_when_asked() -> None:
    builders.built()  # whoever is the first to ask makes it
    assert reports(since=now()) == []


def test_what_others_wrote_is_not_told_as_a_run_of_ours(tmp_path: Path) -> None:
    folder = builders.copied(tmp_path)
    DeltaTable(str(folder / "store" / "purchases")).delete("customer_id = '00004'")

    assert len(reports(folder)) == len(reports())
