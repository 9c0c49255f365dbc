"""The page /verify/ says of a bundle's completeness what the offline verifier says."""

import copy
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from audit.ledger.bundle import Claim
from audit.ledger.verify import verify_bundle, verify_file
from tests.audit.ledger.builders import START_US, with_digest
from tests.audit.ledger.heads import CountingLog
from tests.audit.ledger.test_completeness import NEIGHBOUR, RESOURCES, SECOND, X, Y, stating
from tests.audit.verify_page import VerifyPage

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed"),
]


def bundle_of(*claims: Claim, old: int = 0) -> dict[str, Any]:
    """A bundle of the whole log; claims up to its end get their heads."""
    log = CountingLog(RESOURCES, old=old)
    entry = log.add_heads()
    proven = [
        replace(claim, heads=log.heads_proof(entry, claim.resource, 10))
        if claim.until == 10
        else claim
        for claim in claims
    ]
    return log.complete_bundle(proven, range(entry + 1))


def times(start: float, end: float) -> tuple[int, int]:
    return START_US + int(start * SECOND), START_US + int(end * SECOND)


WHOLE = [
    bundle_of(Claim(X, 0, 10), Claim(Y, 3, 10), Claim(NEIGHBOUR, 0, 10), Claim("nobody", 2, 10)),
    bundle_of(Claim(X, 1, 6), Claim(X, 0, 1), Claim(Y, 6, 8)),
    bundle_of(Claim(X, 1, 6, *times(0.5, 6)), Claim(X, 3, 3, *times(2.1, 2.9))),
    bundle_of(Claim(X, 1, 8), Claim(X, 0, 8), Claim(Y, 2, 10), old=6),
]


def sentences(made: dict[str, Any]) -> list[str]:
    verdict = verify_bundle(made)
    return [check.sentence for check in verdict.checks if check.name == "complete"]


@pytest.mark.parametrize("made", WHOLE, ids=["heads", "next", "periods", "version 1"])
def test_the_browser_says_the_same_sentence(page: VerifyPage, made: dict[str, Any]) -> None:
    valid, said = page.judge(json.dumps(made).encode())
    assert valid, said
    (sentence,) = sentences(made)
    assert sentence in said
    assert "whoever holds all of it can check" in said


def test_a_statement_is_held_to_its_word(page: VerifyPage) -> None:
    made = stating()
    assert page.judge(json.dumps(made).encode())[0]
    del made["complete"]
    content = json.dumps(with_digest({**made, "format": "vestige-evidence/1"})).encode()
    valid, said = page.judge(content)
    assert not valid
    assert "the evidence does not show that" in said


def leave_out(made: dict[str, Any], chance: random.Random) -> None:
    made["entries"].remove(chance.choice(made["entries"]))


def change_range(made: dict[str, Any], chance: random.Random) -> None:
    claim = chance.choice(made["complete"])
    name = chance.choice(["since", "until", "from", "before"])
    claim[name] = (claim[name] or 0) + chance.choice([-1, 1, 1_000_000])


def change_resource(made: dict[str, Any], chance: random.Random) -> None:
    chance.choice(made["complete"])["resource"] = chance.choice([X, Y, NEIGHBOUR, "nobody"])


def change_heads(made: dict[str, Any], chance: random.Random) -> None:
    claim, other = (chance.choice(made["complete"]) for _ in range(2))
    if chance.random() < 0.3 or not claim["heads"]:
        claim["heads"] = copy.deepcopy(other["heads"])
    elif claim["heads"]["bucket"] and chance.random() < 0.7:
        head = chance.choice(claim["heads"]["bucket"])
        head[chance.randrange(1, 3)] += chance.choice([-1, 1])
    else:
        claim["heads"]["bucket"] = claim["heads"]["bucket"][1:]


def change_path(made: dict[str, Any], chance: random.Random) -> None:
    claim = chance.choice(made["complete"])
    if claim["heads"]:
        chance.shuffle(claim["heads"]["path"])
        claim["heads"]["entry"] -= chance.randrange(2)


CHANGES: list[Callable[[dict[str, Any], random.Random], None]] = [
    leave_out, change_range, change_resource, change_heads, change_path,
]  # fmt: skip


def test_the_browser_agrees_with_the_offline_verifier_on_changed_claims(
    page: VerifyPage,
) -> None:
    chance = random.Random(5)  # noqa: S311  # a test's choice of changes
    judged = {True: 0, False: 0}
    for turn in range(80):
        changed = copy.deepcopy(chance.choice(WHOLE))
        chance.choice(CHANGES)(changed, chance)
        changed = with_digest(changed)
        expected = verify_file(json.dumps(changed).encode())
        found, said = page.judge(json.dumps(changed).encode())
        assert found is expected.valid, f"turn {turn}: {said}\n{expected.as_dict()}"
        for sentence in sentences(changed):
            if expected.checks[0].name != "format" and "another root" not in sentence:
                shown = sentence.split(" commits to:")[0]
                assert shown in said, f"turn {turn}"
        judged[found] += 1
    assert min(judged.values()) > 5
