"""Judging merges into guarded branches, and keeping what was said."""

from django.db import transaction

from accounts.models import User
from audit.actions import record
from compliance.events import MERGE_JUDGED
from compliance.merging import Judgement, branch_digest, judge
from connectors.models import Connector
from lineage.gates import PASS, REVIEW


def judge_merge(
    connector: Connector,
    *,
    branch: str,
    source: str,
    plan: str = "",
    may_need_review: bool,
    by: User,
) -> tuple[bool, Judgement]:
    """(whether it may go in, the verdict), recorded. `may_need_review`: let in what a person has to
    review, too."""
    found = judge(connector, branch, source, plan)  # outside of the transaction: it takes seconds
    let_in = found.verdict == PASS or (may_need_review and found.verdict == REVIEW)
    with transaction.atomic():
        record(
            MERGE_JUDGED,
            by=by,
            resource=connector.resource,
            details={
                "verdict": found.verdict,
                "let_in": let_in,
                "rules": sorted({reason.rule for reason in found.reasons}),
                "branch_sha256": branch_digest(branch),
                "destination": found.destination,
                "source": source,
            },
        )
    return let_in, found
