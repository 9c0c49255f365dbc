"""Every address of the installation. An app's pages are in its urls.py, its REST in api/urls.py."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

handler404, handler500 = "config.errors.not_found", "config.errors.server_error"
_APPS = ["accounts", "audit", "connectors", "lineage", "compliance", "datasheets", "reports"]


urlpatterns = [
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="api-docs"),
    *(path("api/v1/", include(f"{app}.api.urls")) for app in _APPS),
    *(path("", include(f"{app}.urls")) for app in _APPS),
]
