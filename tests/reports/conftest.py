from dataclasses import dataclass
from pathlib import Path

import pytest

from reports.models import Certificate
from tests.compliance.builders import Team
from tests.reports.builders import certified, path_of


@dataclass(frozen=True)
class Specimen:
    """A certificate's files, and what was in its row."""

    row: Certificate
    people: Team
    pseudonym: str
    subject_lookup: str
    pdf: Path
    json: Path


_specimens: list[Specimen] = []


@pytest.fixture
def specimen(db: None, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    """One certificate for all tests that only read its files: erasing and rendering take long.

    Its rows are gone with the first test that asked for it; the files stay.
    """
    if not _specimens:
        folder = tmp_path_factory.mktemp("specimen")
        row, people = certified(folder)
        _specimens.append(
            Specimen(
                row=row,
                people=people,
                pseudonym=row.request.pseudonyms[0],
                subject_lookup=row.request.subject_lookup,
                pdf=path_of(row.pdf_file, folder),
                json=path_of(row.json_file, folder),
            )
        )
    return _specimens[0]
