"""The OpenAPI of the doors to retention."""

from typing import Any

from audit.api.logs_schema import describe_log_door

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_MOMENT = _TEXT | {"format": "date-time"}
_STRETCH = {
    "type": "object",
    "description": "Entries `start` <= seq < `stop` are gone; `entry` is the seq of what says why.",
    "properties": {"start": _NUMBER, "stop": _NUMBER, "entry": _NUMBER},
}
_POLICY = {
    "type": "object",
    "required": ["event_class", "days", "ground"],
    "properties": {
        "event_class": _TEXT
        | {"description": "A type, a prefix with a star (lineage.*), or * for all others"},
        "days": _NUMBER | {"minimum": 1, "maximum": 36500},
        "ground": _TEXT | {"maxLength": 200, "description": "The law or contract"},
        "shorter_because": _TEXT
        | {"maxLength": 200, "description": "Needed below 183 days (AI Act, Art. 19 and 26)"},
        "set_at": _MOMENT | {"readOnly": True},
        "set_by": _TEXT | {"readOnly": True},
    },
}
_HOLD = {
    "type": "object",
    "required": ["reason"],
    "description": "Of one resource, one pseudonym, or the entries `start` <= seq < `stop`.",
    "properties": {
        "id": _NUMBER | {"readOnly": True},
        "resource": _TEXT | {"maxLength": 512},
        "subject": _TEXT | {"description": "A pseudonym of the log"},
        "start": _NUMBER | {"nullable": True},
        "stop": _NUMBER | {"nullable": True},
        "reason": _TEXT | {"maxLength": 500},
        "placed_at": _MOMENT | {"readOnly": True},
        "placed_by": _TEXT | {"readOnly": True},
    },
}
_COUNTS = {"type": "object", "additionalProperties": _NUMBER}
_PRUNING = {
    "type": "object",
    "properties": {
        "id": _NUMBER,
        "state": _TEXT | {"enum": ["planned", "running", "done"]},
        "plan_hash": _TEXT,
        "plan": {
            "type": "object",
            "properties": {
                "as_of": _MOMENT,
                "ranges": {
                    "type": "array",
                    "items": {"type": "array", "items": _NUMBER},
                    "description": "[start, stop] each, at tile boundaries",
                },
                "tiles": _NUMBER,
                "entries": _NUMBER,
                "bytes": _NUMBER,
                "types": _COUNTS,
                "oldest": _MOMENT | {"nullable": True},
                "newest": _MOMENT | {"nullable": True},
                "policies": {"type": "array", "items": {"type": "object"}},
                "kept": _COUNTS
                | {"description": "What keeps tiles that hold entries past their retention"},
            },
        },
        "planned_at": _MOMENT,
        "planned_by": _TEXT,
        "started_at": _MOMENT | {"nullable": True},
        "started_by": _TEXT | {"nullable": True},
        "finished_at": _MOMENT | {"nullable": True},
        "pruned": _NUMBER | {"description": "Entries"},
        "kept_tiles": _NUMBER | {"description": "Kept after all, by a hold or policy"},
        "fault": _TEXT | {"nullable": True, "description": "Why it ended early"},
    },
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _many(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}


_SCHEMAS: dict[str, Any] = {
    "LogPrunedStretch": _STRETCH,
    "LogRetentionPolicy": _POLICY,
    "LogRetentionPolicies": {
        "type": "object",
        "required": ["policies"],
        "properties": {"policies": _many("LogRetentionPolicy")},
    },
    "LogRetention": {
        "type": "object",
        "properties": {
            "policies": _many("LogRetentionPolicy"),
            "permanent": {
                "type": "array",
                "items": _TEXT,
                "description": "What goes under no policy",
            },
            "pruned": _many("LogPrunedStretch"),
        },
    },
    "LogHold": _HOLD,
    "LogHolds": {
        "type": "object",
        "properties": {
            "results": _many("LogHold"),
            "cases": {
                "type": "object",
                "description": "Resources that open cases hold",
                "additionalProperties": {"type": "array", "items": _TEXT},
            },
        },
    },
    "LogPruning": _PRUNING,
    "LogPrunings": {
        "type": "object",
        "properties": {
            "planned": _ref("LogPruning") | {"nullable": True},
            "results": _many("LogPruning"),
        },
    },
}


def _operation(
    operation_id: str,
    summary: str,
    answers: dict[str, str | None],
    *problems: int,
    body: dict[str, Any] | None = None,
    number: bool = False,
) -> dict[str, Any]:
    """`answers`: the schema by status; None where there is no body."""
    said: dict[str, Any] = {
        status: {"description": "OK"}
        | ({"content": {"application/json": {"schema": _ref(name)}}} if name else {})
        for status, name in answers.items()
    }
    said |= {
        str(status): {
            "description": "Problem",
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        }
        for status in (401, 403, *problems)
    }
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["log"],
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": _NUMBER}]
        if number
        else [],
        "responses": said,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def describe() -> None:
    """State every door of retention in the one schema."""
    describe_log_door(
        "/api/v1/log/retention",
        {
            "get": _operation(
                "log_retention", "How long entries are kept, and what is gone",
                {"200": "LogRetention"},
            ),
            "put": _operation(
                "log_retention_set", "These policies and no others",
                {"200": "LogRetention"}, 400, 422,
                body={"schema": _ref("LogRetentionPolicies")},
            ),
        },
        _SCHEMAS,
    )  # fmt: skip
    describe_log_door(
        "/api/v1/log/holds",
        {
            "get": _operation("log_holds", "What is kept whatever the policies say",
                              {"200": "LogHolds"}),
            "post": _operation("log_hold_place", "Keep entries until released",
                               {"201": "LogHold"}, 400, 422, body={"schema": _ref("LogHold")}),
        },
        {},
    )  # fmt: skip
    describe_log_door(
        "/api/v1/log/holds/{id}",
        {"delete": _operation("log_hold_release", "Release a hold", {"204": None}, 404,
                              number=True)},
        {},
    )  # fmt: skip
    plan_hash = {
        "schema": {
            "type": "object",
            "properties": {
                "plan_hash": _TEXT
                | {"description": "Execute this plan; without it a plan is made and nothing goes"}
            },
        }
    }
    describe_log_door(
        "/api/v1/log/prunings",
        {
            "get": _operation("log_prunings", "The newest plan, and what was started",
                              {"200": "LogPrunings"}),
            "post": _operation(
                "log_pruning_plan_or_start",
                "Plan what may go, or execute a plan by its hash (it cannot be undone)",
                {"200": "LogPruning", "202": "LogPruning"}, 400, 409, 422, body=plan_hash,
            ),
        },
        {},
    )  # fmt: skip
    describe_log_door(
        "/api/v1/log/prunings/{id}",
        {"get": _operation("log_pruning", "How far a pruning is", {"200": "LogPruning"}, 404,
                           number=True)},
        {},
    )  # fmt: skip
