"""How stores are opened: what that costs the processes that open none."""

import os
import subprocess
import sys

SLOW = ("deltalake", "pandas", "pyiceberg", "sqlalchemy", "boto3", "lakefs_sdk")


def loaded_by(code: str) -> set[str]:
    """The modules that a process has imported after this code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django, sys; django.setup(); {code}; print(*sys.modules)"],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_starting_the_application_imports_no_adapter() -> None:
    loaded = loaded_by("import config.urls")
    assert "connectors.openers" in loaded
    assert not loaded & set(SLOW)
    adapters = {name for name in loaded if name.startswith("connectors.adapters.")}
    assert adapters == {"connectors.adapters.base"}


def test_the_command_that_verifies_a_log_forks_before_polars_starts_threads() -> None:
    loaded = loaded_by("import audit.management.commands.verify_log")
    assert "audit.verification.pair" in loaded
    assert "polars" not in loaded
