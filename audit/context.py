"""What every page shows of the installation."""

from django.conf import settings
from django.http import HttpRequest

from audit.queries import failed_verification


def installation(request: HttpRequest) -> dict[str, object]:
    return {
        "organisation": settings.VESTIGE_ORGANISATION,
        "sample_company": settings.VESTIGE_SAMPLE,
        "dpo_contact": settings.VESTIGE_DPO_CONTACT,
        "failed_verification": failed_verification,  # asked only where a template does
    }
