"""Bodies of the workflow's REST doors."""

from typing import Any

from rest_framework import serializers

from accounts.roles import Role
from audit.queries import entries_for
from compliance.models import Notice, Plan, Request
from compliance.queries import plan_json, tails_of
from connectors.adapters.base import MODES
from lineage.models import Version


class SubjectSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(max_length=32, help_text="`customer`, `email`, …")
    value = serializers.CharField(max_length=512)


class NewRequestSerializer(serializers.Serializer[Any]):
    rights = serializers.ListField(child=serializers.CharField(), default=["erasure"])
    subject = SubjectSerializer()
    contact = serializers.EmailField(required=False, default="", allow_blank=True)
    regime = serializers.CharField(default="gdpr")
    received_at = serializers.DateTimeField(required=False, default=None, allow_null=True)
    scope = serializers.ListField(
        child=serializers.CharField(), default=list, help_text="Dataset nodes; empty: everywhere."
    )


class FiledSerializer(serializers.Serializer[Any]):
    reference = serializers.CharField()
    state = serializers.CharField()
    due_at = serializers.DateTimeField()


class RequestSerializer(serializers.ModelSerializer[Request]):
    plan = serializers.SerializerMethodField()
    approvals = serializers.SerializerMethodField()
    outcomes = serializers.SerializerMethodField()
    timeline = serializers.SerializerMethodField()
    tails = serializers.SerializerMethodField(help_text="Copies that no erasure reached.")
    notices = serializers.SerializerMethodField()

    class Meta:
        model = Request
        fields = [
            "reference", "state", "rights", "regime", "channel", "scope", "received_at", "due_at",
            "extended_at", "verified_at", "verification", "held_at", "reason", "scheduled_for",
            "erased_at", "certificate_issued_at", "closed_at", "plan", "approvals", "outcomes",
            "tails", "notices", "timeline",
        ]  # fmt: skip

    def get_plan(self, request: Request) -> dict[str, Any] | None:
        return plan_json(request)

    def get_approvals(self, request: Request) -> list[dict[str, Any]]:
        plan: Plan | None = request.plans.filter(superseded_at=None).first()
        rows = plan.approvals.select_related("approver") if plan else []
        return [
            {
                "by": row.approver.actor,
                "name": str(row.approver),
                "role": Role(row.role).value,
                "plan_hash": row.plan_hash,
                "at": row.created_at,
                "voided_at": row.voided_at,
            }
            for row in rows
        ]

    def get_outcomes(self, request: Request) -> list[dict[str, Any]]:
        return [
            {
                "dataset": step.connector.dataset_node,
                "phase": step.phase,
                "outcome": step.outcome or None,
                "rows_erased": step.rows_erased,
                "done": step.done,
                "total": step.total,
                "failure": step.failure or None,
                "result": step.result,
                "scan": step.report or None,
            }
            for step in request.steps.filter(plan__superseded_at=None).select_related("connector")
        ]

    def get_notices(self, request: Request) -> list[dict[str, Any]]:
        return [
            {"id": n.pk, "state": n.state, "model": n.model_version.node}
            for n in request.notices.select_related("model_version__dataset")
        ]

    def get_tails(self, request: Request) -> list[dict[str, Any]]:
        return [
            {
                "id": tail.pk,
                "dataset": tail.step.connector.dataset_node,
                "what": tail.what,
                "until": tail.until,
                "asked_at": tail.asked_at,
                "closed_at": tail.closed_at,
            }
            for tail in tails_of(request)
        ]

    def get_timeline(self, request: Request) -> list[dict[str, Any]]:
        return [
            {"seq": e.seq, "type": e.type, "at": e.recorded_at, "actor": e.actor}
            for e in entries_for(request.resource)
        ]


class RequestLineSerializer(serializers.ModelSerializer[Request]):
    class Meta:
        model = Request
        fields = ["reference", "state", "rights", "received_at", "due_at", "closed_at"]


class VerifySerializer(serializers.Serializer[Any]):
    method = serializers.CharField(max_length=200)
    note = serializers.CharField(required=False, default="", allow_blank=True)


class RetainSerializer(serializers.Serializer[Any]):
    dataset = serializers.CharField()
    exemption = serializers.CharField()
    reason = serializers.CharField()


class PlanVerbSerializer(serializers.Serializer[Any]):
    modes = serializers.DictField(
        child=serializers.ChoiceField(MODES),
        required=False,
        help_text="Dataset node → what becomes of older versions, if not the store's own way.",
    )
    retain = RetainSerializer(
        many=True, required=False, help_text="Changes the plan there is; searches nothing."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "modes" in attrs and "retain" in attrs:
            raise serializers.ValidationError(
                {"retain": "Another mode needs a new search. Send `retain` when its plan is there."}
            )
        return attrs


class ApproveSerializer(serializers.Serializer[Any]):
    plan_hash = serializers.CharField(max_length=64)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField()


class RefuseSerializer(ReasonSerializer):
    ground = serializers.CharField()


class CloseTailSerializer(serializers.Serializer[Any]):
    tail = serializers.IntegerField(help_text="Its `id` in `tails`.")
    note = serializers.CharField(help_text="How you know that the copy is gone.")


class ProlongTailSerializer(ReasonSerializer):
    tail = serializers.IntegerField(help_text="Its `id` in `tails`.")
    until = serializers.DateTimeField(help_text="When the copy ends.")


class NoticeSerializer(serializers.ModelSerializer[Notice]):
    request = serializers.SlugRelatedField[Request](slug_field="reference", read_only=True)
    model = serializers.SerializerMethodField()
    model_version = serializers.SlugRelatedField[Version](slug_field="version", read_only=True)
    replacement = serializers.SlugRelatedField[Version](slug_field="version", read_only=True)

    class Meta:
        model = Notice
        fields = [
            "id", "request", "model", "model_version", "was_in_use", "path", "state", "issued_at",
            "due_at", "acknowledged_at", "disposition", "replacement", "checks", "waived_until",
            "reason", "closed_at",
        ]  # fmt: skip

    def get_model(self, notice: Notice) -> str:
        return notice.model_version.dataset.node


class EvidenceSerializer(serializers.Serializer[Any]):
    model_version = serializers.CharField(
        required=False,
        default="",
        allow_blank=True,
        help_text="The version trained without the person; empty: the model version is retired.",
    )


class WaiveSerializer(ReasonSerializer):
    expires_at = serializers.DateTimeField()


class SuppressionSerializer(serializers.Serializer[Any]):
    subjects = SubjectSerializer(many=True)


class SuppressionAnswerSerializer(serializers.Serializer[Any]):
    results = serializers.ListField(child=serializers.DictField(child=serializers.BooleanField()))


class DeletionSerializer(serializers.Serializer[Any]):
    user_id = serializers.CharField(
        max_length=512, help_text="A customer number, or an e-mail address."
    )


class DeletionAnswerSerializer(serializers.Serializer[Any]):
    user_id = serializers.CharField()
    deleted_records = serializers.IntegerField()
    affected_models = serializers.ListField(child=serializers.CharField())
    action_required = serializers.CharField()
    deletion_certificate = serializers.CharField(allow_null=True)
    status = serializers.CharField()
    request = serializers.CharField()
