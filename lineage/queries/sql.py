"""What the two databases spell differently in recursive queries."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import connection, models

from lineage.models import Edge


def ids(values: Iterable[int]) -> tuple[str, Any]:
    """A SELECT of these numbers, however many there are, and its parameter."""
    numbers = sorted(set(values))
    if connection.vendor == "postgresql":
        return "SELECT unnest(%s::bigint[])", numbers
    return "SELECT value FROM json_each(%s)", json.dumps(numbers)


def moment(at: datetime | None) -> tuple[str, list[Any]]:
    """A condition on the edge `e`: it was there at that time. Empty for now."""
    if at is None:
        return "", []
    field = models.DateTimeField()
    return " AND e.created_at <= %s", [field.get_db_prep_value(at, connection)]


def rows(sql: str, parameters: Iterable[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(parameters))
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


EDGE = Edge._meta.db_table
