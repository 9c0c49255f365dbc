from django.urls import include, path

from compliance.views import approvals, notices, privacy, requests

privacy_urls = [
    path("", privacy.start, name="start"),
    path("erasure/", privacy.form, name="form"),
    path("confirm/<str:token>/", privacy.confirm, name="confirm"),
    path("confirm/<str:token>/again/", privacy.send_again, name="send_again"),
    path("status/<str:token>/", privacy.status, name="status"),
    path("status/<str:token>/withdraw/", privacy.withdraw, name="withdraw"),
]
workflow_urls = [
    path("requests/", requests.queue, name="requests"),
    path("requests/new/", requests.new, name="new_request"),
    path("requests/approvals/", approvals.approvals, name="approvals"),
    path("requests/<str:reference>/", requests.show, name="request"),
    path("requests/<str:reference>/<str:verb>/", requests.act, name="act"),
    path(
        "requests/<str:reference>/copies/<int:tail>/<str:verb>/",
        requests.act_on_tail,
        name="act_on_tail",
    ),
    path("notices/", notices.index, name="notices"),
    path("notices/<int:pk>/", notices.show, name="notice"),
    path("notices/<int:pk>/<str:verb>/", notices.act, name="answer"),
]
urlpatterns = [
    path("privacy/", include((privacy_urls, "privacy"))),
    path("", include((workflow_urls, "compliance"))),
]
