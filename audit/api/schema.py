"""The OpenAPI of the log's plain doors."""

from typing import Any

from audit.api.doors import openapi_event
from audit.doors import describe_door

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_HASH = {"type": "string", "description": "32 bytes in hexadecimal"}
_PROBLEM = {
    "type": "object",
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": _NUMBER,
        "detail": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": _TEXT, "reason": _TEXT, "fix": _TEXT},
            },
        },
    },
}
_ENTRY = {
    "type": "object",
    "description": "What the leaf says, with its place in the log and its hash.",
    "properties": {
        "seq": _NUMBER,
        "recorded_at": _TEXT | {"format": "date-time"},
        "leaf_hash": _HASH,
        "id": _TEXT,
        "type": _TEXT,
        "actor": _TEXT,
        "by": _TEXT,
        "resource": _TEXT,
        "resource_version": _TEXT,
        "occurred_at": _TEXT | {"format": "date-time"},
        "parent_id": _TEXT,
        "details": {"type": "object"},
        "subject": _TEXT,
        "sealed": {"type": "object"},
        "within": {
            "type": "object",
            "description": "Which of its resource's entries it is (`nth`, from 1), and the `seq` of"
            " the one before (`previous`).",
            "properties": {"nth": _NUMBER, "previous": _NUMBER},
        },
    },
}
_SCHEMAS = {
    "LogEvent": openapi_event(),
    "LogEvents": {
        "type": "object",
        "required": ["events"],
        "properties": {"events": {"type": "array", "items": _TEXT}},
    },
    "LogReceipts": {
        "type": "object",
        "properties": {
            "receipts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"id": _TEXT, "seq": _NUMBER, "leaf_hash": _HASH},
                },
            },
            "checkpoint": {
                "type": "string",
                "nullable": True,
                "description": "C2SP signed note that covers the entries",
            },
        },
    },
    "LogEntry": _ENTRY,
    "LogEntryWithLeaf": {
        "type": "object",
        "properties": _ENTRY["properties"]  # type: ignore[operator]
        | {
            "leaf": _TEXT | {"format": "byte", "description": "The bytes that were hashed"},
            "previous_hash": _HASH,
        },
    },
    "LogEntryPage": {
        "type": "object",
        "properties": {
            "next": _TEXT | {"nullable": True},
            "previous": _TEXT | {"nullable": True},
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/LogEntry"}},
        },
    },
    "LogInclusionProof": {
        "type": "object",
        "properties": {
            "seq": _NUMBER,
            "leaf_hash": _HASH,
            "size": _NUMBER,
            "root": _HASH,
            "proof": {"type": "array", "items": _HASH},
            "checkpoint": _TEXT | {"nullable": True},
        },
    },
    "EvidenceBundle": {
        "type": "object",
        "description": "The file that `python -m audit.ledger verify` checks: docs/ledger.md.",
        "properties": {
            "format": _TEXT,
            "purpose": _TEXT,
            "statement": {"type": "object", "nullable": True},
            "log": {"type": "object", "properties": {"origin": _TEXT, "vkey": _TEXT}},
            "checkpoint": _TEXT,
            "entries": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "seq": _NUMBER,
                        "leaf": _TEXT | {"format": "byte"},
                        "proof": {"type": "array", "items": _TEXT | {"format": "byte"}},
                    },
                },
            },
            "complete": {
                "type": "array",
                "description": "Of which resources all entries in a range are in the bundle.",
                "items": {
                    "type": "object",
                    "properties": {
                        "resource": _TEXT,
                        "since": _NUMBER,
                        "until": _NUMBER,
                        "from": _NUMBER | {"nullable": True},
                        "before": _NUMBER | {"nullable": True},
                        "heads": {"type": "object", "nullable": True},
                    },
                },
            },
            "digest": _HASH,
        },
    },
    "LogConsistencyProof": {
        "type": "object",
        "properties": {
            "first": _NUMBER,
            "second": _NUMBER,
            "first_root": _HASH,
            "second_root": _HASH,
            "proof": {"type": "array", "items": _HASH},
            "checkpoint": _TEXT | {"nullable": True},
        },
    },
    "Problem": _PROBLEM,
}
_SCHEMAS["LogEvents"]["properties"] = {
    "events": {"type": "array", "items": {"$ref": "#/components/schemas/LogEvent"}}
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problems(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {
            "description": "Problem",
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        }
        for status in statuses
    }


def _answers(
    schema: dict[str, Any],
    *problems: int,
    media: str = "application/json",
    status: str = "200",
    description: str = "OK",
) -> dict[str, Any]:
    return {
        status: {"description": description, "content": {media: {"schema": schema}}},
        **_problems(*problems),
    }


def _parameter(
    name: str, schema: dict[str, Any], *, where: str = "query", required: bool = False
) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required or where == "path", "schema": schema}


def _get(
    operation_id: str,
    summary: str,
    answers: dict[str, Any],
    *parameters: dict[str, Any],
    open_to_all: bool = False,
) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": ["log"],
            "parameters": list(parameters),
            "responses": answers,
            **({"security": [{}]} if open_to_all else {}),
        }
    }


def describe() -> None:
    """State every door of the log in the one schema."""
    seq = _parameter("seq", _NUMBER, where="path")
    moment = _TEXT | {"format": "date-time"}
    filters = [
        *(
            _parameter(name, _TEXT)
            for name in ("resource", "resource_version", "actor", "type", "id", "subject")
        ),
        _parameter("kind", _TEXT | {"enum": ["person", "service", "system"]}),
        _parameter("since", moment),
        _parameter("until", moment),
        _parameter("cursor", _TEXT),
        _parameter("limit", _NUMBER | {"maximum": 1000, "default": 100}),
    ]
    listing = _get(
        "log_events_list",
        "Entries of the log, newest first",
        _answers(_ref("LogEntryPage"), 400, 401, 403),
        *filters,
    )
    describe_door("/api/v1/events", {"post": _append_operation(), **listing}, _SCHEMAS)
    describe_door(
        "/api/v1/events/complete",
        _get(
            "log_events_complete",
            "All entries of a resource, and the proof that none is left out",
            _answers(_ref("EvidenceBundle"), 400, 401, 403, 409, 413),
            _parameter("resource", _TEXT, required=True),
            _parameter("since", _NUMBER),
            _parameter("until", _NUMBER),
        ),
        {},
    )
    describe_door(
        "/api/v1/events/{seq}",
        _get(
            "log_event",
            "An entry with its exact leaf",
            _answers(_ref("LogEntryWithLeaf"), 401, 403, 404),
            seq,
        ),
        {},
    )
    describe_door(
        "/api/v1/events/{seq}/proof",
        _get(
            "log_event_proof",
            "The inclusion proof of an entry (RFC 6962)",
            _answers(_ref("LogInclusionProof"), 400, 401, 403, 404),
            seq,
            _parameter("size", _NUMBER),
        ),
        {},
    )
    for prefix, suffix in (("/api/v1", ""), ("", "_root")):
        describe_door(
            f"{prefix}/log/checkpoint",
            _get(
                f"log_checkpoint{suffix}",
                "The newest signed checkpoint (C2SP tlog-checkpoint)",
                _answers(_TEXT, 404, media="text/plain"),
                open_to_all=True,
            ),
            {},
        )
        describe_door(
            f"{prefix}/log/vkey",
            _get(
                f"log_vkey{suffix}",
                "The log's verifier key (C2SP vkey)",
                _answers(_TEXT, media="text/plain"),
                open_to_all=True,
            ),
            {},
        )
        describe_door(
            f"{prefix}/log/consistency",
            _get(
                f"log_consistency{suffix}",
                "The consistency proof between two sizes (RFC 6962)",
                _answers(_ref("LogConsistencyProof"), 400, 404),
                _parameter("first", _NUMBER, required=True),
                _parameter("second", _NUMBER),
                open_to_all=True,
            ),
            {},
        )
        describe_door(
            f"{prefix}/log/tile/{{path}}",
            _get(
                f"log_tile{suffix}",
                "A hash tile (C2SP tlog-tiles); entry bundles need a key that may read the log",
                _answers(
                    _TEXT | {"format": "binary"}, 401, 403, 404, media="application/octet-stream"
                ),
                _parameter("path", _TEXT, where="path"),
                open_to_all=True,
            ),
            {},
        )


def _append_operation() -> dict[str, Any]:
    return {
        "operationId": "log_events_append",
        "summary": "Append events, all or nothing",
        "tags": ["log"],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [_ref("LogEvent"), _ref("LogEvents")]}},
                "application/x-ndjson": {"schema": _TEXT | {"description": "One LogEvent a line"}},
            },
        },
        "responses": _answers(
            _ref("LogReceipts"),
            400,
            401,
            403,
            409,
            413,
            415,
            422,
            status="201",
            description="Sequenced, durable and signed",
        ),
    }
