"""All attacks, in the order of the table."""

from tests.audit.attacks import on_entries, on_the_head, on_the_whole

ATTACKS = [*on_entries.ATTACKS, *on_the_head.ATTACKS, *on_the_whole.ATTACKS]
