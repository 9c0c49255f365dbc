"""Logs of units: a title, an origin of their own, never renamed."""

from django.db import migrations, models

from audit.append_only import install, uninstall


def guard(apps, schema_editor):
    install(schema_editor.connection)


def unguard(apps, schema_editor):
    uninstall(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0010_search_indexes'),
    ]

    operations = [
        # SQLite makes the table anew.
        migrations.RunPython(unguard, guard),
        migrations.AddField(
            model_name='log',
            name='title',
            field=models.CharField(blank=True, default='', max_length=200),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name='log',
            name='origin',
            field=models.CharField(max_length=200, unique=True),
        ),
        migrations.RunPython(guard, unguard),
    ]
