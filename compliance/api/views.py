"""The workflow by REST: one action per verb; a refusal says why as problem+json."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from accounts.auth import actor_of
from audit.problems import ProblemError
from audit.subjects import SubjectError, SubjectRef, lookup, normalise
from compliance.actions import decisions, identity, tails
from compliance.actions import notices as notice_actions
from compliance.actions.erasure import execute
from compliance.actions.plans import amend_plan, approve_plan, start_discovery
from compliance.actions.requests import file_request
from compliance.api import serializers as bodies
from compliance.errors import InvalidInputError, WorkflowError
from compliance.models import Notice, Request
from compliance.queries import (
    current_plan,
    notices_visible_to,
    open_request_for,
    requests_visible_to,
    suppressed,
)
from compliance.states import State
from lineage.models import Dataset, Version
from lineage.queries import usage_of_subject

Verb = Callable[..., Response]


def refusals(view: Verb) -> Verb:
    """Turns the workflow's refusals into problems."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        try:
            return view(*args, **kwargs)
        except WorkflowError as exc:
            errors = [{"field": exc.field, "reason": str(exc)}] if exc.field else ()
            raise ProblemError(exc.status, exc.title, str(exc), errors=errors) from exc

    return guarded


def _given(serializer: type[BaseSerializer[Any]], request: HttpRequest) -> dict[str, Any]:
    given = serializer(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


class RequestViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Request]
):
    """Requests of data subjects. Identities travel in bodies and never come back out."""

    lookup_field = "reference"
    lookup_value_regex = r"R-\d{4}-\d+"
    required_permissions = {"POST": "requests.file"}
    serializer_class = bodies.RequestSerializer
    queryset = Request.objects.none()

    @property
    def required_permission(self) -> str:
        user = self.request.user
        return "requests.read" if user.has_perm("requests.read") else "requests.file"

    def get_queryset(self) -> Any:
        return requests_visible_to(self.request.user)

    def get_serializer_class(self) -> Any:
        return bodies.RequestLineSerializer if self.action == "list" else self.serializer_class

    @extend_schema(request=bodies.NewRequestSerializer, responses={201: bodies.FiledSerializer})
    @refusals
    def create(self, request: HttpRequest) -> Response:
        given = _given(bodies.NewRequestSerializer, request)
        known = set(Dataset.objects.filter(node__in=given["scope"]).values_list("node", flat=True))
        if unknown := [node for node in given["scope"] if node not in known]:
            raise InvalidInputError(
                f"There is no dataset {', '.join(unknown)}. GET /api/v1/datasets lists them.",
                field="scope",
            )
        subject = given.pop("subject")
        filed = file_request(
            subjects=[SubjectRef(**subject)],
            channel=Request.Channel.API,
            by=actor_of(request),
            **given,
        )
        return Response(bodies.FiledSerializer(filed).data, status=201)

    def _act(
        self,
        act: Callable[..., Any],
        body: type[BaseSerializer[Any]] | None = None,
        status: int = 200,
    ) -> Response:
        """Reads the verb's body, lets the action decide, answers with the request as it is now."""
        given = _given(body, self.request) if body else {}
        case = self.get_object()
        act(case, **given, by=actor_of(self.request))
        return self._done(case, status)

    def _done(self, case: Request, status: int = 200) -> Response:
        case.refresh_from_db()
        return Response(bodies.RequestSerializer(case).data, status=status)

    @extend_schema(request=bodies.VerifySerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.triage"})
    @refusals
    def verify(self, request: HttpRequest, reference: str) -> Response:
        case = self.get_object()
        identity.verify(case, **_given(bodies.VerifySerializer, request), by=actor_of(request))
        return self._done(case)

    @extend_schema(request=bodies.PlanVerbSerializer, responses={202: bodies.RequestSerializer})
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.plan"})
    @refusals
    def plan(self, request: HttpRequest, reference: str) -> Response:
        """Searches the stores and plans, with `modes` in another way than the stores' own; with
        `retain`, changes the plan there is."""
        case = self.get_object()
        given = _given(bodies.PlanVerbSerializer, request)
        if "retain" in given:
            amend_plan(case, retain=given["retain"], by=actor_of(request))
            return self._done(case)
        start_discovery(case, modes=given.get("modes"), by=actor_of(request))
        return self._done(case, 202)

    @extend_schema(request=bodies.ApproveSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.read"})
    @refusals
    def approve(self, request: HttpRequest, reference: str) -> Response:
        return self._act(approve_plan, bodies.ApproveSerializer)

    @extend_schema(request=None, responses={202: bodies.RequestSerializer})
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.execute"})
    @refusals
    def execute(self, request: HttpRequest, reference: str) -> Response:
        return self._act(execute, status=202)

    @extend_schema(request=bodies.ReasonSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.decide"})
    @refusals
    def extend(self, request: HttpRequest, reference: str) -> Response:
        case = self.get_object()
        decisions.extend(case, **_given(bodies.ReasonSerializer, request), by=actor_of(request))
        return self._done(case)

    @extend_schema(request=bodies.ReasonSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.decide"})
    @refusals
    def hold(self, request: HttpRequest, reference: str) -> Response:
        return self._act(decisions.hold, bodies.ReasonSerializer)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.decide"})
    @refusals
    def release(self, request: HttpRequest, reference: str) -> Response:
        return self._act(decisions.release)

    @extend_schema(request=bodies.RefuseSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.decide"})
    @refusals
    def refuse(self, request: HttpRequest, reference: str) -> Response:
        case = self.get_object()
        decisions.refuse(case, **_given(bodies.RefuseSerializer, request), by=actor_of(request))
        return self._done(case)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.triage"})
    @refusals
    def withdraw(self, request: HttpRequest, reference: str) -> Response:
        return self._act(decisions.withdraw)

    @extend_schema(request=bodies.ReasonSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.decide"})
    @refusals
    def reopen(self, request: HttpRequest, reference: str) -> Response:
        case = self.get_object()
        decisions.reopen(case, **_given(bodies.ReasonSerializer, request), by=actor_of(request))
        return self._done(case)

    @extend_schema(request=bodies.CloseTailSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.decide"})
    @refusals
    def close_tail(self, request: HttpRequest, reference: str) -> Response:
        """A copy that no erasure reached is gone. After the last one a final certificate is due."""
        return self._act(tails.close_tail, bodies.CloseTailSerializer)

    @extend_schema(request=bodies.ProlongTailSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "requests.decide"})
    @refusals
    def prolong_tail(self, request: HttpRequest, reference: str) -> Response:
        """A copy lasts longer than was said: it is asked about again on that day."""
        return self._act(tails.prolong_tail, bodies.ProlongTailSerializer)


class NoticeViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Notice]
):
    """Retraining notices and their answers."""

    required_permissions = {"GET": "notices.read"}
    serializer_class = bodies.NoticeSerializer
    queryset = Notice.objects.none()

    def get_queryset(self) -> Any:
        rows = notices_visible_to(self.request.user)
        state = self.request.query_params.get("state")
        return rows.filter(state=state) if state else rows

    def _act(self, act: Callable[..., Any], **given: Any) -> Response:
        notice = self.get_object()
        act(notice, **given, by=actor_of(self.request))
        return self._done(notice)

    def _done(self, notice: Notice) -> Response:
        notice.refresh_from_db()
        return Response(bodies.NoticeSerializer(notice).data)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"], required_permissions={"POST": "notices.answer"})
    @refusals
    def acknowledge(self, request: HttpRequest, pk: str) -> Response:
        return self._act(notice_actions.acknowledge)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"], required_permissions={"POST": "notices.answer"})
    @refusals
    def start(self, request: HttpRequest, pk: str) -> Response:
        return self._act(notice_actions.start_retraining)

    @extend_schema(request=bodies.EvidenceSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "notices.answer"})
    @refusals
    def evidence(self, request: HttpRequest, pk: str) -> Response:
        """Checks the answer against the facts; closes the notice when every check holds."""
        replacement = _replacement(
            self.get_object(), _given(bodies.EvidenceSerializer, request)["model_version"]
        )
        return self._act(notice_actions.submit_evidence, replacement=replacement)

    @extend_schema(request=bodies.WaiveSerializer)
    @action(detail=True, methods=["post"], required_permissions={"POST": "notices.decide"})
    @refusals
    def waive(self, request: HttpRequest, pk: str) -> Response:
        given = _given(bodies.WaiveSerializer, request)
        return self._act(notice_actions.waive, reason=given["reason"], until=given["expires_at"])


def _replacement(notice: Notice, name: str) -> Version | None:
    """The model version of that name, of the model that the notice is about."""
    if not name:
        return None
    model = notice.model_version.dataset
    found = Version.objects.filter(dataset=model, version=name).first()
    if found is None:
        raise InvalidInputError(f"{model.name} has no version {name}.", field="model_version")
    return found


class SuppressionView(APIView):
    """Whether persons were erased and must not come in again: yes or no, never a list."""

    required_permission = "suppression.check"

    @extend_schema(
        request=bodies.SuppressionSerializer, responses=bodies.SuppressionAnswerSerializer
    )
    @refusals
    def post(self, request: HttpRequest) -> Response:
        given = _given(bodies.SuppressionSerializer, request)["subjects"]
        try:
            answers = suppressed([SubjectRef(s["type"], s["value"]) for s in given])
        except SubjectError as exc:
            raise InvalidInputError(str(exc), field="subjects") from exc
        return Response({"results": [{"suppressed": answer} for answer in answers]})


class DeletionView(APIView):
    """`process_deletion_request` of the customer's guide, on top of the whole workflow.

    Files a request, or tells where the one for this person stands. The certificate stays null
    until the erasure is verified: a certificate before that would be false.
    """

    required_permission = "requests.file"

    @extend_schema(
        request=bodies.DeletionSerializer, responses={201: bodies.DeletionAnswerSerializer}
    )
    @refusals
    def post(self, request: HttpRequest) -> Response:
        user_id = _given(bodies.DeletionSerializer, request)["user_id"]
        subject = SubjectRef("email" if "@" in user_id else "customer", user_id)
        try:
            subject_lookup = lookup(normalise(subject))
        except SubjectError as exc:
            raise InvalidInputError(str(exc), field="user_id") from exc
        case = open_request_for(subject_lookup)
        status = 200
        if case is None or not requests_visible_to(request.user).filter(pk=case.pk).exists():
            case = file_request(
                rights=["erasure"],
                subjects=[subject],
                by=actor_of(request),
                channel=Request.Channel.API,
            )
            status = 201
        models = _models_touched(case, subject_lookup)
        done = case.state in (State.COMPLETED, State.COMPLETED_PARTIAL)
        return Response(
            {
                "user_id": user_id,
                "deleted_records": sum(
                    step.rows_erased or 0 for step in case.steps.filter(plan__superseded_at=None)
                ),
                "affected_models": models,
                "action_required": "Retrain models" if models else "None",
                "deletion_certificate": (
                    f"/api/v1/requests/{case.reference}/certificate" if done else None
                ),
                "status": case.state,
                "request": case.reference,
            },
            status=status,
        )


def _models_touched(case: Request, subject_lookup: str) -> list[str]:
    """By the plan once there is one (what descends from the rows); before, by recorded usage."""
    plan = current_plan(case)
    if plan:
        return [f"{m['model']}@{m['version']}" for m in plan.body["affected_models"]]
    used = usage_of_subject([subject_lookup]).exclude(model_id="")
    return sorted(set(used.values_list("model_id", flat=True)))
