"""A real Delta table with its lineage and a model trained on it, and PDFs taken apart."""

import io
from dataclasses import dataclass
from pathlib import Path

import pikepdf

from accounts.models import User
from lineage.actions import put_model_in_use
from lineage.models import Dataset, Version
from tests.compliance.builders import connected, write_table
from tests.lineage.builders import run_event, take_in


@dataclass(frozen=True)
class Company:
    purchases: Dataset
    model: Dataset
    table: Path


def company(folder: Path, pipeline: User, model_owner: User) -> Company:
    """Purchases in three versions, loaded from a file, and a model in use trained on the third."""
    table = write_table(folder / "purchases")
    for month in range(3):
        take_in(
            run_event(
                "load_month", f"load-{month}", minutes=month,
                inputs=[_plain("export.txt", "1")], outputs=[_plain("purchases", str(month))],
                job_facets={"documentation": {"description": "Appends one month of the export."}},
            ),
            pipeline,
        )  # fmt: skip
    connector = connected(table)
    take_in(
        run_event(
            "train", "train-1", minutes=10,
            inputs=[_plain("purchases", "2")],
            outputs=[_model("again", "1")],
            run_facets={"vestige_metrics": {"roc_auc": 0.75, "brier": 0.21}},
        ),
        pipeline,
    )  # fmt: skip
    model = Dataset.objects.get(kind="model", name="again")
    Dataset.objects.filter(pk=model.pk).update(owner=model_owner)
    model.refresh_from_db()
    put_model_in_use(Version.objects.get(dataset=model), by=model_owner)
    return Company(Dataset.objects.get(connector=connector), model, table)


def _plain(name: str, version: str) -> dict[str, object]:
    return {
        "namespace": "shop", "name": name, "facets": {"version": {"datasetVersion": version}},
    }  # fmt: skip


def _model(name: str, version: str) -> dict[str, object]:
    facets = {
        "version": {"datasetVersion": version},
        "datasetType": {"datasetType": "MODEL"},
    }
    return {"namespace": "models", "name": name, "facets": facets}


def opened(pdf: bytes) -> pikepdf.Pdf:
    return pikepdf.open(io.BytesIO(pdf))
