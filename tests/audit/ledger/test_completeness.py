"""Bundles that claim to hold all entries of a resource: what is shown, and what is refused."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import bundle
from audit.ledger.bundle import BundleError, Claim
from audit.ledger.heads import map_root
from audit.ledger.verify import verify_bundle
from tests.audit.ledger.builders import START_US, with_digest
from tests.audit.ledger.heads import CountingLog, bucket_roots

X, Y, NEIGHBOUR = "dataset:shop:3", "dataset:shop:1", "dataset:shop:13"
RESOURCES = [X, Y, X, NEIGHBOUR, X, Y, Y, X, Y, X]  # X stands at 0, 2, 4, 7, 9
SECOND = 1_000_000

Parts = tuple[CountingLog, Claim, list[int]]


def whole(resource: str = X) -> Parts:
    """All entries up to the heads."""
    log = CountingLog(RESOURCES)
    entry = log.add_heads()
    claim = Claim(resource, 0, 10, heads=log.heads_proof(entry, resource, 10))
    return log, claim, [*log.seqs(resource), entry]


def said(log: CountingLog, claim: Claim, seqs: list[int]) -> tuple[bool, str]:
    """Whether the check of completeness holds, and its sentence."""
    verdict = verify_bundle(log.complete_bundle([claim], seqs))
    (check,) = [check for check in verdict.checks if check.name == "complete"]
    assert verdict.valid is check.ok, verdict.as_dict()
    return check.ok, check.sentence


def test_all_entries_up_to_the_heads_are_shown() -> None:
    assert said(*whole()) == (True, f"All 5 entries of {X} from entry 0 to entry 9 are here.")
    assert said(*whole(NEIGHBOUR)) == (
        True,
        f"The only entry of {NEIGHBOUR} from entry 0 to entry 9 is here.",
    )


def test_that_a_resource_has_no_entry_is_shown() -> None:
    assert said(*whole("dataset:nobody")) == (
        True,
        "dataset:nobody has no entry from entry 0 to entry 9.",
    )


def test_a_bundle_with_a_claim_is_of_format_2_and_one_without_of_format_1() -> None:
    log, claim, seqs = whole()
    made = log.complete_bundle([claim], seqs)
    assert made["format"] == "vestige-evidence/2"
    verdict = verify_bundle(bundle.dumps(made))
    assert verdict.checks[0].sentence.endswith("(vestige-evidence/2).")
    assert any("counted rightly" in note for note in verdict.notes)
    assert log.complete_bundle([], seqs)["format"] == "vestige-evidence/1"
    assert verify_bundle(log.complete_bundle([], seqs)).valid
    for wrong in ({**made, "format": "vestige-evidence/1"}, {**made, "complete": []}):
        assert not verify_bundle(with_digest(wrong)).valid


def test_a_range_is_closed_by_the_next_entry_without_heads() -> None:
    log = CountingLog(RESOURCES)
    assert said(log, Claim(X, 1, 6), [2, 4, 7]) == (
        True,
        f"All 2 entries of {X} from entry 1 to entry 5 are here.",
    )
    assert said(log, Claim(X, 5, 7), [7])[0]
    assert said(log, Claim(X, 0, 1), [0, 2])[0]


@pytest.mark.parametrize("left_out", [0, 2, 4, 7, 9])
def test_an_entry_that_is_left_out_is_named(left_out: int) -> None:
    log, claim, seqs = whole()
    seqs.remove(left_out)
    assert said(log, claim, seqs) == (False, f"Entry {left_out} of {X} is missing.")


def test_leaving_out_all_entries_is_refused() -> None:
    log, claim, seqs = whole()
    assert not said(log, claim, seqs[-1:])[0]


@pytest.mark.parametrize("left_out", [2, 4])
def test_an_entry_that_is_left_out_before_the_next_is_named(left_out: int) -> None:
    log = CountingLog(RESOURCES)
    seqs = [seq for seq in (2, 4, 7) if seq != left_out]
    assert said(log, Claim(X, 1, 6), seqs) == (False, f"Entry {left_out} of {X} is missing.")


def test_a_range_whose_end_nothing_shows_is_refused() -> None:
    log = CountingLog(RESOURCES)
    ok, sentence = said(log, Claim(X, 0, 10), log.seqs(X))
    assert not ok
    assert "Nothing shows" in sentence
    # An entry further on, when the one between is left out.
    assert said(log, Claim(X, 1, 6), [2, 4, 9]) == (False, f"Entry 7 of {X} is missing.")


def test_entries_of_another_resource_do_not_stand_in() -> None:
    log, claim, seqs = whole()
    seqs.remove(4)
    assert not said(log, claim, [*seqs, 5])[0]


def test_heads_that_do_not_reach_over_the_range_are_refused() -> None:
    log = CountingLog(RESOURCES)
    early = log.add_heads(6)
    claim = Claim(X, 0, 10, heads=log.heads_proof(early, X, 6))
    ok, sentence = said(log, claim, [*log.seqs(X, 0, 6), early])
    assert not ok
    assert "say nothing of the entries up to 9" in sentence
    assert said(log, replace(claim, until=6), [*log.seqs(X, 0, 6), early])[0]


def test_heads_that_the_entry_does_not_commit_to_are_refused() -> None:
    log, claim, seqs = whole()
    assert claim.heads is not None
    other = log.heads_proof(seqs[-1], Y, 10)
    older = log.heads_proof(seqs[-1], X, 6)
    for heads in (
        replace(claim.heads, bucket=claim.heads.bucket[1:]),
        replace(claim.heads, bucket=()),
        replace(claim.heads, path=other.path),
        other,
        older,
    ):
        ok, sentence = said(log, replace(claim, heads=heads), seqs)
        assert not ok
        assert "not those that entry 10 commits to" in sentence


def test_an_entry_that_commits_to_nothing_shows_no_heads() -> None:
    log, claim, seqs = whole()
    assert claim.heads is not None
    ordinary = replace(claim.heads, entry=9)
    assert "does not commit to the heads" in said(log, replace(claim, heads=ordinary), seqs)[1]
    assert "does not commit to the heads" in said(log, claim, seqs[:-1])[1], "not in the bundle"


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 12},
        {"size": "10"},
        {"root": "AB" * 32},
        {"root": "zz"},
        {"root": None},
        {"size": 9},
    ],
    ids=str,
)
def test_a_malformed_commitment_shows_no_heads(wrong: dict[str, Any]) -> None:
    log = CountingLog(RESOURCES)
    entry = log.add_heads(wrong=wrong)
    claim = Claim(X, 0, 10, heads=log.heads_proof(entry, X, 10))
    assert not said(log, claim, [*log.seqs(X), entry])[0]


def test_a_root_in_another_spelling_shows_no_heads() -> None:
    """Two verifiers must read it alike."""
    log = CountingLog(RESOURCES)
    root = map_root(bucket_roots(log.heads(10))).hex()
    entry = log.add_heads(wrong={"root": root.upper()})
    claim = Claim(X, 0, 10, heads=log.heads_proof(entry, X, 10))
    assert not said(log, claim, [*log.seqs(X), entry])[0]


def test_an_entry_of_another_type_cannot_commit_to_heads() -> None:
    log, claim, _ = whole()
    details = {"size": 10, "root": "00" * 32}
    forged = log.add("log:main", type="pipeline.heads", details=details)
    assert claim.heads is not None
    claim = replace(claim, heads=replace(claim.heads, entry=forged))
    assert "does not commit" in said(log, claim, [*log.seqs(X), forged])[1]


@pytest.mark.parametrize(
    "within",
    [{"nth": 4, "previous": 2}, {"nth": 2, "previous": 2}, {"nth": 3, "previous": 0}, {"nth": 1},
     {"nth": 3}, {"nth": 1, "previous": 2}, {"previous": 2}, {"nth": 3, "previous": 9}],
    ids=str,
)  # fmt: skip
def test_an_entry_that_counts_otherwise_is_refused(within: dict[str, int]) -> None:
    """As only a writer could make it that has the log's key."""
    log = CountingLog([X, Y, X, NEIGHBOUR])
    log.add(X, within=within)
    for name in RESOURCES[5:]:
        log.add(name)
    entry = log.add_heads()
    claim = Claim(X, 0, 10, heads=log.heads_proof(entry, X, 10))
    assert not said(log, claim, [*log.seqs(X), entry])[0]


def test_a_second_entry_that_hides_the_first_is_refused() -> None:
    log = CountingLog([X, X])
    log.add(X, within={"nth": 2, "previous": 0})
    ok, sentence = said(log, Claim(X, 0, 2), [0, 1, 2])
    assert not ok
    assert "Entry 1 is one more" in sentence


def period(since: int, until: int, start: float, end: float) -> Claim:
    """The range of the period from `start` to `end`, in seconds after the log's first entry."""
    first, last = (START_US + int(second * SECOND) for second in (start, end))
    return Claim(X, since, until, first, last)


def test_a_period_is_shown_by_the_entries_at_its_borders() -> None:
    log = CountingLog(RESOURCES)
    ok, sentence = said(log, period(1, 6, 0.5, 6), [0, 1, 2, 4, 5, 6, 7])
    assert ok, sentence
    assert sentence == (
        f"All 2 entries of {X} from entry 1 to entry 5 (recorded from 2026-09-21T14:13:20.500000Z"
        " on and before 2026-09-21T14:13:26.000000Z) are here."
    )


@pytest.mark.parametrize(
    "claim",
    [period(2, 6, 1, 6), period(1, 6, 2, 6), period(1, 5, 1, 6), period(1, 6, 1, 5.5),
     period(1, 6, 0, 6), period(1, 6, 1, 6.5)],
    ids=["begins late", "begins early", "ends early", "ends before", "left open", "ends late"],
)  # fmt: skip
def test_a_border_that_was_moved_is_refused(claim: Claim) -> None:
    log = CountingLog(RESOURCES)
    ok, _ = said(log, claim, list(range(10)))
    # The period that ends between entries 5 and 6 has its border at 6 for both times.
    assert ok is (claim.before_us == START_US + int(5.5 * SECOND))


@pytest.mark.parametrize("left_out", [0, 1, 5, 6])
def test_a_border_that_is_not_in_the_bundle_is_refused(left_out: int) -> None:
    log = CountingLog(RESOURCES)
    seqs = [seq for seq in range(10) if seq != left_out]
    ok, sentence = said(log, period(1, 6, 0.5, 6), seqs)
    assert not ok
    assert sentence == f"Entry {left_out}, at the border of the period, is missing."


def test_a_period_in_which_nothing_was_recorded_is_shown() -> None:
    log = CountingLog(RESOURCES)
    ok, sentence = said(log, period(3, 3, 2.1, 2.9), [2, 3])
    assert ok
    assert "the log has none at all there" in sentence
    assert not said(log, period(3, 3, 2.1, 3.1), [2, 3])[0]
    with pytest.raises(BundleError, match="until must be more"):
        log.complete_bundle([Claim(X, 3, 3)], [2, 3])


def old_log(old: int = 6) -> CountingLog:
    """The first entries are of version 1: X at 0, 2 and 4 does not count itself."""
    return CountingLog(RESOURCES, old=old)


def test_entries_that_do_not_count_themselves_are_shown_by_their_number() -> None:
    assert said(old_log(), Claim(X, 0, 8), [0, 2, 4, 7, 9]) == (
        True,
        f"All 4 entries of {X} from entry 0 to entry 7 are here.",
    )
    log = old_log(10)  # none counts itself
    entry = log.add_heads()
    claim = Claim(X, 0, 10, heads=log.heads_proof(entry, X, 10))
    assert said(log, claim, [*log.seqs(X), entry])[0]
    assert not said(log, claim, [0, 2, 7, 9, entry])[0]


def test_what_is_shown_begins_with_the_last_entry_that_does_not_count_itself() -> None:
    ok, sentence = said(old_log(), Claim(X, 1, 8), [2, 4, 7, 9])
    assert ok
    assert sentence.startswith(f"All 3 entries of {X} from entry 4 to entry 7 are here. Before")


@pytest.mark.parametrize("left_out", [0, 2, 4, 7])
def test_one_of_them_left_out_is_refused(left_out: int) -> None:
    seqs = [seq for seq in (0, 2, 4, 7, 9) if seq != left_out]
    assert not said(old_log(), Claim(X, 0, 8), seqs)[0]


def test_an_entry_cannot_stop_counting() -> None:
    log = CountingLog([X, X, X, X])
    log._old = 10**9
    log.add(X)
    entry = log.add_heads()
    claim = Claim(X, 0, 5, heads=log.heads_proof(entry, X, 5))
    assert not said(log, claim, [*log.seqs(X), entry])[0]


def stating(change: Callable[[dict[str, Any]], Any] = lambda said: None) -> dict[str, Any]:
    """A bundle whose statement says that it is complete, in words that `change` may alter."""
    log, claim, seqs = whole()
    members = claim.as_dict()
    del members["heads"]
    complete = {**members, "entries": 5}
    change(complete)
    statement = {"title": "All of it", "complete": complete}
    digest = bundle.statement_digest(statement)
    seqs.append(log.add("report:1", type="report.issued", details={"statement_sha256": digest}))
    return log.complete_bundle([claim], seqs, statement)


def test_a_statement_that_says_so_is_held_to_it() -> None:
    assert verify_bundle(stating()).valid
    for wrong in ({"entries": 4}, {"since": 1}, {"until": 11}, {"resource": Y}, {"from": 5}):
        verdict = verify_bundle(stating(lambda said, wrong=wrong: said.update(wrong)))  # type: ignore[misc]
        assert [check.name for check in verdict.faults] == ["statement"]


def test_a_statement_is_not_shown_by_a_part_of_what_it_says() -> None:
    """What is shown begins with the last entry that does not count itself."""
    log, claim = old_log(), Claim(X, 1, 8)
    members = claim.as_dict()
    del members["heads"]
    statement = {"complete": {**members, "entries": 3}}
    digest = bundle.statement_digest(statement)
    entry = log.add("report:1", type="report.issued", details={"statement_sha256": digest})
    verdict = verify_bundle(log.complete_bundle([claim], [2, 4, 7, 9, entry], statement))
    assert [check.name for check in verdict.faults] == ["statement"]


def test_taking_the_proof_out_of_the_bundle_is_refused_when_the_statement_rests_on_it() -> None:
    made = stating()
    del made["complete"]
    verdict = verify_bundle(with_digest({**made, "format": "vestige-evidence/1"}))
    assert [check.name for check in verdict.faults] == ["statement"]


def mutate(made: dict[str, Any], path: list[Any], value: Any) -> Any:
    changed = copy.deepcopy(made)
    at: Any = changed["complete"][0]
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return with_digest(changed)


@pytest.mark.parametrize(
    ("path", "value"),
    [(["resource"], ""), (["resource"], 3), (["since"], -1), (["since"], True), (["until"], 0),
     (["until"], 1.5), (["from"], "2026"), (["before"], -5), (["heads"], []), (["heads"], {}),
     (["more"], 1), (["heads", "entry"], "10"), (["heads", "bucket"], None),
     (["heads", "bucket", 0], ["ab", 1, 0]), (["heads", "bucket", 0], None),
     (["heads", "bucket", 0, 0], "AB" * 32), (["heads", "bucket", 0, 1], -1),
     (["heads", "path"], []), (["heads", "path", 0], "!")],
    ids=str,
)  # fmt: skip
def test_a_malformed_claim_is_no_bundle(path: list[Any], value: Any) -> None:
    log, claim, seqs = whole()
    verdict = verify_bundle(mutate(log.complete_bundle([claim], seqs), path, value))
    assert not verdict.valid
    assert verdict.checks[0].name == "format"


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_exactly_the_complete_lists_are_accepted(data: st.DataObject) -> None:
    """Against the naive list of entries: any other set of entries is refused."""
    names = [X, Y, NEIGHBOUR]
    resources = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=12))
    size = len(resources)
    log = CountingLog(resources, old=data.draw(st.sampled_from([0, 0, 2, 5])))
    entry = log.add_heads()
    asked = data.draw(st.sampled_from(names))
    since = data.draw(st.integers(0, size - 1))
    until = data.draw(st.integers(since + 1, size))
    right = log.seqs(asked, since, until)
    shown = data.draw(st.lists(st.sampled_from(log.seqs(asked) or [entry]), unique=True))
    with_heads = data.draw(st.booleans())
    heads = log.heads_proof(entry, asked, size) if with_heads else None
    ok, sentence = said(log, Claim(asked, since, until, heads=heads), [*shown, entry])
    inside = [seq for seq in sorted(shown) if since <= seq < until]
    if ok and f"from entry {since} to" in sentence:
        assert inside == right
    elif ok:  # it reaches back to the last that does not count itself
        start = int(sentence.split(" from entry ")[1].split()[0])
        assert [seq for seq in inside if seq >= start] == log.seqs(asked, start, until)
    else:
        following = log.seqs(asked, until)
        closed = following[0] in shown if following else with_heads
        assert inside != right or not closed or log._old
