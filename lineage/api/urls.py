"""Lineage's REST, below /api/v1/. The doors answer with and without a trailing slash."""

from django.urls import path, re_path
from rest_framework.routers import SimpleRouter

from lineage.api import doors, schema
from lineage.api.views import (
    DatasetViewSet,
    ExplanationView,
    GateView,
    ModelViewSet,
    SubjectUsageView,
    SyncView,
)

schema.describe()

router = SimpleRouter(trailing_slash=False)
router.register("datasets", DatasetViewSet, basename="dataset")
router.register("models", ModelViewSet, basename="model")

urlpatterns = [
    re_path(r"^lineage/?$", doors.lineage, name="lineage"),
    re_path(r"^lineage/batch/?$", doors.receive_openlineage_batch, name="lineage-batch"),
    re_path(r"^usage/?$", doors.receive_usage, name="usage"),
    path("subjects/usage", SubjectUsageView.as_view(), name="subject-usage"),
    path(
        "predictions/<path:prediction_id>/explanation", ExplanationView.as_view(),
        name="prediction-explanation",
    ),
    path("gates/evaluate", GateView.as_view(), name="gates-evaluate"),
    path("connectors/<int:pk>/sync", SyncView.as_view(), name="connector-sync"),
    *router.urls,
]  # fmt: skip
