"""The registry by REST: datasets, models, their versions, usage, explanations, gates, sync."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from accounts.auth import actor_of
from accounts.queries import users
from audit.pagination import CursorPages
from audit.problems import ProblemError
from audit.subjects import SubjectError, SubjectRef, lookup
from connectors.adapters.base import StoreError
from connectors.queries import connectors_visible_to
from lineage.actions import (
    LineageError,
    describe,
    evaluate_gate,
    note_explained,
    note_usage_read,
    put_model_in_use,
    retire_model_version,
    set_owner,
    sync_connector,
)
from lineage.api import serializers as bodies
from lineage.gates import Candidate, Limit
from lineage.models import Dataset, Version
from lineage.queries import (
    NodeError,
    NodeUnknownError,
    datasets_visible_to,
    explanation,
    may_decide_on,
    models_visible_to,
    resolve,
    training_of,
    usage_of_prediction,
    usage_of_subject,
    usage_record,
    versions_visible_to,
    with_use,
    with_versions,
    written_versions,
)

MAX_USAGE_RECORDS = 10_000
_FILTERS = [
    OpenApiParameter("name", str, description="Exactly this name"),
    OpenApiParameter("namespace", str, description="Exactly this namespace"),
    OpenApiParameter("node", str, description="Exactly this node"),
    OpenApiParameter("q", str, description="A part of the name or title"),
]


class NewestVersionsFirst(CursorPages):
    ordering = ("-created_at", "-pk")


def _given(serializer: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    given = serializer(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def _invalid(field: str, reason: str) -> ProblemError:
    return ProblemError(
        422, "Unprocessable Content", reason, errors=[{"field": field, "reason": reason}]
    )


class _RegistryViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Dataset]
):
    required_permissions = {"GET": "lineage.read"}
    queryset = Dataset.objects.none()
    lookup_value_regex = r"\d{1,18}"

    def _filtered(self, rows: QuerySet[Dataset]) -> QuerySet[Dataset]:
        wanted = self.request.query_params
        for field in ("name", "namespace", "node"):
            if field in wanted:
                rows = rows.filter(**{field: wanted[field]})
        if part := wanted.get("q"):
            rows = rows.filter(name__icontains=part) | rows.filter(title__icontains=part)
        return rows

    def _counted(self, rows: QuerySet[Dataset]) -> QuerySet[Dataset]:
        return with_versions(rows)

    def paginate_queryset(self, queryset: Any) -> Any:
        """Counts are added to the rows of the page, not to all rows before it is cut out."""
        page = super().paginate_queryset(queryset) or []
        found = self._counted(queryset).in_bulk([row.pk for row in page])
        return [found[row.pk] for row in page]

    def get_object(self) -> Dataset:
        return self._counted(self.get_queryset()).get(pk=super().get_object().pk)

    def _change(self, row: Dataset) -> Response:
        given = _given(bodies.DescriptionSerializer, self.request)
        by = actor_of(self.request)
        if "owner" in given:
            name = given.pop("owner")
            owner = users().filter(username=name, is_active=True).first() if name else None
            if name and owner is None:
                raise _invalid("owner", f"There is no active user {name}.")
            set_owner(row, owner, by=by)
        describe(row, **given, by=by)
        return Response(self.get_serializer(self.get_object()).data)

    def _versions(
        self, rows: QuerySet[Version], serializer: type[bodies.VersionSerializer]
    ) -> Response:
        pages = NewestVersionsFirst()
        page = pages.paginate_queryset(rows, self.request, view=self) or []
        context = {"trained_on": _trained_on(page)}
        return pages.get_paginated_response(serializer(page, many=True, context=context).data)


def _trained_on(versions: list[Version]) -> dict[int, list[str]]:
    models = [version for version in versions if version.dataset.is_model]
    return {pk: [v.node for v in found] for pk, found in training_of(models).items()}


class DatasetViewSet(_RegistryViewSet):
    """Datasets that pipelines, stores and people have made known."""

    required_permissions = {"GET": "lineage.read", "PATCH": "connectors.manage"}
    serializer_class = bodies.DatasetSerializer

    def get_queryset(self) -> QuerySet[Dataset]:
        return self._filtered(datasets_visible_to(actor_of(self.request)))

    @extend_schema(parameters=_FILTERS)
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(request=bodies.DescriptionSerializer, responses=bodies.DatasetSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Owner, title and description, in words that outweigh what pipelines report."""
        return self._change(self.get_object())

    @extend_schema(responses=bodies.VersionSerializer(many=True))
    @action(detail=True, methods=["get"])
    def versions(self, request: Request, pk: str) -> Response:
        """Versions, newest first; purged ones stay and say when they went."""
        rows = versions_visible_to(actor_of(request)).filter(
            dataset=self.get_object(), read_by=None
        )
        return self._versions(rows, bodies.VersionSerializer)


class ModelViewSet(_RegistryViewSet):
    """Models: datasets of kind "model"."""

    required_permissions = {
        "GET": "lineage.read", "POST": "notices.answer", "PATCH": "notices.answer",
    }  # fmt: skip
    serializer_class = bodies.ModelSerializer

    def get_queryset(self) -> QuerySet[Dataset]:
        return self._filtered(models_visible_to(actor_of(self.request)))

    def _counted(self, rows: QuerySet[Dataset]) -> QuerySet[Dataset]:
        return with_use(with_versions(rows))

    @extend_schema(parameters=_FILTERS)
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(request=bodies.DescriptionSerializer, responses=bodies.ModelSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Owner, title and description. For its owner; while it has none, for model owners."""
        return self._change(self._own())

    @extend_schema(responses=bodies.ModelVersionSerializer(many=True))
    @action(detail=True, methods=["get"])
    def versions(self, request: Request, pk: str) -> Response:
        """Versions, newest first, with what each was trained on."""
        rows = versions_visible_to(actor_of(request)).filter(
            dataset=self.get_object(), read_by=None
        )
        return self._versions(rows, bodies.ModelVersionSerializer)

    @extend_schema(request=None, responses=bodies.ModelVersionSerializer)
    @action(detail=True, methods=["post"], url_path=r"versions/(?P<version>[^/]+)/use")
    def use(self, request: Request, pk: str, version: str) -> Response:
        """Put this version in use: it answers somebody from now on. For model owners."""
        return self._decide(put_model_in_use, version)

    @extend_schema(request=None, responses=bodies.ModelVersionSerializer)
    @action(detail=True, methods=["post"], url_path=r"versions/(?P<version>[^/]+)/retire")
    def retire(self, request: Request, pk: str, version: str) -> Response:
        """Take this version out of use for good. For model owners."""
        return self._decide(retire_model_version, version)

    def _own(self) -> Dataset:
        model = self.get_object()
        if not may_decide_on(actor_of(self.request), model):
            raise ProblemError(403, "Forbidden", f"{model} belongs to {model.owner}. Ask them.")
        return model

    def _decide(self, decision: Any, version: str) -> Response:
        model = self._own()
        row = get_object_or_404(
            written_versions().select_related("dataset"), dataset=model, version=version
        )
        try:
            decision(row, by=actor_of(self.request))
        except LineageError as exc:
            raise ProblemError(
                409, "Conflict", str(exc), errors=[{"field": exc.field, "reason": str(exc)}]
            ) from exc
        context = {"trained_on": _trained_on([row])}
        return Response(bodies.ModelVersionSerializer(row, context=context).data)


class SubjectUsageView(APIView):
    """What was done with one person's data."""

    required_permission = "subjects.read"

    @extend_schema(
        request=bodies.SubjectQuestionSerializer, responses=bodies.SubjectUsageSerializer
    )
    def post(self, request: Request) -> Response:
        """A POST, because the identifier must not stand in a URL. The question is recorded."""
        given = _given(bodies.SubjectQuestionSerializer, request)["subject"]
        subject = SubjectRef(**given)
        try:
            key = lookup(subject)
        except SubjectError as exc:
            raise _invalid(f"subject.{exc.field}", str(exc)) from exc
        records = [usage_record(u) for u in usage_of_subject([key])[:MAX_USAGE_RECORDS]]
        note_usage_read(subject, len(records), by=actor_of(request))
        return Response({"count": len(records), "usage": records})


class ExplanationView(APIView):
    """How a prediction came about (Article 22 GDPR)."""

    required_permission = "lineage.read"

    @extend_schema(responses=bodies.ExplanationSerializer)
    def get(self, request: Request, prediction_id: str) -> Response:
        usages = list(usage_of_prediction(prediction_id))
        if not usages:
            raise ProblemError(
                404, "Not Found",
                "No usage was recorded for this prediction, or its person was erased.",
            )  # fmt: skip
        note_explained(usages, by=actor_of(request))
        return Response(explanation(usages))


class SyncView(APIView):
    """Reads a store's versions into the registry."""

    required_permission = "connectors.sync"

    @extend_schema(request=None, responses=bodies.SyncSerializer)
    def post(self, request: Request, pk: int) -> Response:
        connector = get_object_or_404(connectors_visible_to(actor_of(request)), pk=pk)
        if connector.disabled_at is not None:
            raise ProblemError(409, "Conflict", f"{connector.name} is disabled.")
        try:
            result = sync_connector(connector, by=actor_of(request))
        except StoreError as exc:
            raise ProblemError(
                422, "Store cannot be read", str(exc),
                errors=[{"field": "location", "reason": str(exc)}],
            ) from exc  # fmt: skip
        return Response(bodies.SyncSerializer(result).data)


class GateView(APIView):
    """The version policy and quality gates of the guide's Appendix B."""

    required_permission = "gates.evaluate"

    @extend_schema(request=bodies.GateSerializer, responses=bodies.VerdictSerializer)
    def post(self, request: Request) -> Response:
        """Pass, review or fail a new version of a dataset; the verdict is recorded."""
        given = _given(bodies.GateSerializer, request)
        try:
            dataset = resolve(given["dataset"], default_kind="dataset").dataset
        except (NodeError, NodeUnknownError) as exc:
            raise _invalid("dataset", str(exc)) from exc
        if dataset is None:
            raise _invalid("dataset", f"{given['dataset']} is no dataset.")
        candidate = dict(given["candidate"])
        old_rows = candidate.pop("old_rows", None)
        schema = candidate.pop("schema", None)
        verdict = evaluate_gate(
            dataset,
            Candidate(
                schema=None if schema is None else {c["name"]: c["type"] for c in schema},
                **candidate,
            ),
            old_rows=old_rows,
            metrics=given["metrics"],
            limits={name: Limit(**limit) for name, limit in given["limits"].items()},
            by=actor_of(request),
        )
        return Response(
            bodies.VerdictSerializer({
                "verdict": verdict.verdict,
                "reasons": [reason.text for reason in verdict.reasons],
                "findings": verdict.reasons,
                "change": verdict.change,
                "next_version": verdict.next_version,
            }).data
        )  # fmt: skip
