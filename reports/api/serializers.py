"""What the REST interface takes and says about reports."""

from rest_framework import serializers

from reports.models import Report


class NewReportSerializer(serializers.Serializer[Report]):
    """Both dates are included; a date means the whole day in UTC, a time is RFC 3339."""

    kind = serializers.ChoiceField(choices=Report.Kind.choices)
    resource = serializers.CharField(max_length=512)
    start_date = serializers.CharField(max_length=40)
    end_date = serializers.CharField(max_length=40)


class ReportSerializer(serializers.ModelSerializer[Report]):
    """A report on its way, or done: then `json` and `pdf` are where its files are."""

    url = serializers.SerializerMethodField()
    json = serializers.SerializerMethodField()
    pdf = serializers.SerializerMethodField()
    start_date = serializers.CharField(source="start_text")
    end_date = serializers.CharField(source="end_text")

    class Meta:
        model = Report
        fields = [
            "id",
            "kind",
            "state",
            "failure",
            "resource",
            "start_date",
            "end_date",
            "url",
            "json",
            "pdf",
            "json_sha256",
            "pdf_sha256",
            "statement_sha256",
            "created_at",
            "issued_at",
            "finished_at",
        ]

    def get_url(self, report: Report) -> str:
        return f"/api/v1/reports/{report.pk}"

    def get_json(self, report: Report) -> str | None:
        return self._file(report, "json")

    def get_pdf(self, report: Report) -> str | None:
        return self._file(report, "pdf")

    def _file(self, report: Report, ending: str) -> str | None:
        done = report.state == Report.State.DONE
        return f"{self.get_url(report)}.{ending}" if done else None


class _PeriodSerializer(serializers.Serializer[Report]):
    start = serializers.CharField()
    end = serializers.CharField()


class ReportResultSerializer(ReportSerializer):
    """A report that is done: with the keys of the guide, and those of its statement."""

    period = _PeriodSerializer(required=False)
    total_events = serializers.IntegerField(required=False)
    events_by_type = serializers.DictField(child=serializers.IntegerField(), required=False)
    unique_actors = serializers.ListField(child=serializers.CharField(), required=False)
    version_history = serializers.ListField(child=serializers.DictField(), required=False)
    events = serializers.ListField(child=serializers.DictField(), required=False, allow_null=True)
    events_sha256 = serializers.CharField(required=False)

    class Meta(ReportSerializer.Meta):
        fields = [
            *ReportSerializer.Meta.fields,
            "period", "total_events", "events_by_type", "unique_actors", "version_history",
            "events", "events_sha256",
        ]  # fmt: skip


class AcceptedReportSerializer(serializers.Serializer[Report]):
    id = serializers.IntegerField()
    state = serializers.ChoiceField(choices=Report.State.choices)
    url = serializers.CharField()
