"""Datasheets and model cards by REST: read in several forms, answer."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import actor_of
from audit.problems import ProblemError
from audit.queries import NothingSignedError
from datasheets.actions import AnswersRefusedError, Given, answer_questions, note_export, open_sheet
from datasheets.api.serializers import GivenAnswersSerializer, SheetSerializer
from datasheets.catalog import DATASHEET, MODEL_CARD, Kind, catalogue
from datasheets.exports import as_json, as_markdown
from datasheets.issuing import file_name, issued_pdf
from datasheets.queries.sheets import sheet_view
from datasheets.rendering import RenderError
from lineage.models import Dataset
from lineage.queries import (
    NodeError,
    NodeUnknownError,
    datasets_visible_to,
    models_visible_to,
    resolve,
)

FORMATS = ("json", "markdown", "pdf")
_AS = OpenApiParameter(
    "as", str, enum=FORMATS, description="The form of the document; without it, json."
)
_NAME = OpenApiParameter(
    "name", str, OpenApiParameter.PATH, description="Id of the registry, or its node, URL-encoded."
)


_FORMS = {
    (200, "application/json"): SheetSerializer,
    (200, "text/markdown"): str,
    (200, "application/pdf"): bytes,
}


class _ByParameter(DefaultContentNegotiation):
    """`?as=` says in which form; `Accept: application/pdf` is no reason to refuse a PDF."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class _SheetView(APIView):
    """Both kinds of document behave alike; only whom they speak of differs."""

    required_permissions = {"GET": "documents.read", "PUT": "documents.edit"}
    content_negotiation_class = _ByParameter
    noun = "dataset"

    def _dataset(self, request: Request, name: str) -> Dataset:
        user = actor_of(request)
        rows = models_visible_to(user) if self.noun == "model" else datasets_visible_to(user)
        if name.isascii() and name.isdecimal():
            found = rows.filter(pk=int(name)).first() if len(name) < 19 else None
        else:
            found = self._by_node(rows, name)
        if found is None:
            raise NotFound(f"There is no {self.noun} {name[:200]} that you may see.")
        return found

    def _by_node(self, rows: Any, name: str) -> Dataset | None:
        try:
            node = resolve(name, default_kind=self.noun)
        except (NodeError, NodeUnknownError):
            return None
        return rows.filter(pk=node.dataset.pk).first() if node.dataset else None

    def _get(self, request: Request, name: str) -> HttpResponse | Response:
        wanted = request.query_params.get("as", "json")
        if wanted not in FORMATS:
            raise ProblemError(
                400,
                "Unknown format",
                f"A {self.noun} document cannot be had as {wanted[:40]!r} yet. "
                f"Use one of {', '.join(FORMATS)}.",
                errors=[
                    {
                        "field": "as",
                        "reason": "This form is not available.",
                        "fix": f"Use one of {', '.join(FORMATS)}.",
                    }
                ],
            )
        dataset = self._dataset(request, name)
        view = sheet_view(dataset)
        if wanted == "json":
            return Response(as_json(view))
        user = actor_of(request)
        if wanted == "markdown":
            data, ending, mime = as_markdown(view).encode(), "md", "text/markdown; charset=utf-8"
        else:
            try:
                data, ending, mime = issued_pdf(dataset, by=user), "pdf", "application/pdf"
            except (RenderError, NothingSignedError) as exc:
                raise ProblemError(503, "The PDF could not be made", str(exc)) from exc
        note_export(dataset, ending, data, by=user)
        name = file_name(view, ending)
        return HttpResponse(
            data, content_type=mime, headers={"Content-Disposition": f'inline; filename="{name}"'}
        )

    def _put(self, request: Request, name: str) -> Response:
        dataset, user = self._dataset(request, name), actor_of(request)
        body = GivenAnswersSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        kind: Kind = DATASHEET if self.noun == "dataset" else MODEL_CARD
        given = _given(kind, body.validated_data)
        if not given:
            raise ProblemError(
                400,
                "Nothing to save",
                'Send {"answers": {"<question id>": {"value": …}}}.',
                errors=[{"field": "answers", "reason": "There is no answer in the body."}],
            )
        try:
            answer_questions(open_sheet(dataset, by=user), given, by=user)
        except AnswersRefusedError as exc:
            raise ProblemError(
                400,
                "Invalid answers",
                f"{exc} Nothing was saved.",
                errors=[
                    {"field": f"answers.{f.question_id}", "reason": f.reason, "fix": f.fix}
                    for f in exc.faults
                ],
            ) from exc
        return Response(as_json(sheet_view(dataset)))


class DatasheetView(_SheetView):
    """The datasheet of a dataset, by its id or node."""

    noun = "dataset"

    @extend_schema(parameters=[_NAME, _AS], responses=_FORMS)
    def get(self, request: Request, name: str) -> HttpResponse | Response:
        return self._get(request, name)

    @extend_schema(parameters=[_NAME], request=GivenAnswersSerializer, responses=SheetSerializer)
    def put(self, request: Request, name: str) -> Response:
        return self._put(request, name)


class ModelCardView(_SheetView):
    """The model card of a model, by its id or node."""

    noun = "model"

    @extend_schema(parameters=[_NAME, _AS], responses=_FORMS)
    def get(self, request: Request, name: str) -> HttpResponse | Response:
        return self._get(request, name)

    @extend_schema(parameters=[_NAME], request=GivenAnswersSerializer, responses=SheetSerializer)
    def put(self, request: Request, name: str) -> Response:
        return self._put(request, name)


def _given(kind: Kind, body: Mapping[str, Any]) -> dict[str, Given]:
    """The answers of a PUT. Raises ProblemError for fields that the guide's DataSheet lacks."""
    fields = catalogue(kind).guide_fields
    unknown = sorted(set(body["datasheet"]) - set(fields))
    if unknown:
        known = ", ".join(fields) or "none: a model card is answered by question id"
        raise ProblemError(
            400,
            "Invalid answers",
            f"The guide's DataSheet has no field {', '.join(unknown)}. Nothing was saved.",
            errors=[
                {
                    "field": f"datasheet.{name}",
                    "reason": "Unknown field.",
                    "fix": f"Known: {known}.",
                }
                for name in unknown
            ],
        )
    guide = {
        fields[name]: Given(value=_guide_value(name, value))
        for name, value in body["datasheet"].items()
    }
    return guide | {
        key: Given(a["value"], a["state"], a["reason"]) for key, a in body["answers"].items()
    }


def _guide_value(name: str, value: Any) -> Any:
    """What the guide's field means to our question: its consent is true or false, ours is whose."""
    if name == "consent_obtained" and isinstance(value, bool):
        return "all" if value else "none"
    return value
