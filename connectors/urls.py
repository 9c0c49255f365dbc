from django.urls import path

from connectors import views

app_name = "connectors"
urlpatterns = [
    path("stores/", views.stores, name="stores"),
    path("stores/connect/", views.connect, name="connect"),
    path("stores/<int:pk>/", views.store, name="store"),
    path("stores/<int:pk>/files/", views.files, name="files"),
    path("stores/<int:pk>/files.csv", views.files_as_csv, name="files_csv"),
    path("stores/<int:pk>/compare/", views.compare, name="compare"),
    path("stores/<int:pk>/test/", views.test, name="test"),
    path("stores/<int:pk>/tails/", views.tails, name="tails"),
    path("stores/<int:pk>/disable/", views.disable, name="disable"),
]
