"""The installation as it is, with what it is measured beside installed next to it."""

from config.settings import *  # noqa: F403, TID251  # settings that build on settings
from config.settings import INSTALLED_APPS as _OURS  # noqa: TID251

INSTALLED_APPS = [*_OURS, "bench.peers"]
ROOT_URLCONF = "bench.peers.urls"
