from django.urls import include, path

from reports import views

documents = [
    path("reports/", views.reports, name="reports"),
    path("reports/<int:pk>/", views.report, name="report"),
    path("reports/<int:pk>/retry/", views.retry_report, name="retry_report"),
    path("reports/<int:pk>/report.<str:ending>", views.report_file, name="report_file"),
    path("certificates/", views.certificates, name="certificates"),
    path("certificates/<str:reference>/", views.certificate, name="certificate"),
    path("certificates/<str:reference>/retry/", views.retry_certificate, name="retry_certificate"),
    path(
        "certificates/<str:reference>/certificate.<str:ending>",
        views.certificate_file,
        name="certificate_file",
    ),
]
urlpatterns = [
    path("", views.home, name="home"),
    path("", include((documents, "reports"))),
]
