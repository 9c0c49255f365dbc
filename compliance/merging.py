"""Whether a merge may go into a guarded branch: judged on the data, before it happens."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from audit.queries import entries_for, event_of
from compliance.discovery import erase_plan_of
from compliance.events import MERGE_JUDGED
from compliance.models import Step, Suppression
from compliance.queries import WHOLE_NUMBERS, hits_among
from connectors.adapters.base import GuardsMerges, Incoming, MergeTooLargeError, StoreError
from connectors.models import Connector
from connectors.queries import open_store
from lineage.gates import FAIL, PASS, REVIEW, Candidate, Current, Reason, evaluate

MOST_COMMITS = 1000  # of a branch that are looked through


@dataclass(frozen=True)
class Judgement:
    """`destination`: what the branch's newest commit was; "" if the merge could not be read."""

    destination: str
    verdict: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Unjudged:
    """A step of a guarded branch that no verdict of ours let in."""

    commit: str
    parents: tuple[str, ...]
    time: datetime
    finding: str


def guarded(connector: Connector) -> GuardsMerges:
    """Raises StoreError for a kind of store that has no merges."""
    store = open_store(connector, role="reader")
    if not isinstance(store, GuardsMerges):
        raise StoreError(f"Stores of the kind {connector.get_kind_display()} have no merges.")
    return store


def judge(connector: Connector, branch: str, source: str, plan: str) -> Judgement:
    """The policy on schema and rows, and whether erased people would come back. `plan`: the id of
    the erasure that the merge says it is, "" for any other.

    Never raises for data that cannot be read: what nobody could look at is refused.
    """
    try:
        with guarded(connector).incoming(branch, source) as incoming:
            changes = 0 if _is_erasing(connector, plan) else 1
            verdict = evaluate(
                Candidate(
                    schema=dict(incoming.schema_after),
                    rows_added=incoming.rows_added * changes,
                    rows_removed=incoming.rows_removed * changes,
                ),
                Current(schema=dict(incoming.schema_before), rows=incoming.rows_before),
                metrics={},
                limits={},
            )
            reasons = (*verdict.reasons, *_suppression(connector, incoming))
            effects = {reason.effect for reason in reasons}
            worst = next((e for e in (FAIL, REVIEW) if e in effects), PASS)
            return Judgement(incoming.destination, worst, reasons)
    except MergeTooLargeError as exc:
        return Judgement("", FAIL, (Reason("size", FAIL, str(exc)),))
    except StoreError:
        # Its words may name a file, and the answer lands in the log of the hook.
        text = "Vestige cannot read what the merge would bring. Test the store's connection."
        return Judgement("", FAIL, (Reason("unreadable", FAIL, text),))


def _is_erasing(connector: Connector, plan: str) -> bool:
    """Whether we are carrying out this plan there now; an approved erasure may remove any share."""
    steps = Step.objects.filter(connector=connector, phase=Step.Phase.ERASING)
    return bool(plan) and any(
        erase_plan_of(step).id == plan for step in steps.select_related("plan", "batch", "request")
    )


def _suppression(connector: Connector, incoming: Incoming) -> Iterator[Reason]:
    gone = set(Suppression.objects.values_list("digest", flat=True))
    if not gone:
        return
    types = dict(incoming.schema_after)
    rows = 0
    for column, kind in connector.subject_columns.items():
        numbers = set(types.get(column, "").split("|")) <= WHOLE_NUMBERS
        hits, _ = hits_among(incoming.identifiers(column), kind, gone, as_numbers=numbers)
        rows += hits
    if rows:
        text = f"{rows} identifiers of people who were erased would come in again. Remove them."
        yield Reason("suppression", FAIL, text)


def branch_digest(branch: str) -> str:
    """How the log names a branch, whose own name may be a person's."""
    return hashlib.sha256(branch.encode()).hexdigest()


def unjudged(connector: Connector, branch: str) -> list[Unjudged]:
    """What came into a branch since its first verdict without one that let it in, newest first.

    A branch carries its own hooks, so whoever writes to it may delete the one that calls us. Of a
    squashed merge only the branch's side is known. Raises StoreError.
    """
    verdicts = _verdicts(connector, branch)
    let_in = {(v["destination"], v["source"]) for v in verdicts if v["let_in"]}
    destinations = {destination for destination, _ in let_in}
    begun = next((v["destination"] for v in verdicts if v["destination"]), None)
    found = []
    for number, commit in enumerate(guarded(connector).branch_line(branch)):
        if commit.id == begun or number >= MOST_COMMITS or not commit.parents:
            break
        before, *merged = commit.parents
        fine = (before, merged[0]) in let_in if merged else before in destinations
        if not fine:
            refused = any(v["destination"] == before for v in verdicts)
            finding = "No verdict let it in" if refused else "There is no verdict on it"
            moment = datetime.fromtimestamp(commit.seconds, UTC)
            found.append(Unjudged(commit.id, commit.parents, moment, f"{finding}."))
    return found


def _verdicts(connector: Connector, branch: str) -> list[dict[str, str]]:
    """The details of what was recorded, oldest first."""
    rows = entries_for(connector.resource).filter(type=MERGE_JUDGED.name)
    details = (event_of(row)["details"] for row in rows)
    return [d for d in details if d["branch_sha256"] == branch_digest(branch)]
