"""Stores by REST."""

from typing import TYPE_CHECKING, cast

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from audit.problems import ProblemError
from connectors.actions import ConnectorError, create_connector
from connectors.api.serializers import ConnectorSerializer, NewConnectorSerializer
from connectors.models import Connector
from connectors.queries import connectors_visible_to

if TYPE_CHECKING:
    from accounts.models import User


class ConnectorViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Connector]
):
    """Connected stores. Connecting opens the store first: what cannot be read is refused."""

    required_permissions = {"GET": "connectors.read", "POST": "connectors.manage"}
    serializer_class = ConnectorSerializer
    queryset = Connector.objects.none()
    lookup_value_regex = r"\d+"

    def get_queryset(self) -> QuerySet[Connector]:
        return connectors_visible_to(cast("User", self.request.user))

    @extend_schema(request=NewConnectorSerializer, responses={201: ConnectorSerializer})
    def create(self, request: Request) -> Response:
        given = NewConnectorSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        try:
            made = create_connector(**given.validated_data, by=cast("User", request.user))
        except ConnectorError as exc:
            raise ProblemError(
                400, "Invalid input", str(exc), errors=[{"field": exc.field, "reason": str(exc)}]
            ) from exc
        return Response(ConnectorSerializer(made).data, status=201)
