"""The log page's filters, as they stand in the address."""

from collections.abc import Sequence
from typing import Any

from django import forms

from audit.actions import LEAST_DAYS, MOST_DAYS
from audit.logs import MOST_CHARACTERS, LogRef

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
    log = forms.ChoiceField(label="Log", required=False)

    def __init__(self, data: Any = None, *, logs: Sequence[LogRef] = ()) -> None:
        """`logs`: those that the reader may choose from; with one there is nothing to choose."""
        super().__init__(data)
        choices = [("" if log.is_main else log.name, log.name) for log in logs]
        if len(choices) > 1:
            self.fields["log"].choices = choices  # type: ignore[attr-defined]
        else:
            del self.fields["log"]


class NewLogForm(forms.Form):
    name = forms.CharField(
        max_length=MOST_CHARACTERS,
        widget=forms.TextInput(attrs={"placeholder": "eu-sales", "autocomplete": "off"}),
        help_text="As it stands in addresses and in the log's origin. It cannot be changed later.",
    )
    title = forms.CharField(max_length=200, help_text="The unit whose log it is.")


class RetentionPolicyForm(forms.Form):
    event_class = forms.CharField(
        label="Entries of type",
        max_length=128,
        widget=forms.TextInput(attrs={"placeholder": "lineage.*", "autocomplete": "off"}),
        help_text="A type (lineage.received, READ), all below a prefix (lineage.*), or * for all"
        " others. The most specific counts.",
    )
    days = forms.IntegerField(label="Days to keep", min_value=1, max_value=MOST_DAYS)
    ground = forms.CharField(
        max_length=200, help_text="The law or contract that this follows from. It is recorded."
    )
    shorter_because = forms.CharField(
        label="Why less than six months is lawful",
        max_length=200,
        required=False,
        help_text=f"Only below {LEAST_DAYS} days.",
    )


class LogHoldForm(forms.Form):
    resource = forms.CharField(
        max_length=512,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "request:R-2026-0001"}),
    )
    subject = forms.CharField(
        label="Pseudonym", max_length=64, required=False, help_text="As it stands in an entry."
    )
    first = forms.IntegerField(label="First entry", min_value=0, required=False)
    last = forms.IntegerField(label="Last entry", min_value=0, required=False)
    reason = forms.CharField(max_length=500, help_text="Why they must be kept.")
