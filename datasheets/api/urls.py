from django.urls import path

from datasheets.api.views import DatasheetView, ModelCardView

# Names come URL-encoded and may hold slashes: dataset:s3%3A%2F%2Fshop:orders.
urlpatterns = [
    path("datasheets/<path:name>", DatasheetView.as_view(), name="api-datasheet"),
    path("model-cards/<path:name>", ModelCardView.as_view(), name="api-model-card"),
]
