"""Indexes for what auditors search for: a version, a sender, a type of one actor's."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0009_retention'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='entry',
            index=models.Index(fields=['log_id', 'actor', 'type', 'seq'], name='entry_actor_type'),
        ),
        migrations.AddIndex(
            model_name='entry',
            index=models.Index(fields=['log_id', 'by', 'seq'], name='entry_by'),
        ),
        migrations.AddIndex(
            model_name='entry',
            index=models.Index(condition=models.Q(('resource_version', ''), _negated=True), fields=['log_id', 'resource_version', 'seq'], name='entry_version'),
        ),
    ]
