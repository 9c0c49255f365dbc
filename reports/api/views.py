"""Reports and certificates by REST."""

from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import actor_of
from audit.problems import ProblemError
from compliance.queries import requests_visible_to
from reports import actions
from reports.api.serializers import (
    AcceptedReportSerializer,
    NewReportSerializer,
    ReportResultSerializer,
    ReportSerializer,
)
from reports.compliance_report import compliance_report
from reports.downloads import UnknownFormatError, download
from reports.files import DocumentFileMissingError
from reports.models import Certificate, Report
from reports.queries import DocumentMissingError, certificate_of, reports_visible_to
from reports.rendering import question_of

# With the report itself in one answer up to here; above, the .json address has it.
_MOST_INLINE = 1_000_000
_FILES = {
    (200, "application/json"): OpenApiTypes.OBJECT,
    (200, "application/pdf"): OpenApiTypes.BINARY,
}


class _AsAddressed(DefaultContentNegotiation):
    """The address says which file is wanted, whatever the Accept header says."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class ReportViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Report]
):
    """Compliance reports: asked for, rendered by a worker, then there as JSON and PDF."""

    required_permission = "reports.create"
    serializer_class = ReportSerializer
    queryset = Report.objects.none()
    lookup_value_regex = r"\d+"

    def get_queryset(self) -> QuerySet[Report]:
        return reports_visible_to(self.request.user)

    @extend_schema(request=NewReportSerializer, responses={202: AcceptedReportSerializer})
    def create(self, request: Request) -> Response:
        """Asks for a report. Answers at once; poll `url` until `state` is done or failed."""
        given = NewReportSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        try:
            report = actions.request_report(
                kind=asked["kind"],
                resource=asked["resource"],
                start=asked["start_date"],
                end=asked["end_date"],
                by=actor_of(request),
            )
        except actions.ReportRefusedError as exc:
            raise _refusal(exc) from exc
        url = f"/api/v1/reports/{report.pk}"
        return Response(
            {"id": report.pk, "state": report.state, "url": url},
            status=202,
            headers={"Location": url},
        )

    @extend_schema(responses={200: ReportResultSerializer, 202: ReportSerializer})
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """202 while it is rendered. Once done, also the guide's keys: `total_events` and so on,
        and `events` unless the report is very large; the `.json` address always has all."""
        report = self.get_object()
        about = dict(ReportSerializer(report).data)
        if report.is_under_way:
            return Response(about, status=202)
        return Response({**_result(report), **about})


def _result(report: Report) -> dict[str, Any]:
    said = report.content
    if said is None or report.as_of is None or report.state != Report.State.DONE:
        return {}
    size = next(f["bytes"] for f in said["attachments"] if f["name"] == "events.jsonl")
    if size > _MOST_INLINE:
        return {**said, "events": None}
    content = compliance_report(question_of(report, as_of=report.as_of))
    return {**said, "events": list(content.events)}


def _refusal(exc: actions.ReportRefusedError) -> ProblemError:
    return ProblemError(
        400,
        "Invalid input",
        str(exc),
        errors=[{"field": exc.field, "reason": exc.reason, "fix": exc.fix}],
    )


def _answer(request: Request, document: Certificate | Report, ending: str) -> FileResponse:
    try:
        return download(document, ending, by=actor_of(request))
    except UnknownFormatError as exc:
        raise ProblemError(409, "Not rendered yet", str(exc)) from exc
    except DocumentFileMissingError as exc:
        raise ProblemError(500, "File missing", str(exc)) from exc


class ReportFileView(APIView):
    """A report's files, byte for byte as they were rendered; each download is on record."""

    required_permission = "reports.create"
    content_negotiation_class = _AsAddressed

    @extend_schema(operation_id="reports_file", responses=_FILES)
    def get(self, request: Request, pk: str, ending: str) -> FileResponse:
        report = get_object_or_404(reports_visible_to(actor_of(request)), pk=pk)
        return _answer(request, report, ending)


class _Certificates(APIView):
    content_negotiation_class = _AsAddressed

    @property
    def required_permission(self) -> str:
        user = self.request.user
        return "requests.read" if user.has_perm("requests.read") else "requests.file"

    def _file(self, request: Request, reference: str, ending: str) -> FileResponse:
        case = get_object_or_404(requests_visible_to(actor_of(request)), reference=reference)
        try:
            certificate = certificate_of(case)
        except DocumentMissingError as exc:
            raise ProblemError(409, "No certificate", str(exc)) from exc
        return _answer(request, certificate, ending)


class CertificateView(_Certificates):
    """The newest certificate of a request as JSON; 409 says why there is none yet."""

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, reference: str) -> FileResponse:
        return self._file(request, reference, "json")


class CertificateFileView(_Certificates):
    """The newest certificate of a request as PDF, as JSON, or its evidence bundle alone."""

    @extend_schema(operation_id="requests_certificate_file", responses=_FILES)
    def get(self, request: Request, reference: str, ending: str) -> FileResponse:
        return self._file(request, reference, ending)
