"""How stores are opened: what that costs the processes that open none."""

import os
import subprocess
import sys

SLOW = ("deltalake", "pandas", "pyiceberg", "sqlalchemy", "boto3", "lakefs_sdk")


def test_starting_the_application_imports_no_adapter() -> None:
    code = "import django, sys; django.setup(); import config.urls; print(*sys.modules)"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "connectors.openers" in loaded
    assert not loaded & set(SLOW)
    adapters = {name for name in loaded if name.startswith("connectors.adapters.")}
    assert adapters == {"connectors.adapters.base"}
