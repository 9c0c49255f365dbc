"""What is answered where no view answers: a page to people, a problem to machines.

Data subjects, who cannot sign in, get a page of theirs.
"""

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from audit.problems import problem
from config.handlers import is_for_machines


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_for_machines(request.path_info):
        return problem(404, "Not Found", "There is no such address. See /api/docs/ for those.")
    page = "privacy/not_found.html" if request.path_info.startswith("/privacy/") else "404.html"
    return defaults.page_not_found(request, exception, page)


def server_error(request: HttpRequest) -> HttpResponse:
    if is_for_machines(request.path_info):
        return problem(
            500,
            "Internal Server Error",
            "This is a fault of ours, and the server's log has it. Look whether the request took"
            " effect before you send it again.",
        )
    return defaults.server_error(request)
