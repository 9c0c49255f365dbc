"""Stores by REST."""

from typing import TYPE_CHECKING, cast

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response

from audit.problems import ProblemError
from connectors.actions import ConnectorError, create_connector
from connectors.adapters.base import StoreError
from connectors.api.serializers import (
    CompareSerializer,
    ConnectorSerializer,
    NewConnectorSerializer,
    SharedObjectSerializer,
    StoreVersionSerializer,
    TailSerializer,
    VersionChangesSerializer,
)
from connectors.comparing import shared_objects
from connectors.models import Connector
from connectors.queries import (
    UnknownVersionError,
    connectors_visible_to,
    version_changes,
    versions_of,
)
from connectors.tails import state_tails

if TYPE_CHECKING:
    from accounts.models import User


class ConnectorViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Connector]
):
    """Connected stores. Connecting opens the store first: what cannot be read is refused."""

    required_permissions = {
        "GET": "connectors.read",
        "POST": "connectors.manage",
        "PUT": "connectors.manage",
    }
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
            raise _refused(exc) from exc
        return Response(ConnectorSerializer(made).data, status=201)

    @extend_schema(request=TailSerializer(many=True), responses=ConnectorSerializer)
    @action(detail=True, methods=["put"], pagination_class=None)
    def tails(self, request: Request, pk: str) -> Response:
        """Says which copies of the store no erasure reaches, and how long each lasts."""
        connector = self.get_object()
        given = TailSerializer(data=request.data, many=True)
        given.is_valid(raise_exception=True)
        try:
            state_tails(connector, given.validated_data, by=cast("User", request.user))
        except ConnectorError as exc:
            raise _refused(exc) from exc
        return Response(ConnectorSerializer(connector).data)

    @extend_schema(responses=StoreVersionSerializer(many=True))
    @action(detail=True, pagination_class=None)
    def versions(self, request: Request, pk: str) -> Response:
        """What the store keeps now, newest first. No file is read."""
        try:
            found = versions_of(self.get_object())
        except StoreError as exc:
            raise ProblemError(409, "The store cannot be read", str(exc)) from exc
        return Response(StoreVersionSerializer(found, many=True).data)

    @extend_schema(responses=SharedObjectSerializer(many=True))
    @action(detail=True, pagination_class=LimitOffsetPagination)
    def objects(self, request: Request, pk: str) -> Response:
        """Every physical object with the versions that share it; what this saves most comes first.
        No file is read."""
        try:
            found = shared_objects(versions_of(self.get_object()))
        except StoreError as exc:
            raise ProblemError(409, "The store cannot be read", str(exc)) from exc
        page = self.paginate_queryset(found)
        return self.get_paginated_response(SharedObjectSerializer(page, many=True).data)

    @extend_schema(parameters=[CompareSerializer], responses=VersionChangesSerializer)
    @action(detail=True)
    def compare(self, request: Request, pk: str) -> Response:
        """What differs between two versions: columns, objects, and rows where they can be read."""
        given = CompareSerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        try:
            found = version_changes(self.get_object(), **given.validated_data)
        except UnknownVersionError as exc:
            raise ProblemError(404, "Unknown version", str(exc)) from exc
        except StoreError as exc:
            raise ProblemError(409, "The store cannot be read", str(exc)) from exc
        except ValueError as exc:
            raise ProblemError(
                400, "Invalid input", str(exc), errors=[{"field": "key", "reason": str(exc)}]
            ) from exc
        return Response(VersionChangesSerializer(found).data)


def _refused(exc: ConnectorError) -> ProblemError:
    return ProblemError(
        400, "Invalid input", str(exc), errors=[{"field": exc.field, "reason": str(exc)}]
    )
