"""Receipts and proofs of one entry on the public page /verify/, as the command judges them."""

import copy
import json
import random
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from audit.ledger import bundle
from audit.ledger.judge import judge_file
from tests.audit.ledger.builders import (
    OTHER_KEY,
    SampleLog,
    answer_of,
    grown,
    growth_answer,
    log_of,
    proof_answer,
    tlog_proof,
    vkey,
    without,
)
from tests.audit.verify_page import VerifyPage

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed"),
]
LOG = log_of(12)
ANSWER = answer_of(LOG, 7, 8, 3)


def data(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_receipt_holds_with_the_commands_own_sentences(page: VerifyPage) -> None:
    page.trust(vkey())
    valid, said = page.judge(data(ANSWER), "receipt.json")
    assert valid, said
    verdict = judge_file(data(ANSWER), trusted_vkey=vkey())
    for check in verdict.checks:
        assert check.sentence in said
    assert "not that it still holds them" in said
    assert all(asked.startswith("GET /static/") for asked in page.asked)


def test_a_receipt_of_many_events_is_rebuilt_whole(page: VerifyPage) -> None:
    log = log_of(1003)
    answer = answer_of(log, *range(1003))
    assert page.judge(data(answer))[0]
    answer["receipts"][1002]["seq"] -= 1
    assert not page.judge(data(answer))[0]


def test_without_a_known_key_the_page_says_whose_word_it_is(page: VerifyPage) -> None:
    forged = answer_of(LOG, 7, key=OTHER_KEY)
    valid, said = page.judge(data(forged))
    assert valid
    assert "the answer itself names it" in said
    page.trust(vkey())
    valid, said = page.judge(data(forged))
    assert not valid
    assert "The key that you trust has not signed the receipt" in said


@pytest.mark.parametrize("kind", ["bundle", "proof", "tlog-proof"])
def test_the_page_says_whether_the_log_kept_its_word(page: VerifyPage, kind: str) -> None:
    def shown(log: Any) -> bytes:
        if kind == "bundle":
            return bundle.dumps(log.bundle([3, 7, 8]))
        return data(proof_answer(log, 7)) if kind == "proof" else tlog_proof(log, 7)

    page.trust(vkey())
    for log in (grown(LOG), without(LOG, 7)):
        page.compare_with(shown(log))
        valid, said = page.judge(data(ANSWER))
        verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[shown(log)])
        assert valid is verdict.valid
        assert ("PROMISE BROKEN" in said) is (verdict.promise == "broken")
        assert verdict.checks[-1].sentence in said
    page.compare_with(b"nonsense")
    valid, said = page.judge(data(ANSWER))
    assert not valid
    assert "PROMISE BROKEN" not in said


def test_the_page_says_whether_the_log_still_begins_as_it_did(page: VerifyPage) -> None:
    page.trust(vkey())
    forged = copy.deepcopy(LOG)
    forged.hashes[1] = bytes(32)
    later = grown(LOG, 600)
    wrong = growth_answer(later, 12)
    wrong["proof"][1] = "00" * 32
    for shown in (growth_answer(later, 12), growth_answer(grown(forged), 12), wrong):
        page.compare_with(data(shown))
        valid, said = page.judge(data(ANSWER))
        verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[data(shown)])
        assert valid is verdict.valid
        assert ("PROMISE BROKEN" in said) is (verdict.promise == "broken")
        if "against" not in [check.name for check in verdict.faults]:
            assert verdict.checks[-1].sentence in said


@pytest.mark.parametrize("first", [1, 2, 7, 8, 13, 64, 99, 100])
def test_growth_from_any_size_is_shown(page: VerifyPage, first: int) -> None:
    log = log_of(100)
    small = SampleLog({"rows": number} for number in range(first))
    page.compare_with(data(growth_answer(log, first)))
    valid, said = page.judge(data(answer_of(small, first - 1)))
    assert valid, said
    assert f"still begins with the {first} entr" in said


def change(answer: dict[str, Any], chance: random.Random) -> None:
    event = chance.choice(answer["receipts"])
    changes: list[Callable[[], object]] = [
        lambda: event.update(id=event["id"] + "x"),
        lambda: event.update(seq=event["seq"] + 1),
        lambda: event.update(seq=-1),
        lambda: event.update(leaf_hash=event["leaf_hash"][:-1] + "g"),
        lambda: event.update(leaf_hash="0" * 64),
        lambda: event.update(note="x"),
        lambda: answer["receipts"].remove(event),
        lambda: answer["receipts"].reverse(),
        lambda: answer.update(log="other.example/log"),
        lambda: answer.update(vkey=vkey(OTHER_KEY)),
        lambda: answer.update(vkey=None),
        lambda: answer.update(receipt=None),
        lambda: answer.update(receipt=answer["checkpoint"]),
        lambda: answer.update(receipt=answer["receipt"].replace("events 3", "events 4")),
        lambda: answer.update(receipt=answer["receipt"].replace("Z\n", "Z\nmore\n")),
        lambda: answer.update(checkpoint=answer["receipt"]),
        lambda: answer.update(checkpoint=log_of(5).note()),
        lambda: answer.update(checkpoint=None),
        lambda: answer.pop("vkey"),
        lambda: answer.update(more=1),
        lambda: None,
    ]
    chance.choice(changes)()


def test_the_browser_agrees_with_the_command_on_changed_receipts(page: VerifyPage) -> None:
    chance = random.Random(7)  # noqa: S311  # a test's choice of changes
    for turn in range(60):
        changed = copy.deepcopy(ANSWER)
        change(changed, chance)
        expected = judge_file(data(changed))
        found, said = page.judge(data(changed))
        assert found is expected.valid, f"turn {turn}: {said}\n{expected.as_dict()}"


def test_a_tlog_proof_is_judged_by_the_key_that_is_given(page: VerifyPage) -> None:
    proof = tlog_proof(LOG, 7)
    valid, said = page.judge(proof, "entry.tlog-proof")
    assert not valid
    assert "names no key" in said
    page.trust(vkey())
    valid, said = page.judge(proof, "entry.tlog-proof")
    assert valid, said
    for check in judge_file(proof, trusted_vkey=vkey()).checks:
        assert check.sentence in said
    chance = random.Random(3)  # noqa: S311  # a test's choice of changes
    for _ in range(40):
        changed = bytearray(proof)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        assert judge_file(bytes(changed), trusted_vkey=vkey()).valid is False
        assert not page.judge(bytes(changed), "entry.tlog-proof")[0]
