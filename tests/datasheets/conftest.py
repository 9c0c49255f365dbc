from pathlib import Path

import pytest

from accounts.models import User
from tests.datasheets.builders import Company, company


@pytest.fixture
def northgate(tmp_path: Path, pipeline: User, model_owner: User) -> Company:
    return company(tmp_path, pipeline, model_owner)
