import os
from pathlib import Path

import pytest

from tests.connectors.dvc_builders import Workshop, shop_with_person
from tests.connectors.dvc_history import with_history
from tests.connectors.s3_server import s3_server
from tests.connectors.sail_server import sail_server

__all__ = ["s3_server", "sail_server"]  # the fixtures


@pytest.fixture(scope="session")
def dvc_template(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Made once, for it takes seconds: `dvc_shop` is a copy."""
    return shop_with_person(tmp_path_factory.mktemp("dvc") / "template")


@pytest.fixture(scope="session")
def dvc_history_template(
    dvc_template: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> Workshop:
    return with_history(dvc_template.copy(tmp_path_factory.mktemp("dvc-history") / "template"))


@pytest.fixture
def dvc_shop(dvc_template: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    shop = dvc_template.copy(tmp_path / "shop")
    # Waiting for the disk would be most of the time, and tells nothing about a process killed.
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(shop.site))
    return shop
