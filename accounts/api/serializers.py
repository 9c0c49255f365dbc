from rest_framework import serializers

from accounts.models import ApiKey
from accounts.roles import Role


class NewKeySerializer(serializers.Serializer[ApiKey]):
    name = serializers.CharField(max_length=150)
    roles = serializers.ListField(
        child=serializers.ChoiceField(choices=Role.choices), allow_empty=False
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    roles = serializers.SerializerMethodField()

    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "roles", "created_at", "expires_at", "revoked_at"]

    def get_roles(self, key: ApiKey) -> list[str]:
        return sorted(key.user.role_names)


class ShownKeySerializer(serializers.Serializer[ApiKey]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    key = serializers.CharField(help_text="Shown this once; only its digest is kept.")
