import pytest

from connectors.adapters.delta import purge

PATIENCE = purge._TICK_SECONDS


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits for the clock, shortened: a millisecond clock needs no second here."""
    monkeypatch.setattr(purge, "_TICK_SECONDS", 0.02)


@pytest.fixture
def patient(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits as they are in use."""
    monkeypatch.setattr(purge, "_TICK_SECONDS", PATIENCE)
