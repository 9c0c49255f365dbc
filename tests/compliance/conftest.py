"""A real Delta table with a person in three versions, and the people who handle the case."""

from pathlib import Path

import pytest

from tests.compliance import builders
from tests.compliance.builders import Team


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return builders.write_table(tmp_path / "purchases")


@pytest.fixture
def people(table: Path, db: None) -> Team:
    builders.connected(table)
    return builders.team()
