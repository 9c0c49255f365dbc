"""The people and keys that an installation starts with. Safe to run at every start."""

import json
import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from accounts.actions import create_key, create_user
from accounts.models import User
from accounts.queries import live_key, system_user
from accounts.roles import Role

# The sample company's people: one of each role; a second data owner would approve for others.
_SAMPLE_PEOPLE = [
    (Role.ANALYST, "Ana Brandt"),
    (Role.DPO, "Dominik Peters"),
    (Role.DATA_OWNER, "Dorothea Ostrow"),
    (Role.MODEL_OWNER, "Milan Okafor"),
    (Role.AUDITOR, "Aurelia Dietz"),
    (Role.ADMIN, "Adam Minett"),
]


class Command(BaseCommand):
    help = "Creates the first administrator and, with VESTIGE_SAMPLE=1, the sample sign-ins."

    def handle(self, *args: Any, **options: Any) -> None:
        by = system_user("setup")
        token = settings.VESTIGE_ADMIN_TOKEN
        if token and live_key(token) is None:
            create_key(name="First administrator", roles=[Role.ADMIN], by=by, key=token)
        people = (
            [(role, role.value.replace("_", "-"), name) for role, name in _SAMPLE_PEOPLE]
            if settings.VESTIGE_SAMPLE
            else [(Role.ADMIN, "admin", "Administrator")]
        )
        path = settings.VESTIGE_KEYS / "sample-sign-ins.json"
        known = json.loads(path.read_text()) if path.exists() else []
        for role, username, name in people:
            if User.objects.filter(username=username).exists():
                continue
            password = "-".join(secrets.token_hex(2) for _ in range(4))
            # The file first: a password that only the database's hash knows would be lost.
            known = [s for s in known if s["username"] != username]
            known.append({"role": role.label, "username": username, "password": password})
            path.touch(mode=0o600)
            path.write_text(json.dumps(known, indent=2))
            create_user(
                username=username,
                name=name,
                email=f"{username}@northgate.example" if settings.VESTIGE_SAMPLE else "",
                roles=[role],
                password=password,
                by=by,
            )
        self.stdout.write(json.dumps(known))
