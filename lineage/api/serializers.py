"""What the registry's REST answers and takes."""

from typing import Any

from rest_framework import serializers

from audit.subjects import MAX_VALUE_CHARACTERS
from lineage.gates import Candidate, Limit
from lineage.models import Dataset, Run, Version


class OwnerSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="pk")
    name = serializers.CharField()


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    owner = OwnerSerializer(allow_null=True, read_only=True)
    versions = serializers.IntegerField(source="version_count", read_only=True)
    purged_versions = serializers.IntegerField(source="purged_count", read_only=True)
    latest_version = serializers.CharField(allow_null=True, read_only=True)
    latest_at = serializers.DateTimeField(allow_null=True, read_only=True)

    class Meta:
        model = Dataset
        fields = [
            "id", "node", "kind", "namespace", "name", "title", "description", "owner",
            "personal_data", "connector", "facts", "created_at", "versions", "purged_versions",
            "latest_version", "latest_at",
        ]  # fmt: skip


class ModelSerializer(DatasetSerializer):
    in_use = serializers.BooleanField(source="is_in_use", read_only=True)

    class Meta(DatasetSerializer.Meta):
        fields = [f for f in DatasetSerializer.Meta.fields if f != "connector"] + ["in_use"]


class ProducerSerializer(serializers.ModelSerializer[Run]):
    job = serializers.CharField(source="job.node")
    run = serializers.CharField(source="run_id")

    class Meta:
        model = Run
        fields = ["job", "run", "state", "started_at", "ended_at"]


class VersionSerializer(serializers.ModelSerializer[Version]):
    produced_by = ProducerSerializer(allow_null=True, read_only=True)
    node = serializers.CharField(read_only=True)

    class Meta:
        model = Version
        fields = [
            "id", "node", "version", "known_by", "created_at", "recorded_at", "produced_by",
            "rows", "bytes", "digest", "schema", "facts", "in_store", "purged_at",
        ]  # fmt: skip


class ModelVersionSerializer(VersionSerializer):
    trained_on = serializers.SerializerMethodField()

    class Meta(VersionSerializer.Meta):
        fields = [
            "id", "node", "version", "known_by", "created_at", "recorded_at", "produced_by",
            "digest", "metrics", "facts", "in_use", "put_in_use_at", "retired_at", "trained_on",
        ]  # fmt: skip

    def get_trained_on(self, version: Version) -> list[str]:
        known: dict[int, list[str]] = self.context.get("trained_on", {})
        return known.get(version.pk, [])


class DescriptionSerializer(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=255, required=False, default="")
    description = serializers.CharField(max_length=20_000, required=False, default="")
    owner = serializers.CharField(
        max_length=150, required=False, allow_null=True, help_text="A username; null: nobody."
    )


class UsageSubjectSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(max_length=32, help_text="`customer`, `email`, …")
    value = serializers.CharField(max_length=MAX_VALUE_CHARACTERS)


class SubjectQuestionSerializer(serializers.Serializer[Any]):
    subject = UsageSubjectSerializer()


class UsageRecordSerializer(serializers.Serializer[Any]):
    timestamp = serializers.DateTimeField()
    data_id = serializers.CharField()
    data_version = serializers.CharField(allow_null=True)
    model_id = serializers.CharField(allow_null=True)
    model_version = serializers.CharField(allow_null=True)
    prediction_id = serializers.CharField(allow_null=True)
    training_data_hash = serializers.CharField(allow_null=True)


class SubjectUsageSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    usage = UsageRecordSerializer(many=True)


class ExplanationSerializer(serializers.Serializer[Any]):
    prediction_id = serializers.CharField()
    model_used = serializers.CharField(allow_null=True)
    model_version = serializers.CharField(allow_null=True)
    training_data_version = serializers.CharField(allow_null=True)
    data_sources = serializers.ListField(child=serializers.DictField())
    processing_steps = serializers.ListField(child=serializers.DictField())
    user_data_contribution = serializers.DictField()


class SyncSerializer(serializers.Serializer[Any]):
    dataset = serializers.CharField(source="dataset.node")
    dataset_id = serializers.IntegerField(source="dataset.pk")
    versions = serializers.IntegerField()
    added = serializers.ListField(child=serializers.CharField())
    purged = serializers.ListField(child=serializers.CharField())
    renamed = serializers.ListField(
        child=serializers.CharField(), help_text="Erased in and kept, under other names."
    )
    returned = serializers.ListField(child=serializers.CharField())
    changed = serializers.ListField(child=serializers.CharField())


# Gates


class ColumnSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    type = serializers.CharField(allow_blank=True)


class CandidateSerializer(serializers.Serializer[Candidate]):
    schema = ColumnSerializer(many=True, required=False)
    sources = serializers.ListField(child=serializers.CharField(), required=False)
    rows_added = serializers.IntegerField(min_value=0, default=0)
    rows_removed = serializers.IntegerField(min_value=0, default=0)
    rows_modified = serializers.IntegerField(min_value=0, default=0)
    old_rows = serializers.IntegerField(
        min_value=0, required=False, help_text="Default: the rows of the newest version."
    )


class LimitSerializer(serializers.Serializer[Limit]):
    min = serializers.FloatField(required=False)
    max = serializers.FloatField(required=False)


class GateSerializer(serializers.Serializer[Any]):
    dataset = serializers.CharField(help_text="dataset:NAMESPACE:NAME")
    candidate = CandidateSerializer()
    metrics = serializers.DictField(child=serializers.FloatField(), default=dict)
    limits = serializers.DictField(child=LimitSerializer(), default=dict)


class GateFindingSerializer(serializers.Serializer[Any]):
    rule = serializers.ChoiceField(choices=["schema", "sources", "change", "quality"])
    effect = serializers.ChoiceField(choices=["pass", "review", "fail"])
    text = serializers.CharField()


class VerdictSerializer(serializers.Serializer[Any]):
    verdict = serializers.ChoiceField(choices=["pass", "review", "fail"])
    reasons = serializers.ListField(child=serializers.CharField(), help_text="Sentences.")
    findings = GateFindingSerializer(many=True, help_text="The same, by rule and effect.")
    change = serializers.ChoiceField(choices=["major", "minor", "patch"])
    next_version = serializers.CharField(allow_null=True)
