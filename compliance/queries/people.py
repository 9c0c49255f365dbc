"""Whom a request is about: identities under the vault's key, and addresses that say nothing."""

import json

from django.core import signing

from audit import vault
from audit.subjects import SubjectRef
from compliance.models import Request
from compliance.states import State

STATUS_LINK_DAYS = 180


def identifiers_of(request: Request) -> list[SubjectRef]:
    """Whom the request is about, as filed; empty once the erasure is verified.

    For those parts that search and erase, and the staff member who checks the identity. Never
    for pages of auditors, logs or documents.
    """
    if not request.sealed_identity:
        return []
    plain = vault.decrypt(bytes(request.sealed_identity), context=f"identity:{request.reference}")
    return [SubjectRef(item["type"], item["value"]) for item in json.loads(plain)]


def contact_of(request: Request) -> str | None:
    if not request.sealed_contact:
        return None
    plain = vault.decrypt(bytes(request.sealed_contact), context=f"contact:{request.reference}")
    return plain.decode()


def masked(ref: SubjectRef) -> str:
    """Enough for a clerk to recognise, too little to identify: `e-mail c…@customers.example`."""
    kept = ref.value[:1] + "…"
    if "@" in ref.value:
        return f"{kept}@{ref.value.rpartition('@')[2]}"
    return kept + ref.value[-2:] if len(ref.value) > 4 else kept


def status_token(request: Request) -> str:
    """The address of the person's status page: signed, expiring, and saying nothing by itself."""
    return signing.dumps(request.pk, salt="privacy-status", compress=False)


def request_of_status_token(token: str) -> Request | None:
    try:
        pk = signing.loads(token, salt="privacy-status", max_age=STATUS_LINK_DAYS * 86400)
    except signing.BadSignature:
        return None
    found = Request.objects.filter(pk=pk).select_related("merged_into").first()
    return found.merged_into if found and found.merged_into else found


def open_request_for(lookup: str) -> Request | None:
    return (
        Request.objects.filter(subject_lookup=lookup)
        .exclude(state__in=[State.DUPLICATE, State.WITHDRAWN, State.REFUSED])
        .order_by("-pk")
        .first()
    )
