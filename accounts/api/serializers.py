from rest_framework import serializers

from accounts.models import ApiKey
from accounts.roles import Role


class NewKeySerializer(serializers.Serializer[ApiKey]):
    name = serializers.CharField(max_length=150)
    roles = serializers.ListField(
        child=serializers.ChoiceField(choices=Role.choices), allow_empty=False
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    log = serializers.CharField(
        required=False,
        max_length=64,
        help_text="The name of a log. The key then appends to, reads and verifies that log, and"
        " does nothing else.",
    )


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    roles = serializers.SerializerMethodField()

    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "roles", "log", "created_at", "expires_at", "revoked_at"]

    def get_roles(self, key: ApiKey) -> list[str]:
        return sorted(key.user.role_names)


class ShownKeySerializer(serializers.Serializer[ApiKey]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    key = serializers.CharField(help_text="Shown this once; only its digest is kept.")
