from django.urls import path

from lineage import views

app_name = "lineage"
urlpatterns = [
    path("datasets/", views.datasets, name="datasets"),
    path("datasets/<int:pk>/", views.dataset, name="dataset"),
    path("datasets/<int:pk>/sync/", views.sync, name="sync"),
    path("models/", views.models, name="models"),
    path("models/<int:pk>/", views.model, name="model"),
    path("models/<int:pk>/<int:version>/use/", views.put_in_use, name="put_in_use"),
    path("models/<int:pk>/<int:version>/retire/", views.retire, name="retire"),
]
