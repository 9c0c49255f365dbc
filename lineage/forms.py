"""What people type on lineage's pages."""

from django import forms

from lineage.queries.graph import DIRECTIONS

DEPTHS = (1, 2, 3, 5, 10, 30)
DEFAULT_DEPTH = 3


class DatasetFilterForm(forms.Form):
    q = forms.CharField(label="Name", required=False, max_length=200)
    personal = forms.ChoiceField(
        label="Personal data",
        required=False,
        choices=[("", "Any"), ("yes", "Yes"), ("no", "Not stated")],
    )


class ModelFilterForm(forms.Form):
    q = forms.CharField(label="Name", required=False, max_length=200)
    use = forms.ChoiceField(
        label="Use", required=False, choices=[("", "Any"), ("yes", "In use"), ("no", "Not in use")]
    )


class GraphForm(forms.Form):
    """Which part of the graph to show."""

    version = forms.CharField(widget=forms.HiddenInput, required=False, max_length=256)
    direction = forms.ChoiceField(
        label="Direction",
        required=False,
        choices=[(name, name.capitalize()) for name in reversed(DIRECTIONS)],
    )
    depth = forms.TypedChoiceField(
        label="Depth",
        required=False,
        coerce=int,
        choices=[(number, str(number)) for number in DEPTHS],
    )
    as_of = forms.DateTimeField(
        label="As of (UTC)",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"],
    )
