"""Connecting a store by hand."""

from typing import Any

from django import forms

from connectors.queries import available_kinds


class SubjectColumnsField(forms.CharField):
    """One `column = type` a line, read as {"column": "type"}."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def clean(self, value: Any) -> dict[str, str]:
        columns: dict[str, str] = {}
        for number, line in enumerate(super().clean(value).splitlines(), 1):
            if not line.strip():
                continue
            column, equals, kind = (part.strip() for part in line.partition("="))
            if not (column and equals and kind):
                raise forms.ValidationError(
                    f'Line {number} is not "column = type". Write for example '
                    '"customer_id = customer".'
                )
            columns[column] = kind
        return columns


class ConnectForm(forms.Form):
    kind = forms.ChoiceField(label="Kind of store")
    location = forms.CharField(
        max_length=2000,
        help_text=(
            "The absolute path, on this machine, of a Delta table's folder or of a folder with "
            "Parquet, CSV and JSON Lines files."
        ),
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
    )
    subject_columns = SubjectColumnsField(
        label="Columns that name people",
        help_text=(
            "One a line: the column, an equals sign, and the type of identifier in it, "
            "such as customer_id = customer or email = email. A dot leads into structs and JSON "
            "objects: account.email = email."
        ),
    )
    name = forms.CharField(
        max_length=255, required=False, help_text="How people call it. By default, the dataset."
    )
    dataset_namespace = forms.CharField(
        max_length=255,
        required=False,
        label="Namespace of its dataset",
        help_text="As pipelines report it, so that both mean the same dataset.",
    )
    dataset_name = forms.CharField(max_length=1024, required=False, label="Name of its dataset")
    queue = forms.CharField(
        max_length=100,
        required=False,
        label="Worker queue",
        help_text="The queue of the workers that can reach the store, if not the usual one.",
    )
    options = forms.JSONField(
        required=False,
        help_text=(
            'Of the kind\'s own, as JSON. For files, for example {"delimiter": ";", "encoding": '
            '"cp1252", "unrelated_files": ["products*.csv"]}. No secrets.'
        ),
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind = self.fields["kind"]
        assert isinstance(kind, forms.ChoiceField)  # noqa: S101 (declared above)
        kind.choices = list(available_kinds().items())

    def as_given(self) -> dict[str, Any]:
        """The arguments of `create_connector`."""
        given = dict(self.cleaned_data)
        namespace, name = given.pop("dataset_namespace"), given.pop("dataset_name")
        given["options"] = given["options"] or {}
        return {**given, "dataset": {"namespace": namespace, "name": name}}

    def add_fault(self, field: str, reason: str) -> None:
        """Show a refusal at the input it speaks of."""
        shown = {"dataset": "dataset_name"}.get(field, field)
        self.add_error(shown if shown in self.fields else None, reason)
