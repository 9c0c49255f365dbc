"""What of the log may go: policies by class of event, holds, and the plan of a pruning.

What goes are whole full tiles of 256 entries (C2SP tlog-tiles): each entry past the retention of
its class, of no permanent type, and held by nobody. The hash tile stays, so that every proof can
still be made. Without a policy an entry is kept for ever.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from audit.events import (
    LOG_HOLD_PLACED,
    LOG_HOLD_RELEASED,
    LOG_RETENTION_ENDED,
    LOG_RETENTION_SET,
    EventType,
    is_permanent,
)
from audit.intake import parse_time, time_text
from audit.ledger import canonical
from audit.ledger.leaf import unpack
from audit.ledger.tiles import TILE_WIDTH
from audit.models import Entry, Log, LogHold, PrunedRange, Pruning, RetentionPolicy

ANY = "*"
_WINDOW = 256 * TILE_WIDTH  # entries that are looked at in one query
_NAMES_A_QUERY = 500
_MOST_TYPES = 50

Ranges = list[list[int]]  # [start, stop) each
Holder = Callable[[], Iterable[str]]
_holders: dict[str, Holder] = {}


def hold_open(name: str, holder: Holder) -> None:
    """The resources that this function gives are held as long as it gives them.

    Apps above register what their open cases need, in `ready`.
    """
    _holders[name] = holder


def policies(log_id: int) -> QuerySet[RetentionPolicy]:
    """The policies in force, by class."""
    return RetentionPolicy.objects.filter(log_id=log_id, ended_at=None).order_by("event_class")


def holds(log_id: int) -> QuerySet[LogHold]:
    """The holds that stand, newest first."""
    return LogHold.objects.filter(log_id=log_id, released_at=None).order_by("-placed_at", "-pk")


def held_by_cases() -> dict[str, list[str]]:
    """The resources that open cases hold, by who registered them."""
    return {name: sorted(set(holder())) for name, holder in _holders.items()}


def planned(log_id: int) -> Pruning | None:
    """The newest plan that was not executed."""
    return Pruning.objects.filter(log_id=log_id, state=Pruning.State.PLANNED).first()


def prunings(log_id: int) -> QuerySet[Pruning]:
    """Those that were started, newest first."""
    started = Pruning.objects.filter(log_id=log_id, started_at__isnull=False)
    return started.order_by("-started_at", "-pk")


def running_prunings(log_id: int | None = None) -> list[int]:
    """Those under way, by number: of one log, or of all."""
    running = Pruning.objects.filter(state=Pruning.State.RUNNING)
    if log_id is not None:
        running = running.filter(log_id=log_id)
    return list(running.order_by("pk").values_list("pk", flat=True))


def policy_for(name: str, found: Iterable[RetentionPolicy]) -> RetentionPolicy | None:
    """The one that counts for this type: the type itself, else the longest prefix, else `*`."""
    best: RetentionPolicy | None = None
    for policy in found:
        said = policy.event_class
        fits = name.startswith(said[:-1]) if said.endswith("*") else name == said
        # A type is longer than each of its prefixes, and `*` is the shortest.
        if fits and (best is None or len(said) > len(best.event_class)):
            best = policy
    return best


def contradictions(log_id: int) -> list[str]:
    """Where policies and holds are not those that the log tells of: somebody edited the tables."""
    found = []
    told = {said["policy"]: said for said in _told(log_id, LOG_RETENTION_SET)}
    ended = {said["policy"] for said in _told(log_id, LOG_RETENTION_ENDED)}
    for policy in policies(log_id):
        said = told.get(policy.pk)
        if said is None or policy.pk in ended:
            found.append(f"No entry tells that the policy for {policy.event_class} is in force.")
        elif (said["event_class"], said["days"]) != (policy.event_class, policy.days):
            found.append(f"The policy for {policy.event_class} is not the one that was set.")
    released = {said["hold"] for said in _told(log_id, LOG_HOLD_RELEASED)}
    standing = {hold.pk: hold for hold in holds(log_id)}
    for said in _told(log_id, LOG_HOLD_PLACED):
        if said["hold"] in released:
            continue
        hold = standing.get(said["hold"])
        names = ("resource", "subject", "start", "stop")
        if hold is None or any(getattr(hold, name) != said[name] for name in names):
            found.append(f"Hold {said['hold']} is not what was placed, and nobody released it.")
    return found


def _told(log_id: int, event: EventType) -> Iterator[dict[str, Any]]:
    """The open facts of the entries of this type, oldest first."""
    rows = Entry.objects.filter(log_id=log_id, type=event.name).order_by("seq")
    for leaf in rows.values_list("leaf", flat=True).iterator(500):
        yield canonical.decode(unpack(bytes(leaf)).event)["details"]


@dataclass(frozen=True, slots=True)
class TileFacts:
    """A tile that may go: its number, its entries by type, and when they were recorded."""

    index: int
    types: Mapping[str, int]
    oldest: datetime
    newest: datetime
    bytes: int


@dataclass(slots=True)
class Plan:
    """What may go as of a moment, and what stands in the way of more."""

    log_id: int
    as_of: datetime
    ranges: Ranges = field(default_factory=list)
    types: Counter[str] = field(default_factory=Counter)
    policies: list[dict[str, Any]] = field(default_factory=list)
    tiles: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    # Tiles with entries that are past their retention, and what keeps them.
    kept: Counter[str] = field(default_factory=Counter)

    @property
    def entries(self) -> int:
        return self.tiles * TILE_WIDTH

    def add(self, tile: TileFacts) -> None:
        start = tile.index * TILE_WIDTH
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1][1] += TILE_WIDTH
        else:
            self.ranges.append([start, start + TILE_WIDTH])
        self.types.update(tile.types)
        self.tiles += 1
        self.bytes += tile.bytes
        self.oldest = min(self.oldest or tile.oldest, tile.oldest)
        self.newest = max(self.newest or tile.newest, tile.newest)

    def binding(self) -> dict[str, Any]:
        """What the hash is taken of: made again from the same log, the same."""
        return {
            "log": self.log_id,
            "as_of": time_text(self.as_of),
            "ranges": self.ranges,
            "entries": self.entries,
            "types_sha256": sha256(canonical.encode(dict(self.types))).hexdigest(),
            "policies": self.policies,
        }

    def digest(self) -> str:
        return sha256(canonical.encode(self.binding())).hexdigest()

    def described(self) -> dict[str, Any]:
        """As JSON, with the figures that people look at."""
        return self.binding() | {
            "tiles": self.tiles,
            "bytes": self.bytes,
            "types": most_common(self.types),
            "oldest": time_text(self.oldest) if self.oldest else None,
            "newest": time_text(self.newest) if self.newest else None,
            "kept": most_common(self.kept),
        }


def most_common(counts: Counter[str]) -> dict[str, int]:
    """The most frequent; what is beyond is one number under "others"."""
    shown = {name: count for name, count in counts.most_common(_MOST_TYPES) if count}
    rest = counts.total() - sum(shown.values())
    return shown | ({"others": rest} if rest else {})


def plan_of(log_id: int, as_of: datetime) -> Plan:
    """What may go as of then."""
    plan = Plan(log_id, as_of)
    rules = Rules(log_id, as_of)
    for tile in rules.tiles(0, rules.end, kept=plan.kept):
        plan.add(tile)
    plan.policies = rules.used(plan.types)
    return plan


class Rules:
    """The policies and holds of now, applied to stretches of the log as of a moment."""

    def __init__(self, log_id: int, as_of: datetime) -> None:
        self.log_id = log_id
        self._policies = list(policies(log_id))
        self._of_type: dict[str, RetentionPolicy | None] = {}
        self._cutoffs: dict[int, int] = {}  # by days
        self._as_of = as_of
        head = Log.objects.filter(pk=log_id).first()
        # Only what is signed: nothing that others have not seen yet goes.
        self._signed = max(0, min(head.size, head.note_size)) if head else 0
        longest = max(
            (self._cutoff(policy.days) for policy in self._policies), default=0
        )  # nothing from here on is past any retention
        self.end = min(self._signed, longest) // TILE_WIDTH * TILE_WIDTH

    def tiles(self, start: int, stop: int, kept: Counter[str] | None = None) -> Iterator[TileFacts]:
        """The tiles of start <= seq < stop that may go, in order."""
        stop = min(stop, self.end)
        if start >= stop:
            return
        held = held_tiles(self.log_id, start, stop)
        for begin in range(start, stop, _WINDOW):
            yield from self._window(begin, min(begin + _WINDOW, stop), held, kept)

    def used(self, types: Iterable[str]) -> list[dict[str, Any]]:
        """The policies under which these types go."""
        found = {p.pk: p for name in types if (p := self._policy(name)) is not None}
        return [
            {"policy": p.pk, "event_class": p.event_class, "days": p.days, "ground": p.ground}
            for _, p in sorted(found.items())
        ]

    def _window(
        self, start: int, stop: int, held: set[int], kept: Counter[str] | None
    ) -> Iterator[TileFacts]:
        by_tile: dict[int, list[tuple[Any, ...]]] = {}
        for index, *facts in _types_by_tile(self.log_id, start, stop):
            by_tile.setdefault(index, []).append(tuple(facts))
        open_ranges = pruned_tiles(self.log_id, start, stop)
        for index, rows in sorted(by_tile.items()):
            if index in open_ranges or sum(count for _, count, *_ in rows) != TILE_WIDTH:
                continue
            lasting = [name for name, _, last, *_ in rows if not self._is_past(name, last)]
            if not lasting and index not in held:
                yield TileFacts(
                    index,
                    {name: count for name, count, *_ in rows},
                    min(_moment(row[3]) for row in rows),
                    max(_moment(row[4]) for row in rows),
                    sum(row[5] for row in rows),
                )
            elif kept is not None and len(lasting) < len(rows):
                kept.update(lasting)
                kept["held by somebody"] += index in held

    def _is_past(self, name: str, seq: int) -> bool:
        """Whether the retention of this type has ended for the entry `seq` and all before."""
        policy = self._policy(name)
        return policy is not None and seq < self._cutoff(policy.days)

    def _policy(self, name: str) -> RetentionPolicy | None:
        if name not in self._of_type:
            kept = is_permanent(name)
            self._of_type[name] = None if kept else policy_for(name, self._policies)
        return self._of_type[name]

    def _cutoff(self, days: int) -> int:
        """The first entry that is younger. The log's time never runs back."""
        if days not in self._cutoffs:
            later = Entry.objects.filter(
                log_id=self.log_id, recorded_at__gte=self._as_of - timedelta(days=days)
            ).order_by("recorded_at", "seq")
            found = later.values_list("seq", flat=True).first()
            self._cutoffs[days] = self._signed if found is None else found
        return self._cutoffs[days]


def held_tiles(log_id: int, start: int, stop: int) -> set[int]:
    """The tiles of this stretch with an entry that a hold or an open case keeps."""
    standing = list(holds(log_id))
    held: set[int] = set()
    for hold in standing:
        if hold.start is not None and hold.stop is not None:
            first, last = max(hold.start, start), min(hold.stop, stop)
            if first < last:
                held.update(range(first // TILE_WIDTH, (last - 1) // TILE_WIDTH + 1))
    resources = {hold.resource for hold in standing if hold.resource}
    resources.update(*held_by_cases().values())
    subjects = {hold.subject for hold in standing if hold.subject}
    entries = Entry.objects.filter(log_id=log_id, seq__gte=start, seq__lt=stop)
    for column, names in (("resource", sorted(resources)), ("subject", sorted(subjects))):
        for at in range(0, len(names), _NAMES_A_QUERY):
            found = entries.filter(**{f"{column}__in": names[at : at + _NAMES_A_QUERY]})
            seqs = found.order_by().values_list("seq", flat=True)
            held.update(seq // TILE_WIDTH for seq in seqs.iterator(2000))
    return held


def pruned_tiles(log_id: int, start: int, stop: int) -> set[int]:
    """The tiles of this stretch that are pruned already, or about to be."""
    found = PrunedRange.objects.filter(log_id=log_id, start__lt=stop, stop__gt=start)
    return {
        index
        for first, end in found.values_list("start", "stop")
        for index in range(max(first, start) // TILE_WIDTH, min(end, stop) // TILE_WIDTH)
    }


def tiles_of(ranges: Sequence[Sequence[int]]) -> list[int]:
    return [
        index for start, stop in ranges for index in range(start // TILE_WIDTH, stop // TILE_WIDTH)
    ]


def ranges_of(tiles: Iterable[int]) -> Ranges:
    """Neighbouring tiles together; the inverse of `tiles_of`."""
    ranges: Ranges = []
    for index in tiles:
        start = index * TILE_WIDTH
        if ranges and ranges[-1][1] == start:
            ranges[-1][1] += TILE_WIDTH
        else:
            ranges.append([start, start + TILE_WIDTH])
    return ranges


def _types_by_tile(log_id: int, start: int, stop: int) -> list[tuple[Any, ...]]:
    """(tile, type, count, highest seq, oldest, newest, bytes of the leaves)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq / 256, type, count(*), max(seq), min(recorded_at), max(recorded_at),"
            " sum(length(leaf)) FROM audit_entry WHERE log_id = %s AND seq >= %s AND seq < %s"
            " GROUP BY seq / 256, type",
            [log_id, start, stop],
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _moment(value: datetime | str) -> datetime:
    """SQLite keeps a time as text without a zone, which is UTC."""
    return parse_time(f"{value.replace(' ', 'T')}Z") if isinstance(value, str) else value
