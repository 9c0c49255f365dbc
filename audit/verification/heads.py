"""Checks every entry that commits to the heads of the log against the entries before it."""

from collections.abc import Iterator

from audit.ledger.counting import commitments_in
from audit.ledger.heads import HEADS_TYPE, GatheredHeads, Head, key_of
from audit.verification import stored
from audit.verification.outcome import Finding


def findings(log_id: int) -> Iterator[Finding]:
    """Entries that commit to other heads than the entries before them have.

    Commitments that reach less far than the last pruned range cannot be computed any more.
    One pass, whatever the number of commitments. The columns must have been compared with the
    leaves before. Memory grows with the number of resources, by about 250 bytes each.
    """
    said = commitments_in(stored.entries_of_type(log_id, HEADS_TYPE))
    pruned = stored.pruned_ranges(log_id)
    bound = pruned[-1][1] if pruned else 0
    heads, reached = GatheredHeads(), 0
    for seq, size, details in sorted(said, key=lambda one: (one.size, one.seq)):
        if size < 0:
            yield Finding(seq, "it does not say of how many entries its heads are.")
            continue
        if size < bound:
            continue  # some of what it is about is gone
        if reached < bound:
            _begin(heads, log_id, bound)
            reached = bound
        _extend(heads, log_id, reached, size)
        reached = size
        if details != heads.details(size):
            yield Finding(seq, f"the heads of the first {size} entries are not those it names.")


def _begin(heads: GatheredHeads, log_id: int, bound: int) -> None:
    """The heads of the first `bound` entries, of which the last are pruned."""
    for resource, nth, newest in stored.heads_at(log_id, bound):
        heads.put(Head(key_of(resource), nth, newest))


def _extend(heads: GatheredHeads, log_id: int, start: int, stop: int) -> None:
    """The entries start <= seq < stop count, too."""
    for resource, count, newest in stored.newest_by_resource(log_id, start, stop):
        key = key_of(resource)
        before, _ = heads.place_of(key) or (0, None)
        heads.put(Head(key, before + count, newest))
