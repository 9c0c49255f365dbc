import copy
import json
from hashlib import sha256
from typing import Any

import pytest

from audit.ledger import bundle, canonical
from audit.ledger.verify import Verdict, verify_document, verify_file
from tests.audit.ledger.builders import SampleLog, log_of, vkey, with_digest

EVENTS = [{"entry": 1, "type": "request.filed"}, {"entry": 2, "type": "request.closed"}]
STATEMENT = {
    "resource": "dataset:shop:purchases",
    "total_events": 2,
    "share": 0.5,
    "events_sha256": sha256(
        b"".join(canonical.encode(item) + b"\n" for item in EVENTS)
    ).hexdigest(),
    "version_history": [{"version": "1", "entry": 1}, {"version": "2", "entry": 0}],
}


def document() -> dict[str, Any]:
    """A report as it is downloaded: the statement, what belongs to it, and the evidence."""
    log = log_of(3)
    log.append({"statement_sha256": bundle.statement_digest(STATEMENT)})
    evidence = log.bundle([1, 2, 3], statement=STATEMENT)
    return {
        **copy.deepcopy(STATEMENT),
        "events": copy.deepcopy(EVENTS),
        "statement_sha256": bundle.statement_digest(STATEMENT),
        "statement_entry": 3,
        "checkpoint": evidence["checkpoint"],
        "evidence": evidence,
    }


def failed(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.sentence for check in verdict.faults}


def test_a_downloaded_report_is_valid_as_it_is_and_laid_out_otherwise() -> None:
    for data in (json.dumps(document(), indent=1), json.dumps(document(), sort_keys=True)):
        verdict = verify_file(data.encode(), trusted_vkey=vkey())
        assert verdict.valid, failed(verdict)
        assert verdict.checks[-1].sentence == "The document says what the statement says."


def test_a_bare_bundle_is_judged_as_one() -> None:
    assert verify_file(bundle.dumps(document()["evidence"])).valid


def test_an_entry_that_is_named_but_not_proven_is_mentioned() -> None:
    notes = verify_document(document()).notes

    assert "The statement names entries that the file does not prove: 0." in notes


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("total_events", 1, "something else than the statement in 'total_events'"),
        ("total_events", True, "something else than the statement in 'total_events'"),
        ("share", "0.5", "something else than the statement in 'share'"),
        ("events", EVENTS[:1], "Nothing vouches for 'events'"),
        ("events", "none", "Nothing vouches for 'events'"),
        ("statement_sha256", "00" * 32, "Nothing vouches for 'statement_sha256'"),
        ("statement_entry", 2, "Nothing vouches for 'statement_entry'"),
        ("statement_entry", [3], "Nothing vouches for 'statement_entry'"),
        ("checkpoint", "vestige.example/log\n9\n", "Nothing vouches for 'checkpoint'"),
        ("remark", "all is well", "Nothing vouches for 'remark'"),
    ],
)
def test_a_document_that_says_other_than_its_evidence_is_refused(
    name: str, value: Any, words: str
) -> None:
    changed = {**document(), name: value}

    verdict = verify_file(json.dumps(changed).encode(), trusted_vkey=vkey())

    assert list(failed(verdict)) == ["document"]
    assert words in failed(verdict)["document"]


def test_a_document_that_leaves_out_a_part_of_the_statement_is_refused() -> None:
    changed = document()
    del changed["version_history"]

    assert "leaves out 'version_history'" in failed(verify_document(changed))["document"]


def test_a_document_around_evidence_without_a_statement_is_refused() -> None:
    verdict = verify_document({"erased": True, "evidence": log_of(2).bundle([1])})

    assert "holds no statement" in failed(verdict)["document"]


def test_events_without_a_digest_in_the_statement_are_refused() -> None:
    statement = {"a": 1}
    log = SampleLog([{"statement_sha256": bundle.statement_digest(statement)}])
    evidence = log.bundle([0], statement=statement)

    verdict = verify_document({**statement, "events": [], "evidence": evidence})

    assert "Nothing vouches for 'events'" in failed(verdict)["document"]


@pytest.mark.parametrize("evidence", [None, "text", [], 1, {}, json.dumps(document()["evidence"])])
def test_a_document_with_broken_evidence_is_refused(evidence: Any) -> None:
    verdict = verify_file(json.dumps({**document(), "evidence": evidence}).encode())

    assert list(failed(verdict)) == ["format"]


def test_a_document_with_forged_evidence_is_refused() -> None:
    changed = document()
    changed["evidence"] = with_digest({**changed["evidence"], "statement": {"a": 1}})

    assert "statement" in failed(verify_document(changed))


def test_a_document_that_is_no_json_inside_is_refused() -> None:
    verdict = verify_document({**document(), "share": float("nan")})

    assert "no canonical form" in failed(verdict)["document"]
