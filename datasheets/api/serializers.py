"""What the documents' REST door takes and gives."""

from typing import Any

from rest_framework import serializers


class GivenAnswerSerializer(serializers.Serializer[Any]):
    """One answer. Without a state it counts as answered; null without a reason withdraws it."""

    value = serializers.JSONField(required=False, allow_null=True, default=None)
    state = serializers.CharField(required=False, allow_blank=True, default="")
    reason = serializers.CharField(required=False, allow_blank=True, default="")


class GivenAnswersSerializer(serializers.Serializer[Any]):
    """`answers` by question id; `datasheet` by the field names of the guide's DataSheet."""

    answers = serializers.DictField(child=GivenAnswerSerializer(), required=False, default=dict)
    datasheet = serializers.DictField(required=False, default=dict)


class CompletenessSerializer(serializers.Serializer[Any]):
    percent = serializers.IntegerField()
    done_weight = serializers.IntegerField()
    weight = serializers.IntegerField()
    answered_weight = serializers.IntegerField()
    stale_weight = serializers.IntegerField()
    questions = serializers.DictField(child=serializers.IntegerField())
    counts_as_done = serializers.ListField(child=serializers.CharField())


class SheetSerializer(serializers.Serializer[Any]):
    """A datasheet or model card; `datasheet` (the guide's twenty fields) only of datasets."""

    schema = serializers.CharField()
    kind = serializers.ChoiceField(["datasheet", "model_card"])
    questions_from = serializers.CharField()
    id = serializers.IntegerField()
    node = serializers.CharField()
    title = serializers.CharField()
    url = serializers.CharField()
    as_of = serializers.CharField()
    version = serializers.DictField(allow_null=True)
    completeness = CompletenessSerializer()
    answers = serializers.DictField()
    questions = serializers.ListField(child=serializers.DictField())
    datasheet = serializers.DictField(required=False)
