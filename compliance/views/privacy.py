"""The data subject's pages: no account, no JavaScript, nothing personal in any address."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.queries import system_user
from compliance.actions.decisions import withdraw as withdraw_request
from compliance.actions.identity import confirm_code, open_challenge
from compliance.actions.requests import file_request
from compliance.errors import CodeRefusedError, WorkflowError
from compliance.forms import CodeForm, PrivacyForm
from compliance.models import Challenge, Request
from compliance.queries import copies_until, request_of_status_token, status_token
from compliance.states import BEFORE_EXECUTION, State

# What a person needs to know of where their request stands, in their words.
_STAGES = [
    ("We have your request", {State.RECEIVED, State.VERIFYING}),
    (
        "We look for your data",
        {State.TRIAGE, State.DISCOVERY, State.AWAITING_SUBJECT, State.BLOCKED},
    ),
    ("Two people check what will be erased", {State.REVIEW, State.APPROVAL, State.SCHEDULED}),
    (
        "Your data are erased and we read everything again to make sure",
        {State.EXECUTING, State.VERIFYING_ERASURE, State.RESPONDING},
    ),
    ("Done", {State.TAIL_OPEN, State.COMPLETED, State.COMPLETED_PARTIAL}),
]


def start(request: HttpRequest) -> HttpResponse:
    return render(request, "privacy/start.html")


@never_cache
def form(request: HttpRequest) -> HttpResponse:
    given = PrivacyForm(request.POST or None)
    if request.method == "POST" and given.is_valid():
        if given.cleaned_data["website"]:
            return redirect("privacy:start")  # a robot; it learns nothing
        try:
            challenge = _file(given, origin=request.META.get("REMOTE_ADDR", ""))
        except WorkflowError as exc:
            given.add_error(exc.field if exc.field in given.fields else None, str(exc))
        else:
            return redirect("privacy:confirm", token=challenge.token)
    answer = render(request, "privacy/form.html", {"form": given})
    answer.status_code = 422 if given.errors else 200
    return answer


def _file(given: PrivacyForm, *, origin: str) -> Challenge:
    subject = given.subject
    filed = file_request(
        rights=["erasure"],
        subjects=[subject],
        by=system_user("public-form"),
        channel=Request.Channel.FORM,
        # Only an address that the code proved may be written to; see `held_address`.
        contact=subject.value if subject.type == "email" else "",
        origin=origin,
    )
    return open_challenge(filed)


@never_cache
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    challenge = get_object_or_404(Challenge.objects.select_related("request"), token=token)
    if challenge.used_at:
        return redirect("privacy:status", token=status_token(challenge.request))
    given = CodeForm(request.POST or None)
    if request.method == "POST" and given.is_valid():
        try:
            confirmed = confirm_code(challenge, given.cleaned_data["code"])
        except CodeRefusedError as exc:
            given.add_error("code", str(exc))
        except WorkflowError as exc:
            given.add_error(None, str(exc))
        else:
            return redirect("privacy:status", token=status_token(confirmed))
    answer = render(request, "privacy/confirm.html", {"form": given, "challenge": challenge})
    answer.status_code = 422 if given.errors else 200
    return answer


@require_POST
def send_again(request: HttpRequest, token: str) -> HttpResponse:
    """A new code for the same request, at most five in all."""
    challenge = get_object_or_404(Challenge.objects.select_related("request"), token=token)
    filed = challenge.request
    if filed.state != State.VERIFYING or filed.challenges.count() >= 5:
        return redirect("privacy:confirm", token=token)
    return redirect("privacy:confirm", token=open_challenge(filed).token)


def _request_of(token: str) -> Request:
    found = request_of_status_token(token)
    if found is None:
        raise Http404("This link has run out, or is not complete.")
    return found


@never_cache
def status(request: HttpRequest, token: str) -> HttpResponse:
    found = _request_of(token)
    current = next((i for i, (_, states) in enumerate(_STAGES) if found.state in states), None)
    return render(
        request,
        "privacy/status.html",
        {
            "filed": found,
            "token": token,
            "stages": [
                {"text": text, "past": current is not None and i < current, "here": i == current}
                for i, (text, _) in enumerate(_STAGES)
            ],
            "copies_until": found.state == State.TAIL_OPEN and copies_until(found),
            "may_withdraw": found.state in BEFORE_EXECUTION,
        },
    )


@require_POST
def withdraw(request: HttpRequest, token: str) -> HttpResponse:
    found = _request_of(token)
    try:
        withdraw_request(found, by=system_user("public-form"))
    except WorkflowError as exc:
        return render(
            request,
            "privacy/status.html",
            {"filed": found, "token": token, "error": str(exc)},
            status=exc.status,
        )
    return redirect("privacy:status", token=token)
