"""The parts of Vestige that act by themselves are actors too, with rows to be named by."""

from django.db import migrations

_NAMES = {
    "executor": "Erasure executor",
    "verifier": "Erasure verifier",
    "scheduler": "Scheduler",
    "public-form": "Public form",
    "setup": "Set-up",
}


def create(apps, schema_editor):
    user = apps.get_model("accounts", "User")
    for short, name in _NAMES.items():
        user.objects.get_or_create(
            username=f"vestige-{short}", defaults={"name": name, "kind": "system", "password": "!"}
        )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
