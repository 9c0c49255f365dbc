"""Subjects' keys move into a store of their own; beside the log stays what it was told of them."""

import django.db.models.functions.datetime
from django.db import migrations, models


def tell_of_earlier_keys(apps, schema_editor):
    """Every key that an earlier version made was announced in the same transaction."""
    connection = schema_editor.connection
    if "audit_subjectkey" not in connection.introspection.table_names():
        return  # a new installation, whose keys never lay here
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_subject (pseudonym, commitment, epoch, erased_at, destroyed_at)"
            " SELECT pseudonym, commitment, NULL, destroyed_at, destroyed_at FROM audit_subjectkey"
        )


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0005_anchor_grave'),
    ]

    operations = [
        migrations.CreateModel(
            name='KeyEpoch',
            fields=[
                ('number', models.IntegerField(primary_key=True, serialize=False)),
                ('commitment', models.CharField(max_length=64)),
                ('opened_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('closed_at', models.DateTimeField(null=True)),
                ('rewrapped', models.BigIntegerField(default=0)),
                ('erased', models.BigIntegerField(default=0)),
                ('ended_at', models.DateTimeField(null=True)),
                ('destroyed_at', models.DateTimeField(null=True)),
                ('announced_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name='Subject',
            fields=[
                ('pseudonym', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('commitment', models.CharField(max_length=64)),
                ('epoch', models.IntegerField(null=True)),
                ('erased_at', models.DateTimeField(null=True)),
                ('destroyed_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddField(
            model_name='subjectkey',
            name='epoch',
            field=models.IntegerField(default=1),
        ),
        migrations.AddField(
            model_name='subjectkey',
            name='generation',
            field=models.IntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='subjectkey',
            name='lookup',
            field=models.CharField(max_length=64, null=True),
        ),
        migrations.AddIndex(
            model_name='subjectkey',
            index=models.Index(fields=['epoch', 'id'], name='subject_key_epoch'),
        ),
        migrations.AddConstraint(
            model_name='subjectkey',
            constraint=models.UniqueConstraint(fields=('lookup', 'generation'), name='subject_key_once'),
        ),
        migrations.AddIndex(
            model_name='subject',
            index=models.Index(condition=models.Q(('destroyed_at__isnull', True), ('erased_at__isnull', False)), fields=['erased_at'], name='subject_key_due'),
        ),
        migrations.AddIndex(
            model_name='subject',
            index=models.Index(condition=models.Q(('destroyed_at__isnull', False)), fields=['-destroyed_at'], name='subject_newest_destroyed'),
        ),
        migrations.AddConstraint(
            model_name='subject',
            constraint=models.CheckConstraint(condition=models.Q(('destroyed_at__isnull', True), ('erased_at__isnull', False), _connector='OR'), name='subject_destroyed_only_when_erased'),
        ),
        migrations.RunPython(tell_of_earlier_keys, migrations.RunPython.noop),
    ]
