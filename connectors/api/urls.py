from rest_framework.routers import SimpleRouter

from connectors.api.views import ConnectorViewSet

router = SimpleRouter(trailing_slash=False)
router.register("connectors", ConnectorViewSet, basename="connector")
urlpatterns = router.urls
