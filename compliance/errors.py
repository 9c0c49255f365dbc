"""Why the workflow refuses. Each says what is wrong and what to do; `field` names the input."""


class WorkflowError(Exception):
    """`status` is the HTTP status that a door answers with."""

    status = 409
    title = "Not possible now"

    def __init__(self, detail: str, *, field: str = "") -> None:
        super().__init__(detail)
        self.field = field


class InvalidInputError(WorkflowError):
    status = 400
    title = "Invalid input"


class WrongStateError(WorkflowError):
    title = "Not possible in this state"


class NotPermittedError(WorkflowError):
    status = 403
    title = "Forbidden"


class PlanChangedSinceApprovalError(WorkflowError):
    title = "The plan has changed"


class ApproverIsAuthorError(NotPermittedError):
    title = "Four eyes needed"


class TooManyRequestsError(WorkflowError):
    status = 429
    title = "Too many requests"


class CodeRefusedError(WorkflowError):
    status = 400
    title = "Code not accepted"


class ClaimLostError(Exception):
    """Another worker has taken the step over; what this one found out is not recorded."""


class NotErasedError(WorkflowError):
    title = "Erasure not verified"
