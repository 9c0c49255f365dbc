from django.urls import path
from rest_framework.routers import SimpleRouter

from compliance.api.views import DeletionView, NoticeViewSet, RequestViewSet, SuppressionView

router = SimpleRouter(trailing_slash=False)
router.register("requests", RequestViewSet, basename="request")
router.register("notices", NoticeViewSet, basename="notice")
urlpatterns = [
    path("suppression/check", SuppressionView.as_view(), name="suppression"),
    path("deletions", DeletionView.as_view(), name="deletions"),
    *router.urls,
]
