"""The OpenAPI of the log's plain doors."""

from typing import Any

from audit.api.doors import openapi_event
from audit.api.logs_schema import describe_log_door

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
        "pruned": {
            "type": "object",
            "description": "With 410: the stretch that is gone, and the entry that says why",
            "properties": {"start": _NUMBER, "stop": _NUMBER, "entry": _NUMBER},
        },
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
            "receipt": {
                "type": "string",
                "nullable": True,
                "description": "C2SP signed note: the log's word that it accepted these events."
                " Keep the whole answer; `python -m audit.ledger verify` checks it. null when the"
                " log's key could not be used: send the events again under the same ids.",
            },
            "log": {
                "type": "string",
                "description": "The origin of the log that took them;"
                " of a unit's log it ends with its name",
            },
            "vkey": {
                "type": "string",
                "nullable": True,
                "description": "The log's verifier key (C2SP vkey)",
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
            "pruned": {
                "type": "array",
                "description": "What is gone from between these entries",
                "items": {"$ref": "#/components/schemas/LogPrunedStretch"},
            },
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
    "LogAnchor": {
        "type": "object",
        "description": "A place outside that holds checkpoints of the log.",
        "properties": {
            "kind": _TEXT | {"enum": ["witness", "timestamp", "publication"]},
            "name": _TEXT,
            "url": _TEXT | {"nullable": True, "description": "Null: it is not asked any more"},
            "state": _TEXT | {"description": "In words, as the log page says it"},
            "contradicts": {
                "type": "boolean",
                "description": "It holds a tree that this log does not contain",
            },
            "late": {"type": "boolean"},
            "fault": _TEXT | {"nullable": True, "description": "Why the last try failed"},
            "tried_at": _TEXT | {"format": "date-time", "nullable": True},
            "newest": {
                "type": "object",
                "nullable": True,
                "properties": {
                    "size": _NUMBER,
                    "root": _HASH,
                    "made_at": _TEXT | {"format": "date-time"},
                    "checkpoint": _TEXT | {"description": "The C2SP signed note that it holds"},
                    "proof": _TEXT
                    | {
                        "format": "byte",
                        "description": "A cosignature line (C2SP tlog-cosignature), or a"
                        " TimeStampToken in DER (RFC 3161) over the note; empty for a copy",
                    },
                },
            },
        },
    },
    "LogAnchors": {
        "type": "object",
        "properties": {
            "quorum": _TEXT | {"nullable": True, "description": "How many must have cosigned"},
            "fault": _TEXT | {"nullable": True, "description": "What is wrong with the settings"},
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/LogAnchor"}},
        },
    },
    "LogVerification": {
        "type": "object",
        "description": "A check of the whole log, due, under way or done.",
        "properties": {
            "id": _NUMBER,
            "state": _TEXT | {"enum": ["due", "under way", "holds", "does not hold"]},
            "full": {"type": "boolean"},
            "log": _TEXT | {"description": "The name of the log that is checked"},
            "entries": _NUMBER | {"description": "Checked and found right so far"},
            "size": _NUMBER,
            "started_at": _TEXT | {"format": "date-time"},
            "finished_at": _TEXT | {"format": "date-time", "nullable": True},
            "root": _HASH | {"nullable": True},
            "first_bad": _NUMBER | {"nullable": True},
            "faults": {"type": "array", "items": _TEXT},
            "warnings": {"type": "array", "items": _TEXT},
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


def _proof_answers() -> dict[str, Any]:
    answers = _answers(_ref("LogInclusionProof"), 400, 401, 403, 404, 410)
    answers["200"]["content"]["text/plain"] = {
        "schema": _TEXT
        | {"description": "C2SP tlog-proof with the leaf in its `extra` line (?as=tlog-proof)"}
    }
    return answers


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
    describe_log_door("/api/v1/events", {"post": _append_operation(), **listing}, _SCHEMAS)
    describe_log_door(
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
    describe_log_door(
        "/api/v1/events/{seq}",
        _get(
            "log_event",
            "An entry with its exact leaf",
            _answers(_ref("LogEntryWithLeaf"), 401, 403, 404, 410),
            seq,
        ),
        {},
    )
    describe_log_door(
        "/api/v1/events/{seq}/proof",
        _get(
            "log_event_proof",
            "The inclusion proof of an entry (RFC 6962)",
            _proof_answers(),
            seq,
            _parameter("size", _NUMBER),
            _parameter("as", _TEXT | {"enum": ["json", "tlog-proof"], "default": "json"}),
        ),
        {},
    )
    describe_log_door(
        "/api/v1/log/anchors",
        _get(
            "log_anchors",
            "Who outside holds checkpoints of the log",
            _answers(_ref("LogAnchors"), 401, 403),
        ),
        {},
    )
    describe_log_door("/api/v1/log/verifications", {"post": _ask_operation()}, {})
    describe_log_door(
        "/api/v1/log/verifications/{id}",
        _get(
            "log_verification",
            "How far a check of the whole log is, and what it found",
            _answers(_ref("LogVerification"), 401, 403, 404),
            _parameter("id", _NUMBER, where="path"),
        ),
        {},
    )
    for prefix, suffix in (("/api/v1/log", ""), ("/log", "_root"), ("/log/{log}", "_unit")):
        named = suffix == "_unit"
        describe_log_door(
            f"{prefix}/checkpoint",
            _get(
                f"log_checkpoint{suffix}",
                "The newest signed checkpoint (C2SP tlog-checkpoint)",
                _answers(_TEXT, 404, media="text/plain"),
                _parameter(
                    "witnessed",
                    _TEXT
                    | {
                        "enum": ["1"],
                        "description": "The newest that enough witnesses have cosigned, with"
                        " their lines (C2SP tlog-cosignature)",
                    },
                ),
                open_to_all=True,
            ),
            {},
            named=named,
        )
        describe_log_door(
            f"{prefix}/vkey",
            _get(
                f"log_vkey{suffix}",
                "The log's verifier keys (C2SP vkey), one a line, the active one first",
                _answers(_TEXT, media="text/plain"),
                open_to_all=True,
            ),
            {},
            named=named,
        )
        describe_log_door(
            f"{prefix}/consistency",
            _get(
                f"log_consistency{suffix}",
                "The consistency proof between two sizes (RFC 6962)",
                _answers(_ref("LogConsistencyProof"), 400, 404),
                _parameter("first", _NUMBER, required=True),
                _parameter("second", _NUMBER),
                open_to_all=True,
            ),
            {},
            named=named,
        )
        describe_log_door(
            f"{prefix}/tile/{{path}}",
            _get(
                f"log_tile{suffix}",
                "A hash tile (C2SP tlog-tiles), public unless configured otherwise; entry bundles"
                " need a key that may read the log",
                _answers(
                    _TEXT | {"format": "binary"},
                    401,
                    403,
                    404,
                    410,
                    media="application/octet-stream",
                ),
                _parameter("path", _TEXT, where="path"),
                open_to_all=True,
            ),
            {},
            named=named,
        )


def _ask_operation() -> dict[str, Any]:
    return {
        "operationId": "log_verify",
        "summary": "Have a worker check the whole log; the check under way, if there is one",
        "tags": ["log"],
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"full": {"type": "boolean", "default": False}},
                    }
                }
            },
        },
        "responses": _answers(
            _ref("LogVerification"), 400, 401, 403, 422, status="202", description="Accepted"
        ),
    }


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
