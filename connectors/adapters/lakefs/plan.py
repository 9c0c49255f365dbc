"""What a plan says: the state it was made for, and the objects that go."""

import hashlib
from collections.abc import Mapping, Sequence

from connectors.adapters.base import ErasePlan
from connectors.scan.hidden import planned_paths
from connectors.storage import Hidden


def snapshot(
    branches: Mapping[str, str], tags: Mapping[str, str], moved: Mapping[str, str] | None = None
) -> str:
    """A digest over everything that refs lead to. `moved`: branches that we moved, and where they
    were."""
    were = {**branches, **(moved or {})}
    lines = [f"branch {name} {commit}\n" for name, commit in sorted(were.items())]
    lines += [f"tag {name} {commit}\n" for name, commit in sorted(tags.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]


def planned_objects(plan: ErasePlan) -> dict[str, str]:
    """Key → how the plan calls it ("data/gg3…/cc5… (orders.csv)"), of objects that lie in the block
    store. What a bucket hides is called otherwise ("older version …")."""
    named = ((path, *path.partition(" ")[::2]) for path in plan.objects)
    return {key: path for path, key, rest in named if not rest or rest.startswith("(")}


def doomed_paths(plan: ErasePlan, hidden: Sequence[Hidden]) -> dict[str, str]:
    """As `planned_objects`, also of what the plan names among what a bucket hides."""
    return planned_paths(hidden, plan.objects) | planned_objects(plan)
