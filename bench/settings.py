"""The installation as it is, and next to it what it is measured beside.

The libraries whose audit trails are measured (bench.change) watch only the models of bench.peers.
"""

from config.settings import *  # noqa: F403, TID251  # settings that build on settings
from config.settings import DATABASES, INSTALLED_APPS, LOGGING  # noqa: TID251

INSTALLED_APPS = [*INSTALLED_APPS, "bench.peers", "auditlog", "simple_history"]
if DATABASES["default"]["ENGINE"] == "audit.backend":
    INSTALLED_APPS += ["pgtrigger", "pghistory"]
ROOT_URLCONF = "bench.peers.urls"
LOGGING = {**LOGGING, "loggers": {"pgtrigger": {"level": "WARNING"}}}
