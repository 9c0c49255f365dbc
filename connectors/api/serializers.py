from typing import Any

from rest_framework import serializers

from connectors.models import Connector


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

    kind = serializers.CharField(
        max_length=20,
        help_text=(
            '"delta": a Delta Lake table. "files": a folder of Parquet, CSV and JSON Lines files, '
            'plain or packed with gzip. "sql": a table of a database. "dvc": a git repository '
            "with data in DVC. Others are named here as they become available."
        ),
    )
    location = serializers.CharField(
        max_length=2000,
        help_text=(
            "The absolute path of a folder, as the workers see it. For DVC the repository's top "
            "folder, then #data/orders.csv for one output alone. For an SQL table its address "
            "without a password: sqlite:////data/shop.db#customers or "
            "postgresql://host:5432/shop#public.customers."
        ),
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
        help_text=(
            "Of the kind's own; no secrets: name them by reference. Delta and files: "
            "unrelated_columns. Delta: orphan_grace_minutes. Files: delimiter, quote, escape, "
            "encoding, text_columns, number_columns, unrelated_files. DVC: as files, exclusive, "
            "retired_remotes. SQL: for example "
            '{"user": "shop", "password_env": "SHOP_DB_PASSWORD", "child_tables": ["orders"]}.'
        ),
    )
    dataset = DatasetNameSerializer(required=False)
    name = serializers.CharField(max_length=255, required=False, allow_blank=True)
    queue = serializers.CharField(max_length=100, required=False, allow_blank=True)


class ConnectorSerializer(serializers.ModelSerializer[Connector]):
    dataset = serializers.SerializerMethodField()
    subject_columns = serializers.DictField(child=serializers.CharField())
    options = serializers.DictField()

    class Meta:
        model = Connector
        fields = [
            "id", "kind", "name", "location", "dataset", "subject_columns", "options", "queue",
            "created_at", "disabled_at",
        ]  # fmt: skip

    def get_dataset(self, connector: Connector) -> dict[str, str]:
        return {
            "namespace": connector.dataset_namespace,
            "name": connector.dataset_name,
            "node": connector.dataset_node,
        }
