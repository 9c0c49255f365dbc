"""The log page's filters, as they stand in the address."""

from django import forms

_KINDS = [("", "Anyone"), ("person", "People"), ("service", "Services"), ("system", "Vestige")]


def _text(label: str, placeholder: str) -> forms.CharField:
    return forms.CharField(
        label=label, required=False, widget=forms.TextInput(attrs={"placeholder": placeholder})
    )


class LogFilterForm(forms.Form):
    actor = _text("Actor", "name or user:7")
    kind = forms.ChoiceField(label="Acting as", choices=_KINDS, required=False)
    type = _text("Action", "request.filed")
    resource = _text("Resource", "dataset:shop:purchases")
    since = forms.CharField(
        label="From", required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
    until = forms.CharField(
        label="Before", required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
