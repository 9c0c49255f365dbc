"""The log's REST doors, below /api/v1/; each answers with and without a trailing slash."""

from django.urls import re_path

from audit.api import (
    doors,
    logs,
    logs_schema,
    reading,
    retention,
    retention_schema,
    schema,
    verifications,
)

logs_schema.describe()
schema.describe()
retention_schema.describe()

urlpatterns = [
    re_path(r"^events/?$", doors.events, name="events"),
    re_path(r"^events/complete/?$", reading.complete_events, name="events-complete"),
    re_path(r"^events/(?P<seq>\d{1,18})/?$", reading.one_event, name="event"),
    re_path(r"^events/(?P<seq>\d{1,18})/proof/?$", reading.inclusion_proof, name="event-proof"),
    re_path(r"^logs/?$", logs.collection, name="logs"),
    re_path(r"^log/retention/?$", retention.retention, name="log-retention"),
    re_path(r"^log/holds/?$", retention.log_holds, name="log-holds"),
    re_path(r"^log/holds/(?P<pk>\d{1,18})/?$", retention.log_hold, name="log-hold"),
    re_path(r"^log/prunings/?$", retention.log_prunings, name="log-prunings"),
    re_path(r"^log/prunings/(?P<pk>\d{1,18})/?$", retention.log_pruning, name="log-pruning"),
    re_path(r"^log/verifications/?$", verifications.ask, name="log-verifications"),
    re_path(r"^log/verifications/(?P<pk>\d{1,18})/?$", verifications.one, name="log-verification"),
    re_path(r"^log/checkpoint/?$", reading.checkpoint, name="log-checkpoint"),
    re_path(r"^log/anchors/?$", reading.anchors, name="log-anchors"),
    re_path(r"^log/vkey/?$", reading.vkey, name="log-vkey"),
    re_path(r"^log/consistency/?$", reading.consistency, name="log-consistency"),
    re_path(r"^log/(?P<path>tile/.+?)/?$", reading.tile, name="log-tile"),
]
