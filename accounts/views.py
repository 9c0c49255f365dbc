"""Sign-in, the sample mailbox, and the administrator's pages of people and keys."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.actions import AccountError, create_key, create_user, disable_user, note_sign_in
from accounts.actions import revoke_key as end_key
from accounts.auth import actor_of
from accounts.forms import KeyForm, UserForm
from accounts.mailbox import kept_messages
from accounts.models import User
from accounts.queries import api_keys, sample_sign_ins
from accounts.queries import users as all_users
from audit.doors import page


class SignInView(auth_views.LoginView):
    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True

    def form_valid(self, form: object) -> HttpResponse:
        answer = super().form_valid(form)  # type: ignore[arg-type]
        if isinstance(self.request.user, User):
            note_sign_in(self.request.user)
        return answer

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        return super().get_context_data(**kwargs) | {
            "sample_sign_ins": sample_sign_ins(),
            "mailbox_url": "/mailbox/" if _mailbox_is_open() else "",
        }


def _mailbox_is_open() -> bool:
    """Only the sample company's mail, which is synthetic, is shown to whoever asks."""
    return bool(settings.VESTIGE_SAMPLE and not settings.EMAIL_URL)


@never_cache
def sample_mailbox(request: HttpRequest) -> HttpResponse:
    if not _mailbox_is_open():
        raise Http404
    return render(request, "accounts/mailbox.html", {"mails": kept_messages()})


@page("accounts.manage")
def users(request: HttpRequest) -> HttpResponse:
    form = UserForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = create_user(**form.cleaned_data, by=actor_of(request))
        except AccountError as exc:
            form.add_error(exc.field if exc.field in form.fields else None, str(exc))
        except ValidationError as exc:
            form.add_error("password", exc)
        else:
            messages.success(request, f"{made.name} can sign in now.")
            return redirect("accounts:users")
    return render(request, "accounts/users.html", {"users": all_users(), "form": form})


@page("accounts.manage")
@require_POST
def disable(request: HttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(all_users(), pk=pk)
    try:
        disable_user(user, by=actor_of(request))
    except AccountError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, f"{user.name} can no longer sign in, nor can their keys be used.")
    return redirect("accounts:users")


@page("accounts.manage")
@never_cache
def keys(request: HttpRequest) -> HttpResponse:
    form = KeyForm(request.POST or None)
    new_key = None
    if request.method == "POST" and form.is_valid():
        try:
            _, new_key = create_key(**form.cleaned_data, by=actor_of(request))
            form = KeyForm()
        except AccountError as exc:
            form.add_error(exc.field if exc.field in form.fields else None, str(exc))
    return render(
        request, "accounts/keys.html", {"keys": api_keys(), "form": form, "new_key": new_key}
    )


@page("accounts.manage")
@require_POST
def revoke_key(request: HttpRequest, pk: int) -> HttpResponse:
    key = get_object_or_404(api_keys(), pk=pk)
    end_key(key, by=actor_of(request))
    messages.success(request, f"The key {key.name} is revoked.")
    return redirect("accounts:keys")
