"""What waits for a worker, and what has to wait."""

from collections.abc import Collection, Set

from django.db.models import Min, Q, QuerySet
from django.utils import timezone

from compliance.leases import LEASE
from compliance.models import Mail, Request, Step
from compliance.states import State
from connectors.models import Connector


def claimable(moment: str = "claimed_at") -> Q:
    """Rows that nobody works on: never claimed, or the claim's lease has run out."""
    return Q(**{moment: None}) | Q(**{f"{moment}__lt": timezone.now() - LEASE})


def due_steps() -> QuerySet[Step]:
    """Steps that a worker should take up now, also those that a dead worker left behind; not those
    of a plan that another has replaced since."""
    working = [Step.Phase.DUE, Step.Phase.ERASING, Step.Phase.PURGING]
    scanning = [Step.Phase.TO_VERIFY, Step.Phase.VERIFYING]
    return Step.objects.filter(
        claimable(),
        Q(request__state=State.EXECUTING, phase__in=working)
        | Q(request__state=State.VERIFYING_ERASURE, phase__in=scanning),
        request__held_at=None,
        plan__superseded_at=None,
    )


def next_steps() -> QuerySet[Step]:
    """One due step for each store that nobody works on: who takes it up takes along what goes with
    it, and a store has one worker at a time."""
    in_work = Step.objects.filter(~claimable()).values("connector")
    waiting = due_steps().exclude(connector__in=in_work)
    return Step.objects.filter(
        pk__in=waiting.values("connector").annotate(Min("pk")).values("pk__min")
    )


def nodes_being_erased_in() -> set[str]:
    """The datasets of the stores whose files a worker is rewriting or removing now."""
    rewriting = [Step.Phase.ERASING, Step.Phase.PURGING]
    working = Step.objects.filter(~claimable(), phase__in=rewriting).values("connector")
    return {store.dataset_node for store in Connector.objects.filter(pk__in=working)}


def waits_for_erasure(scope: Collection[str], nodes: Set[str]) -> bool:
    """Whether a search of this scope would read one of these: files would vanish from under it."""
    return not nodes.isdisjoint(scope) if scope else bool(nodes)


def due_discoveries() -> QuerySet[Request]:
    return Request.objects.filter(
        claimable(), state=State.DISCOVERY, discovery_due_at__lte=timezone.now()
    )


def next_discoveries() -> list[int]:
    """Requests whose search is due, but for those that wait for an erasure in one of the stores."""
    nodes = nodes_being_erased_in()
    due = due_discoveries().values_list("pk", "scope")
    return [pk for pk, scope in due if not waits_for_erasure(scope, nodes)]


def due_mail() -> QuerySet[Mail]:
    return Mail.objects.filter(claimable(), sent_at=None, due_at__lte=timezone.now())
