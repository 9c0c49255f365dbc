"""The peers of the append door: both insert one unchained row a request and commit.

`orm_event` is what a team writes first: Django REST framework, a serializer, `objects.create`.
`plain_event` is the append door without the log: the same door, decoder, checks and answer.
"""

import orjson
from django.db import connection
from django.http import HttpRequest, HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit import intake, storage
from audit.api.doors import decode
from audit.doors import actor_of, machine_door
from audit.rows import ENTRY_COLUMNS, Row
from bench.peers.models import PlainEntry
from bench.plain import TABLE

_COLUMNS = ENTRY_COLUMNS.replace("seq, ", "")
_PLACES = ", ".join(["%s"] * (_COLUMNS.count(",") + 1))
_INSERT = f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES ({_PLACES}) RETURNING seq"  # noqa: S608


class EventSerializer(serializers.Serializer[PlainEntry]):
    id = serializers.CharField(max_length=128)
    type = serializers.CharField(max_length=128)
    actor = serializers.CharField(max_length=256)
    resource = serializers.CharField(max_length=512)
    resource_version = serializers.CharField(max_length=256, default="")
    occurred_at = serializers.DateTimeField(default=None)
    parent_id = serializers.CharField(max_length=128, default="")
    details = serializers.DictField(default=dict)


class EventView(APIView):
    required_permission = "log.append"

    def post(self, request: Request) -> Response:
        sent = EventSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        facts = dict(sent.validated_data)
        details = orjson.dumps(facts.pop("details"))
        row = PlainEntry.objects.create(
            event_id=facts.pop("id"), leaf=details, by=actor_of(request).actor, **facts
        )
        return Response({"receipts": [{"id": row.event_id, "seq": row.seq}]}, status=201)


orm_event = EventView.as_view()


@machine_door("log.append", methods=("POST",))
def plain_event(request: HttpRequest) -> HttpResponse:
    body: bytes = request.door_body  # type: ignore[attr-defined]
    events, _ = decode(body, request.content_type or "")
    intake.require_outside_type(events[0], 0)
    event = intake.prepare(events[0], by=actor_of(request).actor, index=0, keys={})
    row = Row(0, 1_700_000_000_000_000, event.event, b"", event, 1, None)
    log_id, _, *values = storage._values(1, row)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [log_id, *values])
        (seq,) = cursor.fetchone()
    answer = {"receipts": [{"id": event.event_id, "seq": seq, "leaf_hash": ""}], "checkpoint": None}
    return HttpResponse(orjson.dumps(answer), content_type="application/json", status=201)
