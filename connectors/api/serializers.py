from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from connectors.adapters.base import StoreVersion
from connectors.comparing import key_columns
from connectors.kinds import kinds_told, locations_told, options_told
from connectors.models import Connector, StoreIndex
from connectors.queries import VersionChanges, index_state


class DatasetNameSerializer(serializers.Serializer[Any]):
    namespace = serializers.CharField(
        max_length=255, required=False, allow_blank=True, help_text='By default "stores".'
    )
    name = serializers.CharField(
        max_length=1024,
        required=False,
        allow_blank=True,
        help_text="By default the last part of the location, or the table's name.",
    )


class NewConnectorSerializer(serializers.Serializer[Any]):
    """A store to connect."""

    kind = serializers.CharField(max_length=20, help_text=kinds_told())
    location = serializers.CharField(
        max_length=2000, help_text=f"As the workers see it. {locations_told()}"
    )
    subject_columns = serializers.DictField(
        child=serializers.CharField(max_length=100),
        allow_empty=False,
        help_text=(
            'Column → type of identifier, as in {"customer_id": "customer"}; a dot leads into '
            'structs and JSON objects, as in {"account.email": "email"}.'
        ),
    )
    options = serializers.DictField(
        required=False,
        help_text=f"Of the kind's own; no secrets: name them by reference. {options_told()}",
    )
    dataset = DatasetNameSerializer(required=False)
    name = serializers.CharField(max_length=255, required=False, allow_blank=True)
    queue = serializers.CharField(max_length=100, required=False, allow_blank=True)


class TailSerializer(serializers.Serializer[Any]):
    """A copy that no erasure reaches."""

    what = serializers.CharField(max_length=120, help_text='As in "nightly backups".')
    days = serializers.IntegerField(help_text="After so many days it is gone.")


class StoreIndexSerializer(serializers.ModelSerializer[StoreIndex]):
    """Its subject index. `entries`: identifiers, each counted once a file; `machine`: whose worker
    keeps it; `done`, `total`: files of the build that is due or going on, if `wanted`."""

    wanted = serializers.BooleanField(source="is_wanted")

    class Meta:
        model = StoreIndex
        fields = [
            "built_at", "files", "entries", "bytes", "seconds", "machine", "wanted", "done",
            "total", "fault",
        ]  # fmt: skip


class ConnectorSerializer(serializers.ModelSerializer[Connector]):
    dataset = serializers.SerializerMethodField()
    subject_columns = serializers.DictField(child=serializers.CharField())
    options = serializers.DictField()
    engine = serializers.ChoiceField(
        choices=["local", "spark"],
        read_only=True,
        help_text="What searches and rewrites its files: the worker of its queue, or a cluster "
        '(by the option "engine").',
    )
    tails = TailSerializer(many=True)
    subject_index = serializers.SerializerMethodField()

    class Meta:
        model = Connector
        fields = [
            "id", "kind", "name", "location", "dataset", "subject_columns", "options", "engine",
            "tails", "queue", "subject_index", "created_at", "disabled_at",
        ]  # fmt: skip

    @extend_schema_field(StoreIndexSerializer(allow_null=True))
    def get_subject_index(self, connector: Connector) -> dict[str, Any] | None:
        found = index_state(connector)
        return dict(StoreIndexSerializer(found).data) if found else None

    def get_dataset(self, connector: Connector) -> dict[str, str]:
        return {
            "namespace": connector.dataset_namespace,
            "name": connector.dataset_name,
            "node": connector.dataset_node,
        }


class ObjectSerializer(serializers.Serializer[Any]):
    """A physical object of a store; identifiers in its path are masked."""

    path = serializers.CharField()
    bytes = serializers.IntegerField()
    rows = serializers.IntegerField(allow_null=True)


class StoreVersionSerializer(serializers.Serializer[Any]):
    """A version that the store keeps, without reading any file."""

    id = serializers.CharField()
    created_at = serializers.DateTimeField()
    operation = serializers.CharField()
    parents = serializers.ListField(child=serializers.CharField())
    refs = serializers.ListField(child=serializers.CharField())
    rows = serializers.IntegerField(allow_null=True)
    bytes = serializers.IntegerField(allow_null=True)
    objects = serializers.SerializerMethodField(help_text="How many it reads.")

    def get_objects(self, version: StoreVersion) -> int:
        return len(version.objects)


class SharedObjectSerializer(ObjectSerializer):
    """A physical object, and which versions read it."""

    path = serializers.CharField(source="object.path")
    bytes = serializers.IntegerField(source="object.bytes")
    rows = serializers.IntegerField(source="object.rows", allow_null=True)
    versions = serializers.ListField(child=serializers.CharField(), help_text="Newest first.")
    saved = serializers.IntegerField(
        help_text="Bytes that copies of its own for each version would take in addition."
    )


class CompareSerializer(serializers.Serializer[Any]):
    """Which versions are compared."""

    old = serializers.CharField()
    new = serializers.CharField()
    key = serializers.CharField(
        required=False,
        default="",
        help_text="Columns that name a row, with a comma between them: rows that are in both with "
        "other values then count as modified.",
    )

    def validate_key(self, value: str) -> list[str]:
        return key_columns(value)


class ColumnChangeSerializer(serializers.Serializer[Any]):
    column = serializers.CharField()
    before = serializers.CharField(help_text="Its type; empty where there was none.")
    after = serializers.CharField()


class RowChangesSerializer(serializers.Serializer[Any]):
    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    modified = serializers.IntegerField(allow_null=True, help_text="null without a key")


class VersionChangesSerializer(serializers.Serializer[Any]):
    """What differs between two versions."""

    old = serializers.CharField(source="comparison.old.id")
    new = serializers.CharField(source="comparison.new.id")
    columns = ColumnChangeSerializer(source="comparison.columns", many=True)
    objects_added = ObjectSerializer(source="comparison.added", many=True)
    objects_removed = ObjectSerializer(source="comparison.removed", many=True)
    objects_shared = serializers.SerializerMethodField(help_text="How many both read.")
    objects_rewritten = serializers.ListField(
        source="comparison.rewritten",
        child=serializers.CharField(),
        help_text="Under the same path, but not the same: versions must not change.",
    )
    rows = RowChangesSerializer(allow_null=True)
    rows_not_compared = serializers.CharField(source="why_not", help_text="Why, if so.")

    def get_objects_shared(self, changes: VersionChanges) -> int:
        return len(changes.comparison.shared)
