"""Keys by REST, for administrators and automation."""

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import AccountError, create_key, revoke_key
from accounts.api.serializers import KeySerializer, NewKeySerializer, ShownKeySerializer
from accounts.auth import actor_of
from accounts.models import ApiKey
from accounts.queries import api_keys
from audit.problems import ProblemError


class KeyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[ApiKey]):
    """API keys: each one is an actor of its own."""

    required_permission = "accounts.manage"
    serializer_class = KeySerializer
    queryset = api_keys()

    @extend_schema(request=NewKeySerializer, responses={201: ShownKeySerializer})
    def create(self, request: Request) -> Response:
        given = NewKeySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        try:
            key, text = create_key(**given.validated_data, by=actor_of(request))
        except AccountError as exc:
            raise ProblemError(
                400, "Invalid input", str(exc), errors=[{"field": exc.field, "reason": str(exc)}]
            ) from exc
        return Response({"id": key.pk, "name": key.name, "key": text}, status=201)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        revoke_key(self.get_object(), by=actor_of(request))
        return Response(status=204)
