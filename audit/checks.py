"""What `manage.py check` says of the log's settings."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from audit.places import PlacesError, places


@register
def places_outside(**_: Any) -> list[CheckMessage]:
    """The places outside that the settings name can be asked."""
    try:
        places()
    except PlacesError as exc:
        return [Error(str(exc), id="audit.E001")]
    return []
