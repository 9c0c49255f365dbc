"""The only way a request changes its state."""

from typing import Any

from django.utils import timezone

from accounts.models import User
from compliance.errors import NotPermittedError, WrongStateError
from compliance.models import Request
from compliance.states import ENDED, TRANSITIONS, State


def move(request: Request, verb: str, *, by: User, **changes: Any) -> None:
    """Moves the request by one row of the table, with other columns changed in the same update.

    The update names the states it may come from, so of two that move at once one is refused.
    """
    transition = TRANSITIONS[verb]
    if transition.permission and not by.has_perm(transition.permission) and by.kind != "system":
        raise NotPermittedError(f"Your role may not {verb.replace('_', ' ')} a request.")
    if transition.target in ENDED:
        changes["closed_at"] = timezone.now()
    moved = Request.objects.filter(pk=request.pk, state__in=transition.sources).update(
        state=transition.target, claimed_at=None, **changes
    )
    if not moved:
        request.refresh_from_db()
        allowed = ", ".join(State(s).label.lower() for s in sorted(transition.sources))
        raise WrongStateError(
            f"{request.reference} is in the state “{request.get_state_display()}”. "
            f"To {verb.replace('_', ' ')} it must be in: {allowed}."
        )
    request.refresh_from_db()
