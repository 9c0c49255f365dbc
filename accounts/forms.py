from django import forms

from accounts.roles import Role
from audit.logs import all_logs


class UserForm(forms.Form):
    username = forms.SlugField(max_length=150, label="User name")
    name = forms.CharField(max_length=150, label="Name")
    email = forms.EmailField(required=False, label="E-mail address")
    roles = forms.MultipleChoiceField(choices=Role.choices, widget=forms.CheckboxSelectMultiple)
    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 12 characters.",
    )


def _logs() -> list[tuple[str, str]]:
    return [("", "Not bound to one"), *((log.name, log.name) for log in all_logs())]


class KeyForm(forms.Form):
    name = forms.CharField(max_length=150, help_text="The service that will use the key.")
    roles = forms.MultipleChoiceField(choices=Role.choices, widget=forms.CheckboxSelectMultiple)
    expires_at = forms.DateTimeField(
        required=False,
        label="Expires at (UTC)",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Leave empty for a key without an end.",
    )
    log = forms.ChoiceField(
        choices=_logs,
        required=False,
        help_text="A bound key appends to, reads and verifies that log, and does nothing else.",
    )
