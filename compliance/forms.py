from typing import Any

from django import forms
from django.core.validators import validate_email

from audit.subjects import SubjectRef
from compliance.actions.decisions import REFUSAL_GROUNDS
from compliance.clock import REGIMES


class PrivacyForm(forms.Form):
    """The public form: who it is about, and nothing that is not needed to find them."""

    kind = forms.ChoiceField(
        label="How do we know you?",
        choices=[("email", "By my e-mail address"), ("customer", "By my customer number")],
        widget=forms.RadioSelect,
        initial="email",
    )
    email = forms.CharField(
        required=False,
        label="E-mail address",
        max_length=254,
        widget=forms.TextInput(
            attrs={"type": "email", "autocomplete": "email", "spellcheck": "false"}
        ),
    )
    customer = forms.CharField(
        required=False,
        label="Customer number",
        max_length=100,
        help_text="We send the code to the e-mail address that we hold for this number.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    website = forms.CharField(required=False)  # a trap: people do not see it, robots fill it

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        kind = cleaned.get("kind")
        if kind and not cleaned.get(kind, "").strip():
            words = {"email": "your e-mail address", "customer": "your customer number"}
            self.add_error(kind, f"Enter {words[kind]}.")
        elif kind == "email":
            try:
                validate_email(cleaned["email"].strip())
            except forms.ValidationError:
                self.add_error("email", "Enter an address like name@example.org.")
        return cleaned

    @property
    def subject(self) -> SubjectRef:
        kind = self.cleaned_data["kind"]
        return SubjectRef(kind, self.cleaned_data[kind].strip())


class CodeForm(forms.Form):
    code = forms.CharField(
        label="Confirmation code",
        max_length=20,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "class": "code"}
        ),
    )


class StaffRequestForm(forms.Form):
    """A request that came on paper or by telephone, with its true day of receipt."""

    subject_type = forms.ChoiceField(
        label="Identifier", choices=[("customer", "Customer number"), ("email", "E-mail address")]
    )
    subject_value = forms.CharField(label="Value", max_length=254)
    contact = forms.EmailField(
        required=False,
        label="E-mail address for our answer",
        help_text="Leave empty to answer by post.",
    )
    regime = forms.ChoiceField(
        label="Law", choices=[(r.key, r.name) for r in REGIMES.values()], initial="gdpr"
    )
    received_at = forms.DateTimeField(
        label="Received at (UTC)",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="When it reached you. Leave empty if it is reaching you now.",
    )


class VerifyForm(forms.Form):
    method = forms.ChoiceField(
        label="How the identity was checked",
        choices=[
            ("signed-in account", "Signed-in account"),
            ("two held attributes", "Two attributes that we hold"),
            ("call back to a held number", "Call back to a number that we hold"),
            ("document, by the DPO's decision", "Document, by the DPO's decision"),
        ],
    )
    note = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), label="Note (kept sealed)"
    )


class ReasonForm(forms.Form):
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), label="Reason")


class RefuseForm(ReasonForm):
    ground = forms.ChoiceField(label="Ground", choices=list(REFUSAL_GROUNDS.items()))
    field_order = ["ground", "reason"]


class RetainForm(ReasonForm):
    dataset = forms.ChoiceField(label="Location to keep")
    exemption = forms.ChoiceField(
        label="Exemption",
        choices=[(k, v) for k, v in REFUSAL_GROUNDS.items() if k.startswith("17")],
    )
    field_order = ["dataset", "exemption", "reason"]

    def __init__(self, *args: Any, nodes: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"] = forms.ChoiceField(
            label="Location to keep", choices=[(node, node) for node in nodes]
        )


MODE_WORDS = {
    "purge": "They go, and their files with them",
    "keep_history": "They stay readable, without the person",
}


class ModeForm(forms.Form):
    """What becomes of a location's older versions; `nodes` are those where there is a choice."""

    dataset = forms.ChoiceField(label="Location")
    mode = forms.ChoiceField(label="Its older versions", choices=list(MODE_WORDS.items()))

    def __init__(self, *args: Any, nodes: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"] = forms.ChoiceField(
            label="Location", choices=[(node, node) for node in nodes]
        )


class CloseTailForm(forms.Form):
    note = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}),
        label="How you know that it is gone",
        help_text="Such as who looked, where, and when.",
    )


class ProlongTailForm(ReasonForm):
    until = forms.DateTimeField(
        label="It ends at (UTC)", widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )
    field_order = ["until", "reason"]


class EvidenceForm(forms.Form):
    def __init__(self, *args: Any, versions: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model_version"] = forms.ChoiceField(
            label="Answered by",
            help_text="The version that was trained without the erased data, or the retirement.",
            choices=[*versions, ("", "The model version is retired for good")],
            required=False,
        )


class WaiveForm(ReasonForm):
    expires_at = forms.DateField(
        label="Waiver ends on", widget=forms.DateInput(attrs={"type": "date"})
    )
