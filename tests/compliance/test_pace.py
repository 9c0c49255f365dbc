"""What people read beside the bar while a step goes on."""

from datetime import UTC, datetime, timedelta

import pytest

from compliance.models import Step
from compliance.views.pace import pace

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "done", "total", "size", "said"),
    [
        (0.5, 1, 400, 10_000_000, "rewrite: 10.0 MB"),
        (30, 100, 400, 3_400_000_000, "rewrite: 3.4 GB, 113 MB/s, about 2 minutes left"),
        (60, 50, 100, 0, "rewrite: about a minute left"),
        (4, 3, 4, 0, "rewrite: a few seconds left"),
        (9_000, 10, 20, 0, "rewrite: about 2 hours left"),
        (60, 100, 100, 0, "rewrite"),
        (60, 0, 0, 0, "rewrite"),
    ],
)
def test_a_step_says_how_far_and_how_long(
    seconds: float, done: int, total: int, size: int, said: str
) -> None:
    step = Step(activity="rewrite", done=done, total=total, done_bytes=size)
    step.activity_at = NOW - timedelta(seconds=seconds)
    assert pace(step, NOW) == said


def test_a_step_that_waits_says_nothing() -> None:
    assert pace(Step(), NOW) == ""
