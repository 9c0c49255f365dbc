"""Connecting a store by hand."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from django import forms

from connectors.comparing import key_columns
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


class OptionsField(forms.CharField):
    """One `name = value` a line, read as {"name": "value"}; several values stand in brackets.

    Numbers, true, false and what stands in quotes are read as JSON: `delimiter = "\\t"`.
    """

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"})

    def clean(self, value: Any) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for number, line in enumerate(super().clean(value).splitlines(), 1):
            if not line.strip():
                continue
            name, equals, given = (part.strip() for part in line.partition("="))
            if not (name and equals and given):
                raise forms.ValidationError(
                    f'Line {number} is not "name = value". Write for example '
                    '"password_env = SHOP_DB_PASSWORD".'
                )
            options[name] = _option(given)
        return options


class TailsField(forms.CharField):
    """One `what = days` a line, read as [{"what": "nightly backups", "days": 35}]."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"})

    def clean(self, value: Any) -> list[dict[str, Any]]:
        tails = []
        for number, line in enumerate(super().clean(value).splitlines(), 1):
            if not line.strip():
                continue
            what, _, days = (part.strip() for part in line.rpartition("="))
            if not (what and days.isdecimal()):
                raise forms.ValidationError(
                    f'Line {number} is not "copy = days". Write for example "nightly backups = 35".'
                )
            tails.append({"what": what, "days": int(days)})
        return tails

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, list):
            return "\n".join(f"{tail['what']} = {tail['days']}" for tail in value)
        return value


def _option(given: str) -> Any:
    if given.isdigit() or given in ("true", "false") or given[0] in '"[':
        with contextlib.suppress(ValueError):
            return json.loads(given)
    if given.startswith("[") and given.endswith("]"):
        return [v.strip() for v in given[1:-1].split(",") if v.strip()]
    return given


class ConnectForm(forms.Form):
    kind = forms.ChoiceField(label="Kind of store")
    location = forms.CharField(
        max_length=2000,
        help_text="As the workers see it. How each kind is written stands beside this form.",
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
    options = OptionsField(
        required=False,
        help_text=(
            "Of the kind's own, one a line, as in encoding = cp1252. No secrets: passwords are "
            "named by reference. Which there are stands beside this form."
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


class TailsForm(forms.Form):
    """Which copies of a store no erasure reaches."""

    tails = TailsField(
        required=False,
        label="Copies and the days they last",
        help_text=(
            "One a line: what it is, an equals sign, and after how many days it is gone, as in "
            "nightly backups = 35. Every erasure from now on names them with their last day, and "
            "asks then whether they are gone."
        ),
    )


class CompareForm(forms.Form):
    """Which two of the versions that a store keeps are compared."""

    old = forms.ChoiceField(label="From version")
    new = forms.ChoiceField(label="To version")
    key = forms.CharField(
        required=False,
        max_length=500,
        label="Columns that name a row",
        help_text=(
            "With a comma between them, for example order_id, line. A row that is in both with "
            "other values then counts as modified."
        ),
    )

    def __init__(self, *args: Any, versions: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("old", "new"):
            choice = self.fields[name]
            assert isinstance(choice, forms.ChoiceField)  # noqa: S101 (declared above)
            choice.choices = [(version, version) for version in versions]

    def clean_key(self) -> list[str]:
        return key_columns(self.cleaned_data["key"])
