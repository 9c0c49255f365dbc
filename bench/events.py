"""The events that are measured: about 450 bytes each, as a pipeline would send them."""

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from audit.intake import NewEvent


def body(number: int, run: str) -> dict[str, object]:
    return {
        "id": f"{run}-{number:08d}-4e0f-9c1d-aa00bb11cc22",
        "type": "TRANSFORM",
        "actor": f"service:pipeline-{number % 7}",
        "resource": f"dataset:warehouse:purchases_{number % 50}",
        "resource_version": str(number),
        "occurred_at": "2026-01-31T12:00:00.000000Z",
        "parent_id": f"run-{number // 100:06d}",
        "details": {
            "rows": number,
            "digest": f"{number:064x}",
            "columns": ["customer", "date", "amount"],
            "job": "feature_build",
        },
    }


def new(number: int, run: str) -> "NewEvent":
    from audit.intake import NewEvent

    return NewEvent(**body(number, run))  # type: ignore[arg-type]


def json_lines(count: int, run: str) -> bytes:
    return b"\n".join(orjson.dumps(body(number, run)) for number in range(count))
