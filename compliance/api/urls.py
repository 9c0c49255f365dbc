from django.urls import path
from rest_framework.routers import SimpleRouter

from compliance.api.gates import LakefsGateView, UnjudgedView
from compliance.api.views import DeletionView, NoticeViewSet, RequestViewSet, SuppressionView

router = SimpleRouter(trailing_slash=False)
router.register("requests", RequestViewSet, basename="request")
router.register("notices", NoticeViewSet, basename="notice")
urlpatterns = [
    path("gates/lakefs", LakefsGateView.as_view(), name="gates-lakefs"),
    path("gates/lakefs/unjudged", UnjudgedView.as_view(), name="gates-lakefs-unjudged"),
    path("suppression/check", SuppressionView.as_view(), name="suppression"),
    path("deletions", DeletionView.as_view(), name="deletions"),
    *router.urls,
]
