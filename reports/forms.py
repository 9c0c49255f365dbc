"""Asking for a report in the browser."""

from datetime import date, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from reports.models import Report

OWN_DATES = "own"


def _first_of_quarter(day: date) -> date:
    return day.replace(month=3 * ((day.month - 1) // 3) + 1, day=1)


def _periods(today: date) -> dict[str, tuple[str, date, date]]:
    """Key → what people call it, first and last day."""
    month = today.replace(day=1)
    quarter = _first_of_quarter(today)
    day = timedelta(days=1)
    return {
        "last_30_days": ("Last 30 days", today - timedelta(days=29), today),
        "month": ("This month", month, today),
        "last_month": ("Last month", (month - day).replace(day=1), month - day),
        "last_quarter": ("Last quarter", _first_of_quarter(quarter - day), quarter - day),
        "year": ("This year", today.replace(month=1, day=1), today),
    }


class ReportForm(forms.Form):
    """A compliance report: of what, and for which days (both included, in UTC)."""

    resource = forms.CharField(
        max_length=512,
        help_text="As the log names it: dataset:shop:purchases, model:churn, request:R-2026-0001.",
        widget=forms.TextInput(
            attrs={"list": "resources", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    period = forms.ChoiceField(choices=[])
    start_date = forms.DateField(
        label="First day",
        required=False,
        help_text="Both days count. Only used with the period “Own dates”.",
        widget=forms.DateInput(attrs={"type": "date"}),
    )
    end_date = forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known = _periods(timezone.now().date())
        self.fields["period"] = forms.ChoiceField(
            choices=[
                *((key, name) for key, (name, _, _) in self._known.items()),
                (OWN_DATES, "Own dates"),
            ],
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("period") == OWN_DATES:
            for field, day in (("start_date", "first"), ("end_date", "last")):
                if not cleaned.get(field) and field not in self.errors:
                    self.add_error(field, f"Enter the {day} day.")
        return cleaned

    @property
    def wanted(self) -> dict[str, str]:
        """What `request_report` takes."""
        given = self.cleaned_data
        if given["period"] == OWN_DATES:
            first, last = given["start_date"], given["end_date"]
        else:
            _, first, last = self._known[given["period"]]
        return {
            "kind": Report.Kind.COMPLIANCE,
            "resource": given["resource"],
            "start": first.isoformat(),
            "end": last.isoformat(),
        }
