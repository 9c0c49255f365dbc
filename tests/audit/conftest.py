"""Fixtures of the log's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audit.installations import empty_installation


@pytest.fixture
def installation(tmp_path: Path, db: None) -> Iterator[dict[str, str]]:
    """The environment of an empty installation with a database of its own."""
    with empty_installation(tmp_path) as environment:
        yield environment
