"""The door that lakeFS calls before a merge, and what came in past it."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import actor_of
from audit.problems import ProblemError
from compliance.actions.merges import judge_merge
from compliance.merging import unjudged
from connectors.adapters.base import StoreError
from connectors.models import Connector
from connectors.queries import connectors_visible_to

_COMMIT = r"^[0-9a-f]{6,64}$"
_BRANCH = r"^\w[-\w]*$"  # by lakeFS' own rule: no slash
_PLAN = "vestige-plan"


class MergeEventSerializer(serializers.Serializer[Any]):
    """What lakeFS sends to a webhook before a merge; it sends more, which is not looked at."""

    event_type = serializers.ChoiceField(choices=["pre-merge"])
    repository_id = serializers.CharField(max_length=63)
    branch_id = serializers.RegexField(_BRANCH, max_length=255, help_text="Into which is merged.")
    source_ref = serializers.RegexField(_COMMIT, help_text="The commit that is merged.")
    commit_metadata = serializers.DictField(
        child=serializers.CharField(allow_blank=True), required=False, allow_null=True
    )


class GuardSerializer(serializers.Serializer[Any]):
    connector = serializers.IntegerField(help_text="The store's number.")


class MergeQuerySerializer(GuardSerializer):
    review = serializers.ChoiceField(
        choices=["block", "pass"],
        default="block",
        help_text="What happens to a merge that a person has to review.",
    )


class UnjudgedQuerySerializer(GuardSerializer):
    branch = serializers.RegexField(_BRANCH, max_length=255)


class MergeReasonSerializer(serializers.Serializer[Any]):
    rule = serializers.ChoiceField(
        choices=["schema", "change", "suppression", "size", "unreadable"]
    )
    effect = serializers.ChoiceField(choices=["pass", "review", "fail"])
    text = serializers.CharField()


class MergeVerdictSerializer(serializers.Serializer[Any]):
    verdict = serializers.ChoiceField(choices=["pass", "review", "fail"])
    reasons = MergeReasonSerializer(many=True)


class UnjudgedSerializer(serializers.Serializer[Any]):
    commit = serializers.CharField()
    parents = serializers.ListField(child=serializers.CharField())
    time = serializers.DateTimeField()
    finding = serializers.CharField()


class LakefsGateView(APIView):
    """The gate before a merge in lakeFS: any answer but 2xx makes lakeFS refuse the merge (412)."""

    required_permission = "gates.evaluate"

    @extend_schema(
        parameters=[MergeQuerySerializer],
        request=MergeEventSerializer,
        responses=MergeVerdictSerializer,
    )
    def post(self, request: HttpRequest) -> Response:
        """Judge what a merge would bring: schema, share of rows that change, and whether people who
        were erased would come in again. The verdict is recorded; 409 refuses the merge."""
        asked = _valid(MergeQuerySerializer, request.query_params)
        event = _valid(MergeEventSerializer, request.data)
        connector = _guarded(request, asked["connector"])
        from connectors.adapters.lakefs import parse_place  # slow to start with: see openers

        repository = parse_place(connector.location).repository
        if event["repository_id"] != repository:
            raise _wrong(
                "connector",
                f"The store {connector.pk} is another repository. Correct the action.",
            )
        let_in, found = judge_merge(
            connector,
            branch=event["branch_id"],
            source=event["source_ref"],
            plan=(event.get("commit_metadata") or {}).get(_PLAN, ""),
            may_need_review=asked["review"] == "pass",
            by=actor_of(request),
        )
        if not let_in:
            text = " ".join(reason.text for reason in found.reasons)
            raise ProblemError(409, "The merge is refused", text, more={"verdict": found.verdict})
        return Response(MergeVerdictSerializer(found).data)


class UnjudgedView(APIView):
    required_permission = "gates.evaluate"

    @extend_schema(
        parameters=[
            OpenApiParameter("connector", int, required=True),
            OpenApiParameter("branch", str, required=True),
        ],
        responses=UnjudgedSerializer(many=True),
    )
    def get(self, request: HttpRequest) -> Response:
        """What came into a guarded branch since its first verdict without one that let it in."""
        asked = _valid(UnjudgedQuerySerializer, request.query_params)
        connector = _guarded(request, asked["connector"])
        try:
            found = unjudged(connector, asked["branch"])
        except StoreError as exc:
            raise ProblemError(409, "The store cannot be read", str(exc)) from exc
        return Response(UnjudgedSerializer(found, many=True).data)


def _valid(serializer: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    given = serializer(data=data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def _guarded(request: HttpRequest, pk: int) -> Connector:
    known = connectors_visible_to(actor_of(request)).filter(disabled_at=None)
    found = known.filter(pk=pk, kind=Connector.Kind.LAKEFS).first()
    if found is None:
        raise _wrong("connector", f"There is no lakeFS repository connected as store {pk}.")
    return found


def _wrong(field: str, reason: str) -> ProblemError:
    return ProblemError(400, "Invalid input", reason, errors=[{"field": field, "reason": reason}])
