"""The OpenAPI of lineage's plain doors."""

from typing import Any

from audit.doors import describe_door
from lineage.queries.graph import DIRECTIONS, MAX_DEPTH

_TEXT = {"type": "string"}
_MAYBE = {"type": "string", "nullable": True}
_TIME = {"type": "string", "format": "date-time"}
_NUMBER = {"type": "integer"}
_COUNTS = ("received", "successful", "failed", "retriable", "non_retriable")
_OPENLINEAGE = {
    "type": "object",
    "required": ["eventTime"],
    "description": "A RunEvent, DatasetEvent or JobEvent of https://openlineage.io/spec/2-0-2/",
    "properties": {
        "eventTime": _TIME,
        "eventType": _TEXT | {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "run": {"type": "object"},
        "job": {"type": "object"},
        "dataset": {"type": "object"},
        "inputs": {"type": "array", "items": {"type": "object"}},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}
_USAGE = {
    "type": "object",
    "required": ["subject", "data_id"],
    "additionalProperties": False,
    "properties": {
        "subject": {
            "type": "object",
            "required": ["type", "value"],
            "properties": {"type": _TEXT, "value": _TEXT},
        },
        "data_id": _TEXT | {"description": "dataset:NAMESPACE:NAME[@VERSION]"},
        "model_id": _MAYBE | {"description": "model:NAME[@VERSION]"},
        "prediction_id": _MAYBE,
        "occurred_at": _TIME | {"nullable": True},
    },
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_SCHEMAS: dict[str, Any] = {
    "OpenLineageEvent": _OPENLINEAGE,
    "LineageReceived": {
        "type": "object",
        "properties": {
            "id": _TEXT | {"description": "The event's id in the log"},
            "repeated": {"type": "boolean"},
        },
    },
    "LineageBatchAnswer": {
        "type": "object",
        "properties": {
            "status": _TEXT | {"enum": ["success", "partial_success", "failure"]},
            "summary": {
                "type": "object",
                "properties": dict.fromkeys(_COUNTS, _NUMBER),
            },
            "failed_events": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "index": _NUMBER, "reason": _TEXT, "retriable": {"type": "boolean"},
                    },
                },
            },
        },
    },
    "LineageGraph": {
        "type": "object",
        "properties": {
            "node": _TEXT,
            "direction": _TEXT,
            "depth": _NUMBER,
            "as_of": _MAYBE,
            "truncated": {"type": "boolean"},
            "nodes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": _TEXT, "type": _TEXT | {"enum": ["dataset", "model", "job"]},
                        "namespace": _TEXT, "name": _TEXT, "version": _MAYBE, "distance": _NUMBER,
                        "purged_at": _MAYBE, "in_use": {"type": "boolean"},
                    },
                },
            },
            "edges": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "source": _TEXT, "target": _TEXT, "kind": _TEXT, "job": _MAYBE,
                        "run": _MAYBE, "created_at": _TIME,
                    },
                },
            },
        },
    },
    "UsageRecord": _USAGE,
    "UsageRecords": {
        "type": "object",
        "required": ["usage"],
        "properties": {"usage": {"type": "array", "items": _ref("UsageRecord")}},
    },
    "UsageRecorded": {
        "type": "object",
        "properties": {
            "recorded": _NUMBER,
            "usage": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": _TEXT, "data_id": _TEXT, "data_version": _MAYBE,
                        "model_id": _MAYBE, "model_version": _MAYBE,
                    },
                },
            },
        },
    },
}  # fmt: skip


def describe() -> None:
    """State every plain door of lineage in the one schema."""
    describe_door(
        "/api/v1/lineage",
        {
            "post": _operation(
                "lineage_receive", "Take in one OpenLineage event; the same bytes again are no"
                " second entry", _json(_ref("OpenLineageEvent")),
                _answer("201", "Recorded and merged", _ref("LineageReceived")),
                400, 401, 403, 413, 422, 503,
            ),
            "get": _operation(
                "lineage_graph", "The graph around a node", None,
                _answer("200", "OK", _ref("LineageGraph")), 400, 401, 403, 404,
            ) | {"parameters": _graph_parameters()},
        },
        _SCHEMAS,
    )  # fmt: skip
    describe_door(
        "/api/v1/lineage/batch",
        {
            "post": _operation(
                "lineage_receive_batch", "Take in OpenLineage events, each by itself",
                _json({"type": "array", "items": _ref("OpenLineageEvent")}),
                _answer("200", "What became of them", _ref("LineageBatchAnswer")),
                400, 401, 403, 413, 503,
            )
        },
        {},
    )  # fmt: skip
    one_or_many = {"oneOf": [_ref("UsageRecord"), _ref("UsageRecords")]}
    lines = {"application/x-ndjson": {"schema": _TEXT | {"description": "One UsageRecord a line"}}}
    describe_door(
        "/api/v1/usage",
        {
            "post": _operation(
                "usage_record", "Record that a person's data was used, all or nothing",
                _json(one_or_many) | lines,
                _answer("201", "Recorded", _ref("UsageRecorded")),
                400, 401, 403, 413, 422, 503,
            )
        },
        {},
    )  # fmt: skip


def _graph_parameters() -> list[dict[str, Any]]:
    return [
        {"name": "node", "in": "query", "required": True, "schema": _TEXT, "description":
         "dataset:NAMESPACE:NAME[@VERSION], model:NAME[@VERSION] or job:NAMESPACE:NAME"},
        {"name": "direction", "in": "query",
         "schema": _TEXT | {"enum": list(DIRECTIONS), "default": "both"}},
        {"name": "depth", "in": "query",
         "schema": _NUMBER | {"minimum": 1, "maximum": MAX_DEPTH, "default": 10}},
        {"name": "as_of", "in": "query", "schema": _TIME},
    ]  # fmt: skip


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answer(status: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {status: {"description": description, "content": _json(schema)}}


def _operation(
    operation_id: str,
    summary: str,
    body: dict[str, Any] | None,
    answers: dict[str, Any],
    *problems: int,
) -> dict[str, Any]:
    refusals = {
        str(status): {
            "description": "Problem",
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        }
        for status in problems
    }
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["lineage"],
        "responses": answers | refusals,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation
