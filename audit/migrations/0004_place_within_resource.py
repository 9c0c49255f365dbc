"""Each entry says which of its resource's entries it is, and which came before it.

The entries that are there get the two columns counted; their leaves say nothing of it.
"""

from django.db import migrations, models

from audit.append_only import install, uninstall

_COUNT = """
UPDATE audit_entry SET nth = counted.nth, previous = counted.previous FROM (
    SELECT log_id, seq, row_number() OVER place AS nth, lag(seq) OVER place AS previous
    FROM audit_entry WINDOW place AS (PARTITION BY log_id, resource ORDER BY seq)
) AS counted WHERE audit_entry.log_id = counted.log_id AND audit_entry.seq = counted.seq
"""


def unguard(apps, schema_editor):
    uninstall(schema_editor.connection)


def guard(apps, schema_editor):
    install(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_anchors")]

    operations = [
        migrations.RunPython(unguard, guard),
        migrations.AddField("entry", "nth", models.BigIntegerField(default=0), preserve_default=False),
        migrations.AddField("entry", "previous", models.BigIntegerField(null=True)),
        migrations.RunSQL(_COUNT, migrations.RunSQL.noop),
        migrations.RunPython(guard, unguard),
    ]
