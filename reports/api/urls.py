from django.urls import path, re_path
from rest_framework.routers import SimpleRouter

from reports.api.views import (
    CertificateFileView,
    CertificateView,
    ReportFileView,
    ReportViewSet,
)

router = SimpleRouter(trailing_slash=False)
router.register("reports", ReportViewSet, basename="report")
_ENDING = r"(?P<ending>(?:json|pdf|evidence\.json))"
urlpatterns = [
    re_path(rf"^reports/(?P<pk>\d+)\.{_ENDING}$", ReportFileView.as_view(), name="report-file"),
    path(
        "requests/<str:reference>/certificate",
        CertificateView.as_view(),
        name="certificate",
    ),
    re_path(
        rf"^requests/(?P<reference>R-\d+-\d+)/certificate\.{_ENDING}$",
        CertificateFileView.as_view(),
        name="certificate-file",
    ),
    *router.urls,
]
