"""Run by test_export in a process of its own: appends as many entries as the argument says."""

import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

    from accounts.queries import system_user
    from audit.actions import append
    from tests.audit.builders import event

    by = system_user("setup")
    count = int(sys.argv[1])
    for start in range(0, count, 5_000):
        append([event(n) for n in range(start, min(start + 5_000, count))], by=by)
