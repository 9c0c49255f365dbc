"""Adds the plain msgspec doors to the OpenAPI schema that drf-spectacular makes of the rest."""

from typing import Any

from audit.doors import described_doors


def add_plain_doors(
    result: dict[str, Any], generator: Any, request: Any, public: Any
) -> dict[str, Any]:
    """drf-spectacular post-processing hook: one schema speaks for both kinds of doors."""
    for path, operations, schemas in described_doors():
        result.setdefault("paths", {}).setdefault(path, {}).update(operations)
        result.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
    result["paths"] = dict(sorted(result["paths"].items()))
    return result
