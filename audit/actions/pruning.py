"""Taking out what is past its retention: a plan, its execution by its hash, chunk by chunk.

Each chunk of tiles goes in three steps, each a transaction: what goes and why is recorded and gets
its place in the log; the stretch is opened for deletion, unless a hold came in between; its rows
are deleted. Whoever finds a run that stopped goes on with the step that it stands at.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from audit import heads, intake, proofs, sequencer, storage
from audit.actions.acting import Actor, Part
from audit.actions.recording import record_of_log
from audit.events import LOG_PRUNED, LOG_PRUNING_STARTED, LOG_PRUNING_WITHHELD
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import unpack
from audit.ledger.tiles import TILE_WIDTH
from audit.ledger.tree import root_of
from audit.models import MAIN_LOG, Entry, PrunedRange, Pruning, RetentionPolicy
from audit.retention import (
    Rules,
    TileFacts,
    contradictions,
    most_common,
    plan_of,
    ranges_of,
    tiles_of,
)
from audit.rows import moment
from audit.verification import columns, stored

TILES_A_CHUNK = 32
_MOST_GROUNDS = 20  # in one entry, which has at most 60,000 bytes; each policy has its own entry
_LEASE = timedelta(seconds=60)

Progress = Callable[[int, int], None]


class PruningRefusedError(RuntimeError):
    """The pruning cannot begin, or not by this person; the sentence says why."""


class PlanChangedError(PruningRefusedError):
    """What may go is not what the plan says any more."""


class OwnPolicyError(PruningRefusedError):
    """Who set a policy does not execute what follows from it: two persons for what is lasting."""


class UnsoundEntryError(RuntimeError):
    """An entry that is to go is not what the log's tree says: it stays, as evidence."""


class StepTakenError(RuntimeError):
    """Another worker has taken this step meanwhile."""


def plan_pruning(*, by: Actor, log_id: int = MAIN_LOG, keep_empty: bool = True) -> Pruning | None:
    """What may go now, as a plan that can be executed by its hash; the plan before it lapses.

    Nothing is deleted by this. None when nothing may go and `keep_empty` is false. Raises
    PruningRefusedError while a pruning runs.
    """
    plan = plan_of(log_id, timezone.now())
    with transaction.atomic():
        storage.lock_head(log_id)
        if Pruning.objects.filter(log_id=log_id, state=Pruning.State.RUNNING).exists():
            raise PruningRefusedError("A pruning runs. Plan the next one when it has ended.")
        Pruning.objects.filter(log_id=log_id, state=Pruning.State.PLANNED).delete()
        if not plan.tiles and not keep_empty:
            return None
        return Pruning.objects.create(
            log_id=log_id,
            plan_hash=plan.digest(),
            plan=plan.described(),
            planned_at=plan.as_of,
            planned_by=by.actor,
        )


def start_pruning(plan_hash: str, *, by: Actor, log_id: int = MAIN_LOG) -> Pruning:
    """Begin with what the plan of this hash says; it cannot be undone.

    `by` is another than those who set the policies that it follows. Raises PruningRefusedError, in
    particular OwnPolicyError, and PlanChangedError when policies, holds or cases have changed what
    may go.
    """
    planned = Pruning.objects.filter(
        log_id=log_id, state=Pruning.State.PLANNED, plan_hash=plan_hash
    ).first()
    if planned is None:
        raise PlanChangedError("This is not the newest plan. Look at what may go now.")
    if not planned.plan["tiles"]:
        raise PruningRefusedError("Nothing may go: there is no tile to prune.")
    setters = RetentionPolicy.objects.filter(
        pk__in=[policy["policy"] for policy in planned.plan["policies"]], set_by=by.actor
    )
    if own := setters.first():
        raise OwnPolicyError(
            f"You have set the policy for {own.event_class} yourself. Somebody else must execute"
            " this plan."
        )
    sequencer.drain(log_id)
    if wrong := contradictions(log_id):
        raise PruningRefusedError(f"Nothing is pruned: {wrong[0]} Look into who did that.")
    if plan_of(log_id, planned.planned_at).digest() != plan_hash:
        raise PlanChangedError(
            "Policies, holds or cases have changed since this plan was made. Plan again."
        )
    with transaction.atomic():
        storage.lock_head(log_id)
        won = Pruning.objects.filter(pk=planned.pk, state=Pruning.State.PLANNED).update(
            state=Pruning.State.RUNNING, started_at=timezone.now(), started_by=by.actor
        )
        if not won:
            raise PruningRefusedError("Somebody else has started this plan already.")
        record_of_log(
            LOG_PRUNING_STARTED,
            log_id,
            by=by,
            details={
                "plan_hash": plan_hash,
                "as_of": planned.plan["as_of"],
                "entries": planned.plan["entries"],
                "tiles": planned.plan["tiles"],
                "planned_by": planned.planned_by,
            },
        )
    planned.refresh_from_db()
    return planned


def prune(pruning_id: int, progress: Progress | None = None) -> Pruning:
    """Carry a pruning that was started to its end, or to where somebody else is at it. Commits.

    It ends early, with a `fault`, at an entry that is not what the log's tree says.
    """
    while (mine := _claim(pruning_id)) is not None:
        pruning = Pruning.objects.get(pk=pruning_id)
        if progress:
            progress(pruning.pruned, pruning.plan["entries"])
        try:
            _STEPS[Pruning.Phase(pruning.phase)](pruning)
        except UnsoundEntryError as exc:
            _end(pruning, fault=str(exc))
        except StepTakenError:
            break
        finally:
            Pruning.objects.filter(pk=pruning_id, claimed_until=mine).update(claimed_until=None)
    return Pruning.objects.get(pk=pruning_id)


def _claim(pruning_id: int) -> datetime | None:
    """Until when the run is ours; None when it has ended or another is at it."""
    now = timezone.now()
    free = Pruning.objects.filter(pk=pruning_id, state=Pruning.State.RUNNING).filter(
        Q(claimed_until=None) | Q(claimed_until__lt=now)
    )
    return now + _LEASE if free.update(claimed_until=now + _LEASE) else None


def _end(pruning: Pruning, *, fault: str = "") -> None:
    Pruning.objects.filter(pk=pruning.pk).update(
        state=Pruning.State.DONE, finished_at=timezone.now(), fault=fault
    )


def _record_next(pruning: Pruning) -> None:
    """Say what goes with the next chunk, and why; or end the run."""
    wanted = tiles_of(pruning.plan["ranges"])[pruning.done : pruning.done + TILES_A_CHUNK]
    with transaction.atomic():
        _require_phase(pruning, Pruning.Phase.NEXT)
        if not wanted:
            _end(pruning)
            return
        rules, going = _still_going(pruning, wanted)
        ranges = ranges_of(tile.index for tile in going)
        event_id = intake.new_id() if going else ""
        if going:
            record_of_log(
                LOG_PRUNED,
                pruning.log_id,
                by=Part(pruning.started_by),
                event_id=event_id,
                details=_facts(pruning, rules, going),
            )
        Pruning.objects.filter(pk=pruning.pk).update(
            phase=Pruning.Phase.RECORDED if going else Pruning.Phase.NEXT,
            event_id=event_id,
            chunk=ranges,
            done=pruning.done + len(wanted),
            kept=pruning.kept + len(wanted) - len(going),
        )


def _open(pruning: Pruning) -> None:
    """Let the database delete the chunk's entries, unless somebody began to hold them."""
    sequencer.drain(pruning.log_id)
    heads.gather(pruning.log_id)  # while all that they are gathered from is there
    with transaction.atomic():
        # Holds are placed under the same lock: none comes between the look at them and the row.
        storage.lock_head(pruning.log_id)
        _require_phase(pruning, Pruning.Phase.RECORDED)
        entry = Entry.objects.get(log_id=pruning.log_id, event_id=pruning.event_id)
        said = tiles_of(pruning.chunk)
        _, going = _still_going(pruning, said)
        ranges = ranges_of(tile.index for tile in going)
        PrunedRange.objects.bulk_create(
            PrunedRange(
                log_id=pruning.log_id,
                start=start,
                stop=stop,
                entry=entry.seq,
                newest_us=_recorded_us(pruning.log_id, stop - 1),
            )
            for start, stop in ranges
        )
        storage.keep_places(pruning.log_id, ranges)
        if len(going) < len(said):
            gone = {tile.index for tile in going}
            record_of_log(
                LOG_PRUNING_WITHHELD,
                pruning.log_id,
                by=Part(pruning.started_by),
                details={
                    "plan_hash": pruning.plan_hash,
                    "pruned_id": pruning.event_id,
                    "ranges": ranges_of(index for index in said if index not in gone),
                },
            )
        Pruning.objects.filter(pk=pruning.pk).update(
            phase=Pruning.Phase.OPENED,
            chunk=ranges,
            kept=pruning.kept + len(said) - len(going),
        )


def _delete(pruning: Pruning) -> None:
    if connection.vendor == "sqlite":
        # Overwrite the rows' bytes on disk instead of only unlinking them.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")
    with transaction.atomic():
        _require_phase(pruning, Pruning.Phase.OPENED)
        for start, stop in pruning.chunk:
            storage.delete_entries(pruning.log_id, start, stop)
        Pruning.objects.filter(pk=pruning.pk).update(
            phase=Pruning.Phase.NEXT,
            pruned=pruning.pruned + sum(stop - start for start, stop in pruning.chunk),
            chunk=[],
            event_id="",
        )


_STEPS: Mapping[Pruning.Phase, Callable[[Pruning], None]] = {
    Pruning.Phase.NEXT: _record_next,
    Pruning.Phase.RECORDED: _open,
    Pruning.Phase.OPENED: _delete,
}


def _require_phase(pruning: Pruning, phase: Pruning.Phase) -> None:
    """Lock the run, and see that it stands where we found it."""
    mine = Pruning.objects.select_for_update().filter(
        pk=pruning.pk, state=Pruning.State.RUNNING, phase=phase, done=pruning.done
    )
    if not mine.exists():
        raise StepTakenError(f"The pruning {pruning} is not at the step {phase} any more.")


def _still_going(pruning: Pruning, tiles: Sequence[int]) -> tuple[Rules, list[TileFacts]]:
    """Those of these tiles that may go by the rules of now."""
    rules = Rules(pruning.log_id, pruning.planned_at)
    going = [tile for start, stop in ranges_of(tiles) for tile in rules.tiles(start, stop)]
    return rules, going


def _facts(pruning: Pruning, rules: Rules, going: Sequence[TileFacts]) -> dict[str, Any]:
    types: Counter[str] = Counter()
    for tile in going:
        types.update(tile.types)
    policies = rules.used(types)
    for policy in policies[_MOST_GROUNDS:]:
        del policy["ground"]
    log_id, by_index = pruning.log_id, {tile.index: tile for tile in going}
    roots = {tile.index: _sound_root(log_id, tile.index) for tile in going}
    return {
        "plan_hash": pruning.plan_hash,
        "entries": types.total(),
        "types": most_common(types),
        "policies": policies,
        "ranges": [
            {
                "start": start,
                "stop": stop,
                "oldest": intake.time_text(by_index[start // TILE_WIDTH].oldest),
                "newest": intake.time_text(by_index[stop // TILE_WIDTH - 1].newest),
                "root_before": proofs.root_at(log_id, start).hex(),
                "root_after": proofs.root_at(log_id, stop).hex(),
            }
            for start, stop in ranges_of(by_index)
        ],
        "tiles": [
            {
                "tile": tile.index,
                "root": roots[tile.index].hex(),
                "newest": intake.time_text(_recorded_at(log_id, tile)),
            }
            for tile in going
        ],
    }


def _sound_root(log_id: int, index: int) -> bytes:
    """The root over a tile whose entries are what the tree and their columns say.

    A changed entry is evidence, and a changed type could let go what must be kept. Raises
    UnsoundEntryError.
    """
    start = index * TILE_WIDTH
    held = proofs.tile_reader(log_id, start + TILE_WIDTH)(0, index)
    hashes = [held[at : at + 32] for at in range(0, len(held), 32)]
    for chunk in stored.entries(log_id, start, start + TILE_WIDTH):
        for seq, leaf in zip(chunk.numbers, chunk.leaves, strict=True):
            if type(leaf) is not bytes or leaf_hash(leaf) != hashes[seq - start]:
                raise UnsoundEntryError(_unsound(seq, "its bytes are not those in the log's tree"))
        for seq, sentence in columns.faults(chunk, len(chunk)):
            raise UnsoundEntryError(_unsound(seq, sentence.rstrip(".")))
    return root_of(hashes)


def _unsound(seq: int, reason: str) -> str:
    return (
        f"Entry {seq} was changed: {reason}. It is evidence and stays. Verify the log;"
        " to prune what is around it, hold the stretch that it is in."
    )


def _recorded_at(log_id: int, tile: TileFacts) -> datetime:
    """When the tile's last entry was recorded, by its leaf."""
    return moment(_recorded_us(log_id, (tile.index + 1) * TILE_WIDTH - 1))


def _recorded_us(log_id: int, seq: int) -> int:
    leaf = Entry.objects.values_list("leaf", flat=True).get(log_id=log_id, seq=seq)
    return unpack(bytes(leaf)).timestamp_us
