"""Settings that cannot be meant are refused when the application starts."""

import os
from pathlib import Path

from tests.audit.installations import manage


def test_a_database_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    meant = {"VESTIGE_HOME": str(tmp_path), "DATABASE_URL": "mysql://me@db.example/vestige"}
    told = manage(os.environ | meant, "check", status=1)
    assert "no data in a database mysql://. Set DATABASE_URL" in told
    assert "db.example" not in told.rpartition("ImproperlyConfigured")[2]
