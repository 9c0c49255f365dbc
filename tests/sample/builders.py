"""The sample company's tables and models, made once and copied for the tests that change them."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from sample.company import FEATURES
from sample.tables import build, read
from sample.training import TrainedModel, predict, train


@cache
def built() -> Path:
    """`store` and `models` in one folder, to read only."""
    folder = Path(tempfile.mkdtemp(prefix="vestige-sample-"))
    build(folder / "store")
    for version in (1, 2):
        model = trained(folder, version)
        predict(folder / "store", folder / "models", model)
    return folder


def copied(folder: Path) -> Path:
    """A copy of its own in `folder`, to change."""
    return Path(shutil.copytree(built(), folder / "sample"))


def trained(folder: Path, version: int) -> TrainedModel:
    return train(
        folder / "store",
        folder / "models",
        version=version,
        features_version=version - 1,
        test_version=version,
    )


def labels(folder: Path, features_version: int) -> dict[str, bool]:
    rows = read(folder / "store", FEATURES, features_version)
    return dict(rows.select("customer_id", "bought_again").iter_rows())
