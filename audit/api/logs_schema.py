"""The OpenAPI of the doors to the logs themselves, and what each door to one log has in common."""

from typing import Any

from audit.doors import describe_door
from audit.logs import MOST_CHARACTERS

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_MOMENT = _TEXT | {"format": "date-time"}
_ASKED = {
    "name": "log",
    "in": "query",
    "required": False,
    "schema": _TEXT
    | {
        "description": "The name of the log; the main one, or that which the key is bound to, by"
        " default"
    },
}
_NAMED = {"name": "log", "in": "path", "required": True, "schema": _TEXT}
_PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}
_SCHEMAS = {
    "NewLog": {
        "type": "object",
        "required": ["name", "title"],
        "additionalProperties": False,
        "properties": {
            "name": _TEXT
            | {
                "maxLength": MOST_CHARACTERS,
                "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$",
                "description": "As it stands in addresses and in the origin; never changed later",
            },
            "title": _TEXT | {"maxLength": 200, "description": "The unit whose log it is"},
        },
    },
    "Log": {
        "type": "object",
        "properties": {
            "name": _TEXT,
            "title": _TEXT,
            "origin": _TEXT | {"description": "What its checkpoints, receipts and bundles name"},
            "vkey": _TEXT | {"nullable": True, "description": "Its verifier key (C2SP vkey)"},
            "size": _NUMBER,
            "newest_entry_at": _MOMENT | {"nullable": True},
            "in_parent": {
                "type": "object",
                "nullable": True,
                "description": "The newest checkpoint of it that the main log holds, and the entry"
                " of the main log that does",
                "properties": {"entry": _NUMBER, "size": _NUMBER, "recorded_at": _MOMENT},
            },
        },
    },
    "LogList": {
        "type": "object",
        "properties": {
            "next": _TEXT | {"nullable": True},
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/Log"}},
        },
    },
}


def describe_log_door(
    path: str, operations: dict[str, Any], schemas: dict[str, Any], *, named: bool = False
) -> None:
    """As `describe_door`, for what is about one log: `?log=`, or its name in the path."""
    for operation in operations.values():
        operation["parameters"] = [*operation.get("parameters", []), _NAMED if named else _ASKED]
        operation["responses"].setdefault("404", _problem())
    describe_door(path, operations, schemas)


def describe() -> None:
    """State the doors to the logs in the one schema."""
    describe_door(
        "/api/v1/logs",
        {
            "get": {
                "operationId": "logs_list",
                "summary": "The logs that the key may see, and how far the main log holds them",
                "tags": ["log"],
                "responses": {"200": _answer("LogList"), **_problems(401, 403)},
            },
            "post": {
                "operationId": "logs_create",
                "summary": "Make a log for an organisation unit",
                "tags": ["log"],
                "requestBody": {"required": True, "content": _json("NewLog")},
                "responses": {"201": _answer("Log"), **_problems(400, 401, 403, 422)},
            },
        },
        _SCHEMAS,
    )


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _answer(name: str) -> dict[str, Any]:
    return {"description": "OK", "content": _json(name)}


def _problem() -> dict[str, Any]:
    return {"description": "Problem", "content": {"application/problem+json": _PROBLEM}}


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): _problem() for status in statuses}
