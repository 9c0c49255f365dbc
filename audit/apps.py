from importlib import import_module

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        # Every app's event types are known before the first outside event claims one of them.
        autodiscover_modules("events")
        import_module("audit.checks")
