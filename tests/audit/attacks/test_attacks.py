"""Runs every attack on the log for real, and asks everybody who could catch it."""

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
from django.db import DatabaseError, connection
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from tests.audit.attacks import table
from tests.audit.attacks.attack import Attack
from tests.audit.attacks.catalogue import ATTACKS
from tests.audit.attacks.scene import Caught, Scene, set_up
from tests.audit.builders import around_all_tests, as_database_owner, undone

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def scene(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """One log for all attacks, each of which is undone: making it takes longest."""
    keys = tmp_path_factory.mktemp("keys")
    with django_db_blocker.unblock(), override_settings(VESTIGE_KEYS=keys), around_all_tests():
        yield set_up()


@pytest.fixture(autouse=True)
def memory(scene: Scene) -> Iterator[None]:
    """The note beside the key, put back after a test that may have replaced it."""
    note = scene.memory.read_text()
    yield
    scene.memory.write_text(note)


def test_nobody_complains_about_an_untouched_log(scene: Scene) -> None:
    assert scene.examine() == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_caught_by_whom_the_table_says(scene: Scene, attack: Attack) -> None:
    if connection.vendor not in attack.vendors:
        pytest.skip(f"not an attack on {connection.vendor}")
    refused = None if attack.refused is None else refusal(scene, attack)
    with as_database_owner() if attack.drops_triggers else nullcontext():
        attack.run(scene)
    caught = scene.examine()
    if path := os.environ.get("VESTIGE_ATTACKS_RESULT"):
        write(Path(path), attack, refused, caught)
    if attack.refused is not None:
        assert bool(refused) is (connection.vendor in attack.refused), refused
    assert {one.by for one in caught} == attack.caught_on(connection.vendor)
    assert not caught or attack.says in caught[0].said


def refusal(scene: Scene, attack: Attack) -> str:
    """What the database says when the application tries it; empty when it lets it."""
    with undone():
        try:
            attack.run(scene)
        except DatabaseError as exc:
            return " ".join(str(exc).split())
    return ""


def write(path: Path, attack: Attack, refused: str | None, caught: list[Caught]) -> None:
    """One line of JSON for the table."""
    row = {
        "vendor": connection.vendor,
        "name": attack.name,
        "refused": refused,
        "caught": [asdict(one) for one in caught],
    }
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def test_the_table_in_the_threat_model_is_that_of_these_attacks() -> None:
    rows = table.written()
    assert [row[:4] for row in rows] == [table.cells(attack) for attack in ATTACKS]
    for row, attack in zip(rows, ATTACKS, strict=True):
        assert attack.says in row[4], "run `make attacks`"
