"""What is past its retention goes by whole tiles; the log still verifies, and says what went."""

import random
from datetime import timedelta
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit import heads, proofs, retention, segments, sequencer
from audit.actions import (
    PlanChangedError,
    PruningRefusedError,
    append,
    complete_evidence,
    end_policy,
    place_hold,
    plan_pruning,
    prune,
    record_heads,
    release_hold,
    sequence,
    set_policy,
    start_pruning,
    verify_stored_log,
)
from audit.batches import Ends
from audit.completeness import NotShownError, Span, span_of_period
from audit.ledger.files import FolderFiles
from audit.ledger.folder import verify_folder
from audit.ledger.tree import root_of, verify_consistency, verify_inclusion
from audit.ledger.verify import verify_bundle
from audit.models import MAIN_LOG, Entry, HeadsMap, PrunedPlace, Pruning, ResourceHead
from audit.queries import (
    covering_checkpoint,
    event_of,
    evidence,
    head,
    stored_log_outcome,
    verifier_key,
)
from audit.verification import places
from audit.verification.run import verify_log
from tests.audit.builders import as_database_owner, event, sql, undone, verified
from tests.audit.past import days_ago, events_of, old_log, pruned, ranges

pytestmark = pytest.mark.django_db
GROUND = "Contract 12, section 4"


@pytest.fixture
def setter(admin: User) -> User:
    """Sets policies; another executes."""
    return admin


def keep(event_class: str, days: int, by: User) -> None:
    set_policy(event_class, days, ground=GROUND, shorter_because="a test", by=by)


def size() -> int:
    log = head()
    return log.size if log else 0


def newest_pruned() -> Entry:
    return Entry.objects.filter(type="log.pruned").latest("seq")


def test_without_a_policy_nothing_may_go(dpo: User, pipeline: User) -> None:
    old_log((600, "READ"), by=pipeline)
    plan = plan_pruning(by=dpo)
    assert plan is not None
    assert plan.plan["tiles"] == 0
    with pytest.raises(PruningRefusedError):
        start_pruning(plan.plan_hash, by=dpo)


def test_only_whole_full_tiles_past_their_retention_go(
    dpo: User, pipeline: User, setter: User
) -> None:
    old_log((600, "READ"), days=400, by=pipeline)
    old_log((300, "READ"), days=10, by=pipeline)
    keep("READ", 365, setter)
    run = pruned(dpo)
    assert run.state == Pruning.State.DONE
    first = Entry.objects.order_by("seq").values_list("seq", flat=True).first()
    # The third tile begins with old entries and ends with young ones.
    assert first == 512
    assert ranges() == [(0, 512)]
    assert verified().findings == []


def test_the_log_says_what_went_and_why(dpo: User, pipeline: User, setter: User) -> None:
    old_log((300, "READ"), (212, "UPDATE"), (10, "READ"), by=pipeline)
    keep("*", 365, setter)
    roots = [proofs.root_at(MAIN_LOG, n).hex() for n in (0, 512)]
    tiles = [
        root_of(bytes(h) for h in rows)
        for rows in (
            Entry.objects.filter(seq__lt=256).order_by("seq").values_list("leaf_hash", flat=True),
            Entry.objects.filter(seq__gte=256, seq__lt=512)
            .order_by("seq")
            .values_list("leaf_hash", flat=True),
        )
    ]
    pruned(dpo)
    row = newest_pruned()
    said = event_of(row)
    assert row.by == dpo.actor
    details = said["details"]
    assert details["entries"] == 512
    assert details["types"] == {"READ": 300, "UPDATE": 212}
    assert [(p["event_class"], p["days"], p["ground"]) for p in details["policies"]] == [
        ("*", 365, GROUND)
    ]
    (stretch,) = details["ranges"]
    assert (stretch["start"], stretch["stop"]) == (0, 512)
    assert [stretch["root_before"], stretch["root_after"]] == roots
    assert [t["root"] for t in details["tiles"]] == [root.hex() for root in tiles]
    assert stretch["oldest"] <= stretch["newest"] == details["tiles"][-1]["newest"]


def test_proofs_made_before_and_after_are_the_same(dpo: User, pipeline: User, setter: User) -> None:
    old_log((1100, "READ"), by=pipeline)
    before = evidence([3, 700, 1090], purpose="kept outside")
    hashes = dict(Entry.objects.values_list("seq", "leaf_hash"))
    earlier = covering_checkpoint()
    inclusion = proofs.inclusions(MAIN_LOG, [3, 700, 1090], earlier.size)
    pairs = [(100, 300), (0, 77), (512, 1024), (700, earlier.size)]
    consistent = [proofs.consistency(MAIN_LOG, *pair) for pair in pairs]
    keep("READ", 365, setter)
    pruned(dpo)
    assert ranges() == [(0, 1024)]
    assert verify_bundle(before).valid
    assert proofs.inclusions(MAIN_LOG, [3, 700, 1090], earlier.size) == inclusion
    assert [proofs.consistency(MAIN_LOG, *pair) for pair in pairs] == consistent
    later = covering_checkpoint()
    for seq in (0, 3, 700, 1023):
        assert proofs.leaf_hash_at(MAIN_LOG, seq) == bytes(hashes[seq])
        verify_inclusion(
            seq,
            later.size,
            bytes(hashes[seq]),
            proofs.inclusion(MAIN_LOG, seq, later.size),
            later.root,
        )
    for first in (1, 255, 256, 300, 1024, earlier.size):
        verify_consistency(
            first,
            later.size,
            proofs.root_at(MAIN_LOG, first),
            later.root,
            proofs.consistency(MAIN_LOG, first, later.size),
        )


def test_a_log_of_interleaved_classes_verifies_after_pruning_and_from_every_earlier_state(
    dpo: User, pipeline: User, setter: User
) -> None:
    chance = random.Random(5)  # noqa: S311  # a test's choice of types
    types: list[str] = []
    while len(types) < 5000:
        types += [chance.choice(["READ", "usage.seen", "UPDATE"])] * chance.randrange(1, 700)
    with days_ago(400):
        append(events_of(types[:2000]), by=pipeline)
        append(events_of(types[2000:4000]), by=pipeline)
        append(events_of(types[4000:]), by=pipeline)
    vkeys = [verifier_key()]
    states = {n: verify_log(MAIN_LOG, vkeys=vkeys, end=n).state for n in (256, 1000, 1023, 3001)}
    keep("READ", 365, setter)
    keep("usage.*", 200, setter)
    run = pruned(dpo)
    assert run.pruned > 1000
    assert run.pruned == run.plan["entries"] == sum(stop - start for start, stop in ranges())
    gone = {n for start, stop in ranges() for n in range(start, stop)}
    assert gone.isdisjoint(n for n, name in enumerate(types) if name == "UPDATE")
    assert set(Entry.objects.values_list("seq", flat=True)) == set(range(size())) - gone
    outcome = stored_log_outcome(full=True)
    assert outcome.findings == []
    assert (outcome.entries, outcome.pruned) == (size(), len(gone))
    for state in states.values():
        again = stored_log_outcome(state=state)
        assert again.findings == []
        assert again.root == outcome.root
        assert again.state == outcome.state


def test_what_the_log_itself_needs_is_kept_whatever_the_policy(
    dpo: User, pipeline: User, setter: User
) -> None:
    old_log((255, "READ"), by=pipeline)
    keep("READ", 365, setter)
    with days_ago(400):
        sequence()  # log.retention_set, among what made the users
    old_log((256, "READ"), by=pipeline)
    keep("*", 1, setter)
    plan = plan_pruning(by=dpo)
    assert plan is not None
    needed = Entry.objects.get(type="log.retention_set").seq // 256
    assert needed * 256 + 256 <= size()
    assert needed not in retention.tiles_of(plan.plan["ranges"])
    assert plan.plan["kept"]["log.retention_set"] == 1


def test_a_hold_keeps_its_tile_until_it_is_released(
    dpo: User, pipeline: User, setter: User
) -> None:
    old_log((768, "READ"), by=pipeline)
    with days_ago(400):
        append([event(type="READ", resource="request:R-1")], by=pipeline)
        append([event(n, type="READ") for n in range(600)], by=pipeline)
    keep("READ", 365, setter)
    held = [
        place_hold(resource="request:R-1", reason="court case", by=dpo),
        place_hold(start=300, stop=301, reason="court case", by=dpo),
    ]
    pruned(dpo)
    assert ranges() == [(0, 256), (512, 768), (1024, 1280)]
    assert verified().ok
    for hold in held:
        release_hold(hold.pk, by=dpo)
    pruned(dpo)
    assert ranges() == [(0, 256), (256, 512), (512, 768), (768, 1024), (1024, 1280)]
    assert stored_log_outcome(full=True).findings == []


def test_an_open_case_holds_its_resource(
    dpo: User, pipeline: User, setter: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_log((512, "READ"), by=pipeline)
    keep("READ", 365, setter)
    monkeypatch.setitem(retention._holders, "test", lambda: ["dataset:shop:table-1"])
    plan = plan_pruning(by=dpo)
    assert plan is not None
    assert plan.plan["tiles"] == 0
    assert plan.plan["kept"]["held by somebody"] == 2


def test_the_most_specific_policy_counts(dpo: User, pipeline: User, setter: User) -> None:
    old_log((256, "usage.seen"), (256, "usage.kept"), (256, "other.kind"), by=pipeline)
    keep("*", 300, setter)
    keep("usage.*", 1000, setter)
    keep("usage.seen", 200, setter)
    plan = plan_pruning(by=dpo)
    assert plan is not None
    assert plan.plan["ranges"] == [[0, 256], [512, 768]]
    end_policy("*", by=setter)
    again = plan_pruning(by=dpo)
    assert again is not None
    assert again.plan["ranges"] == [[0, 256]]


@pytest.mark.parametrize("change", ["policy", "hold", "plan"])
def test_a_plan_that_is_outdated_is_not_executed(
    dpo: User, pipeline: User, setter: User, change: str
) -> None:
    old_log((512, "READ"), by=pipeline)
    keep("READ", 365, setter)
    plan = plan_pruning(by=dpo)
    assert plan is not None
    if change == "policy":
        keep("READ", 3650, setter)
    elif change == "hold":
        place_hold(start=0, stop=1, reason="court case", by=dpo)
    else:
        plan_pruning(by=dpo)
    with pytest.raises(PlanChangedError):
        start_pruning(plan.plan_hash, by=dpo)
    assert Entry.objects.filter(seq=0).exists()


def test_who_set_a_policy_does_not_execute_what_follows_from_it(dpo: User, pipeline: User) -> None:
    old_log((256, "READ"), by=pipeline)
    keep("READ", 365, dpo)
    plan = plan_pruning(by=dpo)
    assert plan is not None
    with pytest.raises(PruningRefusedError, match="set the policy for READ yourself"):
        start_pruning(plan.plan_hash, by=dpo)


def test_the_count_of_a_resource_goes_on_after_all_its_entries_are_pruned(
    dpo: User, pipeline: User, setter: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with days_ago(400):
        append([event(resource="a", type="READ")], by=pipeline)
        append([event(resource="b")], by=pipeline)
        append([event(n, resource="a", type="READ") for n in range(510)], by=pipeline)
        append([event(resource="b", type="READ")], by=pipeline)
        append([event(n, resource="c", type="READ") for n in range(300)], by=pipeline)
    keep("READ", 365, setter)
    pruned(dpo)
    assert ranges() == [(256, 512), (512, 768)] or ranges() == [(256, 768)]
    kept = dict(PrunedPlace.objects.values_list("resource", "nth"))
    assert kept == {"a": 511, "b": 2}
    monkeypatch.setattr(sequencer, "_ends", Ends())
    append([event(resource="a"), event(resource="b"), event(resource="c")], by=pipeline)
    said = [event_of(row)["within"] for row in Entry.objects.order_by("-seq")[:3]][::-1]
    assert said == [
        {"nth": 512, "previous": 511},
        {"nth": 3, "previous": 512},
        {"nth": 301, "previous": 812},
    ]
    assert list(places.findings(MAIN_LOG)) == []
    assert stored_log_outcome(full=True).findings == []


@pytest.mark.parametrize("nth", ["2", "600", "1000000"])
def test_a_place_that_more_than_what_was_pruned_would_explain_is_found(
    dpo: User, pipeline: User, setter: User, nth: str
) -> None:
    with days_ago(400):
        append([event(n, resource="a", type="READ") for n in range(512)], by=pipeline)
    keep("READ", 365, setter)
    pruned(dpo)
    append([event(resource="a")], by=pipeline)
    last = Entry.objects.latest("seq")
    assert (last.nth, last.previous) == (513, 511)
    with undone(), as_database_owner():
        sql("UPDATE audit_entry SET nth = %s WHERE seq = %s", int(nth), last.seq)
        found = [finding.seq for finding in places.findings(MAIN_LOG)]
        assert (found == [last.seq]) is (int(nth) > 513)
        assert verified().first_bad == last.seq


def test_a_tampered_entry_is_kept_as_evidence(dpo: User, pipeline: User, setter: User) -> None:
    old_log((256, "READ"), (256, "UPDATE"), by=pipeline)
    keep("READ", 365, setter)
    with as_database_owner():
        sql("UPDATE audit_entry SET type = 'READ' WHERE seq >= 256")
    run = pruned(dpo)
    assert "entry 256 was changed" in run.fault.lower()
    assert ranges() == []
    assert Entry.objects.filter(seq__lt=512).count() == 512


def test_pruning_goes_on_to_prune_later_what_is_past_its_retention_later(
    dpo: User, pipeline: User, setter: User
) -> None:
    old_log((512, "READ"), days=400, by=pipeline)
    old_log((512, "READ"), days=300, by=pipeline)
    keep("READ", 365, setter)
    pruned(dpo)
    keep("READ", 200, setter)
    pruned(dpo)
    assert ranges() == [(0, 512), (512, 1024)]
    assert verified().findings == []


def test_a_hold_that_comes_between_the_record_and_the_deletion_is_respected(
    dpo: User, pipeline: User, setter: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_log((768, "READ"), by=pipeline)
    keep("READ", 365, setter)
    plan = plan_pruning(by=dpo)
    assert plan is not None
    run = start_pruning(plan.plan_hash, by=dpo)
    drained = sequencer.drain

    def placed_meanwhile(log_id: int = MAIN_LOG) -> int:
        if newest := Pruning.objects.filter(phase=Pruning.Phase.RECORDED).first():
            assert newest.pk == run.pk
            place_hold(start=256, stop=257, reason="court case", by=dpo)
        return drained(log_id)

    with monkeypatch.context() as between:
        between.setattr(sequencer, "drain", placed_meanwhile)
        done = prune(run.pk)
    sequence()
    assert ranges() == [(0, 256), (512, 768)]
    assert (done.pruned, done.kept) == (512, 1)
    withheld = Entry.objects.get(type="log.pruning_withheld")
    assert event_of(withheld)["details"]["ranges"] == [[256, 512]]
    assert verified().findings == []


def test_the_ranges_of_a_run_do_not_overlap(dpo: User, pipeline: User, setter: User) -> None:
    old_log((20_000, "READ"), by=pipeline)
    keep("READ", 365, setter)
    run = pruned(dpo)
    assert all(one[1] <= other[0] for one, other in pairwise(ranges()))
    assert run.pruned == 19_968
    assert Entry.objects.filter(type="log.pruned").count() == 3
    assert verified().findings == []


def test_heads_are_right_after_pruning_and_when_they_are_gathered_anew(
    dpo: User, pipeline: User, setter: User
) -> None:
    with days_ago(400):
        append([event(n, resource=f"r-{n % 7}", type="READ") for n in range(512)], by=pipeline)
        append([event(n, resource=f"kept-{n % 3}") for n in range(100)], by=pipeline)
        append([event(resource="r-3", type="READ")], by=pipeline)
    record_heads(by=dpo)
    keep("READ", 365, setter)
    pruned(dpo)
    append([event(resource="r-1"), event(resource="new")], by=pipeline)
    record_heads(by=dpo)
    assert stored_log_outcome(full=True).findings == []
    told = [event_of(row)["details"] for row in Entry.objects.filter(type="log.heads")]
    # As somebody does who distrusts the derived tables.
    ResourceHead.objects.all().delete()
    HeadsMap.objects.all().delete()
    heads.gather(MAIN_LOG)
    with transaction.atomic():
        again = heads.commitment(MAIN_LOG)
    append([event(resource="r-1")], by=pipeline)
    record_heads(by=dpo)
    newest = event_of(Entry.objects.filter(type="log.heads").latest("seq"))["details"]
    assert again["resources"] == told[-1]["resources"]
    assert newest["resources"] == again["resources"]
    assert stored_log_outcome(full=True).findings == []


def test_a_place_that_is_edited_shows_in_the_heads(dpo: User, pipeline: User, setter: User) -> None:
    with days_ago(400):
        append([event(n, resource="a", type="READ") for n in range(256)], by=pipeline)
    keep("READ", 365, setter)
    pruned(dpo)
    record_heads(by=dpo)
    heads_entry = Entry.objects.filter(type="log.heads").latest("seq").seq
    with undone(), as_database_owner():
        sql("UPDATE audit_prunedplace SET nth = 200")
        assert stored_log_outcome(full=True).first_bad == heads_entry


def test_all_entries_of_a_resource_can_be_shown_where_none_of_them_is_gone(
    dpo: User, pipeline: User, setter: User
) -> None:
    with days_ago(400):
        append([event(n, resource="a") for n in range(3)], by=pipeline)
        append([event(n, resource="b", type="READ") for n in range(1000)], by=pipeline)
        append([event(n, resource="a") for n in range(3)], by=pipeline)
    keep("READ", 365, setter)
    pruned(dpo)
    assert ranges() == [(256, 512), (512, 768)] or ranges() == [(256, 768)]
    shown = complete_evidence(Span("a"), by=dpo)
    assert verify_bundle(shown).valid
    with pytest.raises(NotShownError):
        complete_evidence(Span("b"), by=dpo)


def test_a_period_with_pruned_entries_of_the_resource_is_not_shown_complete(
    dpo: User, pipeline: User, setter: User
) -> None:
    with days_ago(400):
        append([event(n, resource="a", type="READ") for n in range(512)], by=pipeline)
    with days_ago(200):
        append([event(n, resource="a", type="READ") for n in range(50)], by=pipeline)
    keep("READ", 365, setter)
    pruned(dpo)
    now = timezone.now()

    def span(days: int) -> Span:
        return span_of_period("a", now - timedelta(days=days), now, as_of=size() - 1)

    with pytest.raises(NotShownError, match="past their retention"):
        span(500)
    with pytest.raises(NotShownError, match="past their retention"):
        span(300)  # its first entry is next to one that is gone
    with days_ago(100):
        append([event(n, resource="a", type="READ") for n in range(5)], by=pipeline)
    assert span(150).resource == "a"


def test_an_export_of_a_pruned_log_verifies_and_says_what_is_gone(
    dpo: User, pipeline: User, setter: User, tmp_path: Path
) -> None:
    old_log((600, "READ"), (300, "UPDATE"), by=pipeline)
    keep("READ", 365, setter)
    pruned(dpo)
    covering_checkpoint()
    call_command("export_log", str(tmp_path / "log"), stdout=StringIO(), stderr=StringIO())
    verdict = verify_folder(FolderFiles(tmp_path / "log"))
    assert verdict.valid, verdict.as_dict()
    assert any("512 entries were past their retention" in note for note in verdict.notes)
    bundle = tmp_path / "log" / "tile" / "entries" / "002"
    kept = bundle.read_bytes()
    bundle.unlink()
    assert verify_folder(FolderFiles(tmp_path / "log")).first_bad == 512
    bundle.write_bytes(kept)
    tile = tmp_path / "log" / "tile" / "0" / "001"
    tile.write_bytes(tile.read_bytes()[:-1] + b"!")
    assert not verify_folder(FolderFiles(tmp_path / "log")).valid


@pytest.mark.parametrize("segment", [100, 256, 300, 1000])
def test_a_check_in_parts_goes_over_what_is_pruned(
    dpo: User, pipeline: User, setter: User, segment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_log((100, "UPDATE"), (1200, "READ"), (300, "UPDATE"), by=pipeline)
    keep("READ", 365, setter)
    pruned(dpo)
    monkeypatch.setattr(segments, "SEGMENT", segment)
    row = verify_stored_log(by=dpo, full=True)
    assert row.faults == []
    assert row.ok
    assert (row.entries, row.pruned) == (row.size, 1024)
