"""What every page shows of the installation."""

from django.conf import settings
from django.http import HttpRequest


def installation(request: HttpRequest) -> dict[str, object]:
    return {
        "organisation": settings.VESTIGE_ORGANISATION,
        "sample_company": settings.VESTIGE_SAMPLE,
        "dpo_contact": settings.VESTIGE_DPO_CONTACT,
    }
