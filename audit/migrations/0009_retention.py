"""Policies, holds and prunings; entries of pruned ranges alone may be deleted."""

import django.db.models.functions.datetime
from django.db import migrations, models

from audit.append_only import install, uninstall


def guard(apps, schema_editor):
    install(schema_editor.connection)


def unguard(apps, schema_editor):
    uninstall(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0008_resource_heads'),
    ]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, guard),
        migrations.CreateModel(
            name='PrunedPlace',
            fields=[
                ('pk', models.CompositePrimaryKey('log_id', 'resource', blank=True, editable=False, primary_key=True, serialize=False)),
                ('log_id', models.SmallIntegerField()),
                ('resource', models.CharField(max_length=512)),
                ('seq', models.BigIntegerField()),
                ('nth', models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='PrunedRange',
            fields=[
                ('pk', models.CompositePrimaryKey('log_id', 'start', blank=True, editable=False, primary_key=True, serialize=False)),
                ('log_id', models.SmallIntegerField()),
                ('start', models.BigIntegerField()),
                ('stop', models.BigIntegerField()),
                ('entry', models.BigIntegerField()),
                ('newest_us', models.BigIntegerField()),
                ('pruned_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.AddField(
            model_name='verification',
            name='pruned',
            field=models.BigIntegerField(default=0),
        ),
        migrations.CreateModel(
            name='LogHold',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('log_id', models.SmallIntegerField()),
                ('resource', models.CharField(blank=True, max_length=512)),
                ('subject', models.CharField(blank=True, max_length=64)),
                ('start', models.BigIntegerField(null=True)),
                ('stop', models.BigIntegerField(null=True)),
                ('reason', models.CharField(max_length=500)),
                ('placed_at', models.DateTimeField()),
                ('placed_by', models.CharField(max_length=64)),
                ('released_at', models.DateTimeField(null=True)),
                ('released_by', models.CharField(blank=True, max_length=64)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('released_at', None)), fields=['log_id', 'resource'], name='log_hold_stands')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(models.Q(('resource', ''), _negated=True), ('start', None), ('stop', None), ('subject', '')), models.Q(models.Q(('subject', ''), _negated=True), ('resource', ''), ('start', None), ('stop', None)), models.Q(('resource', ''), ('start__gte', 0), ('stop__gt', models.F('start')), ('subject', '')), _connector='OR'), name='log_hold_of_one_kind')],
            },
        ),
        migrations.CreateModel(
            name='Pruning',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('log_id', models.SmallIntegerField()),
                ('plan_hash', models.CharField(max_length=64)),
                ('plan', models.JSONField()),
                ('state', models.CharField(choices=[('planned', 'Planned'), ('running', 'Running'), ('done', 'Done')], default='planned', max_length=16)),
                ('planned_at', models.DateTimeField()),
                ('planned_by', models.CharField(max_length=64)),
                ('started_at', models.DateTimeField(null=True)),
                ('started_by', models.CharField(blank=True, max_length=64)),
                ('finished_at', models.DateTimeField(null=True)),
                ('phase', models.CharField(choices=[('next', 'Takes the next tiles'), ('recorded', 'Recorded'), ('opened', 'Opened for deletion')], default='next', max_length=16)),
                ('event_id', models.CharField(blank=True, max_length=128)),
                ('chunk', models.JSONField(default=list)),
                ('done', models.BigIntegerField(default=0)),
                ('pruned', models.BigIntegerField(default=0)),
                ('kept', models.BigIntegerField(default=0)),
                ('fault', models.TextField(blank=True)),
                ('claimed_until', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['log_id', '-started_at'], name='pruning_newest')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'done'), _negated=True), fields=('log_id', 'state'), name='pruning_one_of_a_state')],
            },
        ),
        migrations.CreateModel(
            name='RetentionPolicy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('log_id', models.SmallIntegerField()),
                ('event_class', models.CharField(max_length=128)),
                ('days', models.PositiveIntegerField()),
                ('ground', models.CharField(max_length=200)),
                ('shorter_because', models.CharField(blank=True, max_length=200)),
                ('set_at', models.DateTimeField()),
                ('set_by', models.CharField(max_length=64)),
                ('ended_at', models.DateTimeField(null=True)),
                ('ended_by', models.CharField(blank=True, max_length=64)),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('ended_at', None)), fields=('log_id', 'event_class'), name='retention_policy_once_a_class'), models.CheckConstraint(condition=models.Q(('days__gte', 1)), name='retention_at_least_a_day')],
            },
        ),
        migrations.RunPython(guard, unguard),
    ]
