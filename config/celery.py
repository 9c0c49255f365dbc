"""The Celery application: `celery -A config worker`. Tasks are found in each app's tasks.py."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("vestige")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
