from django.urls import path
from django.urls.resolvers import URLPattern

from datasheets import views

app_name = "datasheets"


def _pages(prefix: str, kind: str, name: str) -> list[URLPattern]:
    given = {"kind": kind}
    return [
        path(prefix, views.sheet, given, name=name),
        path(f"{prefix}edit/<slug:section>/", views.edit, given, name=f"{name}_edit"),
        path(f"{prefix}confirm/", views.confirm, given, name=f"{name}_confirm"),
        path(f"{prefix}measure/", views.measure, given, name=f"{name}_measure"),
        path(f"{prefix}file.<slug:ending>", views.download, given, name=f"{name}_file"),
    ]


urlpatterns = [
    *_pages("datasets/<int:pk>/datasheet/", "dataset", "datasheet"),
    *_pages("models/<int:pk>/card/", "model", "model_card"),
]
