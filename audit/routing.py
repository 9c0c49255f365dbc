"""Which tables lie in which database: the subjects' keys in `keys`, everything else in `default`.

Where both names mean one database, its tables are made once, under the name `default`, and are
used under the name `keys` all the same: the key store has transactions of its own.
"""

from typing import Any

from django.conf import settings
from django.db.models import Model

KEYS = "keys"
_KEPT_THERE = frozenset({"keyepoch", "subjectkey"})


class KeyStoreRouter:
    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return KEYS if _is_kept_there(model._meta.app_label, model._meta.model_name) else None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return self.db_for_read(model)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        kept_there = _is_kept_there(app_label, model_name)
        if db == KEYS:
            return kept_there
        return None if not kept_there else not settings.VESTIGE_KEYS_APART


def _is_kept_there(app_label: str, model_name: str | None) -> bool:
    return app_label == "audit" and model_name in _KEPT_THERE
