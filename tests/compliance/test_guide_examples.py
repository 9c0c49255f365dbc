"""The examples of the customer's guide, with a person in them: the layers of its medallion
architecture (section 4.2) and the table of its catalog (section 4.3), erased by the workflow."""

import json
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from django.utils import timezone
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import FloatType, LongType, NestedField, StringType, TimestampType

from accounts.roles import Role
from compliance.models import Notice
from compliance.queries import current_plan
from compliance.states import State
from tests.builders import api, user
from tests.compliance import builders
from tests.compliance.builders import PERSON

pytestmark = pytest.mark.django_db
THEIRS, OTHERS = PERSON.value, ("00021", "00050")


def raw(batch: int) -> pl.DataFrame:
    """What an API delivers: everybody's note, one of them twice, one without a text."""
    people = [THEIRS, *OTHERS, OTHERS[0]]
    return pl.DataFrame(
        {
            "id": [batch * 10, batch * 10 + 1, batch * 10 + 2, batch * 10 + 1],
            "customer_id": people,
            "text": [f"note {batch} of {people[0]}", f"note {batch}", None, f"note {batch}"],
            "_source": ["api"] * 4,
        }
    )


def medallion(base: Path) -> None:
    """Two deliveries go through bronze (append only), silver (cleaned, upserted) and gold."""
    for batch in (1, 2):
        write_deltalake(
            str(base / "bronze"), raw(batch).to_arrow(), mode="append", partition_by=["_source"]
        )
        bronze = pl.read_delta(str(base / "bronze"))
        cleaned = bronze.unique("id").filter(pl.col("text").is_not_null()).drop("_source")
        cleaned = cleaned.with_columns(text_clean=pl.col("text").str.to_uppercase()).to_arrow()
        if batch == 1:
            write_deltalake(str(base / "silver"), cleaned)
            continue
        merging = DeltaTable(str(base / "silver")).merge(
            cleaned, "target.id = source.id", source_alias="source", target_alias="target"
        )
        merging.when_matched_update_all().when_not_matched_insert_all().execute()
    gold = pl.read_delta(str(base / "silver")).with_columns(
        tokens=pl.col("text_clean").str.split(" ")
    )
    for _ in range(2):  # a second experiment run overwrites the first
        write_deltalake(str(base / "gold"), gold.to_arrow(), mode="overwrite")


def tell_run(job: str, source: tuple[str, str], target: tuple[str, str], at: datetime) -> None:
    """A pipeline reports by OpenLineage what it made of what."""
    base = {"_producer": "https://shop.example", "_schemaURL": "https://openlineage.io/spec"}

    def dataset(name: str, version: str) -> dict[str, Any]:
        facets = {"version": base | {"datasetVersion": version}}
        return {"namespace": "shop", "name": name, "facets": facets}

    run = str(uuid.uuid4())
    for kind, moment in (("START", at), ("COMPLETE", at + timedelta(seconds=1))):
        event = {
            "eventType": kind,
            "eventTime": moment.isoformat(),
            "producer": "https://shop.example",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": run},
            "job": {"namespace": "shop", "name": job},
            "inputs": [dataset(*source)],
            "outputs": [dataset(*target)],
        }
        answer = api(user(Role.PIPELINE)).post(
            "/api/v1/lineage", json.dumps(event), content_type="application/json"
        )
        assert answer.status_code == 201, answer.content


def test_a_person_is_erased_from_every_layer_and_the_model_of_the_last_is_told(
    tmp_path: Path,
) -> None:
    medallion(tmp_path)
    for layer in ("bronze", "silver", "gold"):
        builders.connected(tmp_path / layer, name=layer, columns={"customer_id": "customer"})
    now = timezone.now()
    tell_run("bronze_to_silver", ("bronze", "0"), ("silver", "0"), now)
    tell_run("silver_to_gold", ("silver", "0"), ("gold", "0"), now)
    builders.tell_training("1", "0", name="gold")

    done = builders.erased(builders.team())
    assert done.state == State.RESPONDING, done.reason
    plan = current_plan(done)
    assert plan
    found = {s["dataset"].rpartition(":")[2]: s["rows"] for s in plan.body["steps"]}
    assert set(found) == {"bronze", "silver", "gold"}
    assert all(found.values())
    (model,) = plan.body["affected_models"]
    assert model["model"] == "model:again"
    assert Notice.objects.get().model_version.version == "1"
    for layer in ("bronze", "silver", "gold"):
        left = pl.read_delta(str(tmp_path / layer))
        assert set(left["customer_id"]) <= set(OTHERS)
        assert len(left)
        for file in (tmp_path / layer).rglob("*.parquet"):
            assert THEIRS not in str(pl.read_parquet(file).rows())


def test_a_person_is_erased_from_the_table_of_the_catalog(tmp_path: Path) -> None:
    catalog = SqlCatalog(
        "lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse"
    )
    catalog.create_namespace("ml_data")
    schema = Schema(
        NestedField(1, "id", LongType(), required=True),
        NestedField(2, "text", StringType(), required=True),
        NestedField(3, "source", StringType(), required=True),
        NestedField(4, "quality_score", FloatType()),
        NestedField(5, "created_at", TimestampType()),
    )
    by_day = PartitionSpec(
        PartitionField(source_id=5, field_id=1000, transform=DayTransform(), name="created_day")
    )
    properties = {"write.format.default": "parquet", "write.parquet.compression-codec": "zstd"}
    table = catalog.create_table(
        "ml_data.training_corpus", schema, partition_spec=by_day, properties=properties
    )
    for day in (1, 2, 3):
        rows = [
            {
                "id": day * 10 + n,
                "text": f"post {day} by somebody",
                "source": who,
                "quality_score": 0.5,
                "created_at": datetime(2026, 1, day, 12, n),  # noqa: DTZ001 (without a zone)
            }
            for n, who in enumerate((THEIRS, *OTHERS))
        ]
        table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    catalog.close()
    builders.connected(
        f"sqlite:///{tmp_path}/catalog.db#ml_data.training_corpus",
        name="corpus",
        kind="iceberg",
        columns={"source": "customer"},
    )
    done = builders.erased(builders.team())
    assert done.state == State.RESPONDING, done.reason
    assert done.steps.get().rows_erased == 3
    files = list((tmp_path / "warehouse").rglob("*.parquet"))
    left = [row for file in files for row in pl.read_parquet(file)["source"].to_list()]
    assert sorted(left) == sorted(OTHERS * 3)
