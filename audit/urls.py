"""The log's pages, and the addresses that stand at the root by standard or custom."""

from django.urls import path, re_path

from audit import retention_pages, views
from audit.api import reading

app_name = "audit"
urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("log/", views.log, name="log"),
    path("log/<int:seq>/", views.log_entry, name="entry"),
    path("log/<int:seq>/evidence.json", views.entry_evidence, name="entry_evidence"),
    path("log/complete.json", views.complete_evidence_file, name="complete_evidence"),
    path("log/logs/", views.logs, name="logs"),
    path("log/verification/", views.verification, name="verification"),
    path("log/retention/", retention_pages.retention, name="retention"),
    path("log/retention/end/", retention_pages.end, name="end_policy"),
    path("log/retention/hold/", retention_pages.hold, name="place_hold"),
    path("log/retention/hold/<int:pk>/release/", retention_pages.release, name="release_hold"),
    path("log/retention/plan/", retention_pages.plan, name="plan_pruning"),
    path("log/retention/prune/<slug:plan_hash>/", retention_pages.confirm, name="confirm_pruning"),
    path("log/verify/", views.verify_now, name="verify_now"),
    re_path(r"^log/export\.(?P<file_format>csv|jsonl)$", views.export_log, name="export"),
    re_path(r"^log/checkpoint/?$", reading.checkpoint, name="checkpoint"),
    re_path(r"^log/vkey/?$", reading.vkey, name="vkey"),
    re_path(r"^log/consistency/?$", reading.consistency, name="consistency"),
    re_path(r"^log/(?P<path>tile/.+?)/?$", reading.tile, name="tile"),
    *(
        re_path(rf"^log/(?P<log>[a-z][a-z0-9-]*)/{address}$", door, name=f"unit_{name}")
        for address, door, name in (
            (r"checkpoint/?", reading.checkpoint, "checkpoint"),
            (r"vkey/?", reading.vkey, "vkey"),
            (r"consistency/?", reading.consistency, "consistency"),
            (r"(?P<path>tile/.+?)/?", reading.tile, "tile"),
        )
    ),
    path("verify/", views.verify_document, name="verify"),
]
