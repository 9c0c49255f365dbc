"""The request's state machine, in one table: who moves it, from where, to where.

Guards that need the case (four eyes, the plan's hash, a hold) are in the actions.
"""

from dataclasses import dataclass

from django.db.models import TextChoices


class State(TextChoices):
    RECEIVED = "received", "Received"
    VERIFYING = "verifying", "Identity to be confirmed"
    TRIAGE = "triage", "To be looked at"
    DISCOVERY = "discovery", "Searching the stores"
    REVIEW = "review", "Plan awaits approval"
    APPROVAL = "approval", "Awaits second approval"
    SCHEDULED = "scheduled", "Approved, to be executed"
    EXECUTING = "executing", "Erasing"
    VERIFYING_ERASURE = "verifying_erasure", "Re-scanning every byte"
    RESPONDING = "responding", "Erased, answer being written"
    TAIL_OPEN = "tail_open", "Erased, dated tail open"
    COMPLETED = "completed", "Completed and proved"
    COMPLETED_PARTIAL = "completed_partial", "Completed in part"
    AWAITING_SUBJECT = "awaiting_subject", "Waiting for the person"
    BLOCKED = "blocked", "Blocked: needs an eye"
    REFUSED = "refused", "Refused"
    WITHDRAWN = "withdrawn", "Withdrawn"
    DUPLICATE = "duplicate", "Merged into an earlier request"


ENDED = frozenset(
    {State.COMPLETED, State.COMPLETED_PARTIAL, State.REFUSED, State.WITHDRAWN, State.DUPLICATE}
)
OPEN = frozenset(State) - ENDED
# The person has no answer yet: while a tail is open, they have, and no statutory period runs.
UNANSWERED = OPEN - {State.TAIL_OPEN}
# Nothing has been erased yet, so the person may still withdraw.
BEFORE_EXECUTION = frozenset(
    {
        State.RECEIVED,
        State.VERIFYING,
        State.TRIAGE,
        State.DISCOVERY,
        State.REVIEW,
        State.APPROVAL,
        State.SCHEDULED,
        State.AWAITING_SUBJECT,
    }
)
PLANNABLE = frozenset({State.TRIAGE, State.REVIEW, State.APPROVAL, State.SCHEDULED, State.BLOCKED})


@dataclass(frozen=True)
class Transition:
    """`permission` None: only Vestige itself does it."""

    sources: frozenset[State]
    target: State
    permission: str | None = None


TRANSITIONS: dict[str, Transition] = {
    "ask_identity": Transition(frozenset({State.RECEIVED}), State.VERIFYING),
    "verify": Transition(
        frozenset({State.RECEIVED, State.VERIFYING, State.AWAITING_SUBJECT}),
        State.TRIAGE,
        "requests.triage",
    ),
    "merge": Transition(frozenset({State.TRIAGE}), State.DUPLICATE),
    "plan": Transition(PLANNABLE, State.DISCOVERY, "requests.plan"),
    "plan_made": Transition(frozenset({State.DISCOVERY}), State.REVIEW),
    "discovery_failed": Transition(frozenset({State.DISCOVERY}), State.BLOCKED),
    "first_approval": Transition(frozenset({State.REVIEW}), State.APPROVAL),
    "second_approval": Transition(frozenset({State.APPROVAL}), State.SCHEDULED),
    "amend": Transition(
        frozenset({State.REVIEW, State.APPROVAL, State.SCHEDULED}), State.REVIEW, "requests.plan"
    ),
    "execute": Transition(frozenset({State.SCHEDULED}), State.EXECUTING, "requests.execute"),
    "erased": Transition(frozenset({State.EXECUTING}), State.VERIFYING_ERASURE),
    "verified": Transition(frozenset({State.VERIFYING_ERASURE}), State.RESPONDING),
    "fail": Transition(
        frozenset({State.EXECUTING, State.VERIFYING_ERASURE, State.RESPONDING}), State.BLOCKED
    ),
    "leave_tail": Transition(frozenset({State.RESPONDING}), State.TAIL_OPEN),
    "complete": Transition(frozenset({State.RESPONDING, State.TAIL_OPEN}), State.COMPLETED),
    "complete_in_part": Transition(
        frozenset({State.RESPONDING, State.TAIL_OPEN}), State.COMPLETED_PARTIAL
    ),
    "refuse": Transition(
        BEFORE_EXECUTION - {State.DISCOVERY} | {State.BLOCKED}, State.REFUSED, "requests.decide"
    ),
    "withdraw": Transition(BEFORE_EXECUTION, State.WITHDRAWN, "requests.triage"),
    "reopen": Transition(
        frozenset({State.REFUSED, State.WITHDRAWN, State.COMPLETED, State.COMPLETED_PARTIAL}),
        State.TRIAGE,
        "requests.decide",
    ),
}


class NoticeState(TextChoices):
    ISSUED = "issued", "Issued"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    IN_PROGRESS = "in_progress", "Retraining"
    REJECTED_EVIDENCE = "rejected_evidence", "Evidence not sufficient"
    CLOSED = "closed", "Closed with proof"
    WAIVED = "waived", "Waived"


NOTICE_OPEN = frozenset(NoticeState) - {NoticeState.CLOSED, NoticeState.WAIVED}
