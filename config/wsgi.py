"""What a web server runs: `granian --interface wsgi config.wsgi:application`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

from config.handlers import Handler  # noqa: E402  # it needs the settings

application = Handler()
