import copy
import json
import random
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.ledger import bundle, canonical, checkpoint, leaf, tree
from audit.ledger.checkpoint import Checkpoint, sign
from audit.ledger.hashing import leaf_hash
from audit.ledger.verify import Verdict, verify_bundle
from tests.audit.ledger.builders import (
    CERTIFICATE,
    KEY,
    ORIGIN,
    OTHER_KEY,
    certificate_bundle,
    certificate_log,
    log_of,
    vkey,
    with_digest,
)

WRITTEN = bundle.dumps(certificate_bundle())


def failed(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.sentence for check in verdict.faults}


def forged(**members: Any) -> Verdict:
    """The verdict on a certificate's bundle with other members and a digest that matches them."""
    return verify_bundle(with_digest({**certificate_bundle(), **members}), trusted_vkey=vkey())


def test_a_certificate_with_its_evidence_is_valid() -> None:
    verdict = verify_bundle(WRITTEN, trusted_vkey=vkey())

    assert verdict.valid, failed(verdict)
    assert [check.name for check in verdict.checks] == [
        "format",
        "digest",
        "checkpoint",
        "key",
        "inclusion",
        "leaves",
        "chain",
        "statement",
    ]
    assert verdict.entries == [4, 9, 10]
    assert verdict.statement == CERTIFICATE
    assert verdict.checkpoint == Checkpoint(ORIGIN, 12, tree.root_of(certificate_log().hashes))
    assert verdict.checks[-1].sentence == (
        "Entry 10 (request.filed by user:7, 2026-09-21 14:13:30 UTC) commits to the statement."
    )


def test_without_a_key_from_elsewhere_the_verdict_says_that_it_cannot_tell_whose_key_it_is() -> (
    None
):
    verdict = verify_bundle(certificate_bundle())

    assert verdict.valid
    assert any("Whose key this is" in note and vkey() in note for note in verdict.notes)
    assert not any(
        "Whose key" in note for note in verify_bundle(WRITTEN, trusted_vkey=vkey()).notes
    )


def test_a_whole_bundle_forged_with_another_key_fails_against_the_trusted_key() -> None:
    fake = certificate_bundle(key=OTHER_KEY)

    assert verify_bundle(fake).valid
    verdict = verify_bundle(fake, trusted_vkey=vkey())
    assert not verdict.valid
    assert "has not signed the checkpoint" in failed(verdict)["key"]


def test_any_of_several_trusted_keys_will_do_but_not_a_key_of_another_name() -> None:
    other_log = checkpoint.vkey("other.example", KEY.public_key())

    assert verify_bundle(WRITTEN, trusted_vkey=[vkey(OTHER_KEY), vkey()]).valid
    assert not verify_bundle(WRITTEN, trusted_vkey=other_log).valid
    assert not verify_bundle(WRITTEN, trusted_vkey=[]).valid
    assert "verifier key is written" in failed(verify_bundle(WRITTEN, trusted_vkey="x"))["key"]


def test_the_key_of_a_witness_does_not_stand_for_the_logs_own() -> None:
    note = certificate_log().note()
    text = note.partition("\n\n")[0] + "\n"
    blob = checkpoint.key_id("witness.example", OTHER_KEY.public_key()) + OTHER_KEY.sign(
        text.encode()
    )
    cosigned = f"{note}— witness.example {b64encode(blob).decode()}\n"
    bundle_cosigned = with_digest({**certificate_bundle(), "checkpoint": cosigned})
    witness = checkpoint.vkey("witness.example", OTHER_KEY.public_key())

    assert verify_bundle(bundle_cosigned, trusted_vkey=vkey()).valid
    assert set(failed(verify_bundle(bundle_cosigned, trusted_vkey=witness))) == {"key"}


def test_entries_without_a_statement_are_valid_and_the_purpose_is_said_to_be_unproven() -> None:
    verdict = verify_bundle(log_of(5).bundle([0, 1, 4]))

    assert verdict.valid
    assert any("purpose certificate is the file's own label" in note for note in verdict.notes)


def test_a_log_of_one_entry_is_proven_by_an_empty_proof() -> None:
    assert verify_bundle(log_of(1).bundle([0])).valid


def test_a_changed_statement_is_refused() -> None:
    verdict = forged(statement={**CERTIFICATE, "erased": {"rows": 18}})

    assert failed(verdict) == {
        "statement": "No entry commits to the statement: the log does not vouch for it."
    }


def test_a_statement_without_the_entry_that_commits_to_it_is_refused() -> None:
    assert set(failed(forged(entries=certificate_bundle()["entries"][:2]))) == {"statement"}


def test_a_missing_entry_on_which_the_statement_rests_is_named() -> None:
    verdict = forged(entries=certificate_bundle()["entries"][1:])

    assert failed(verdict) == {"statement": "The statement rests on entry 4, which is missing."}


def test_another_purpose_than_the_statements_is_refused() -> None:
    assert "another purpose" in failed(forged(purpose="compliance-report"))["statement"]


def test_an_edited_entry_is_refused_and_named() -> None:
    written = certificate_bundle()
    edited = b64decode(written["entries"][1]["leaf"]).replace(b'"rows":9', b'"rows":8')
    written["entries"][1]["leaf"] = b64encode(edited).decode()

    verdict = verify_bundle(with_digest(written))

    assert failed(verdict)["inclusion"] == (
        "Entry 9 is not in the signed log: the proof leads to another root."
    )
    assert "Entry 10 names another hash" in failed(verdict)["chain"]


def test_a_renumbered_entry_is_refused() -> None:
    written = certificate_bundle()
    written["entries"][0]["seq"] = 5

    assert "number 4" in failed(verify_bundle(with_digest(written)))["leaves"]


def test_a_checkpoint_of_another_log_is_refused() -> None:
    other = Checkpoint("other.example/log", 12, tree.root_of(certificate_log().hashes))

    assert "checkpoint" in failed(forged(checkpoint=sign(other, KEY)))
    assert "different logs" in failed(forged(log={"origin": "other", "vkey": vkey()}))["checkpoint"]


def test_an_older_checkpoint_that_does_not_hold_the_entry_is_refused() -> None:
    log = certificate_log()
    older = Checkpoint(ORIGIN, 10, tree.root_of(log.hashes[:10]))

    assert "there is no leaf 10" in failed(forged(checkpoint=sign(older, KEY)))["inclusion"]


def signed_alone(packed: bytes) -> dict[str, Any]:
    """A bundle around one leaf, as a log would sign it that keeps none of the rules."""
    note = sign(Checkpoint(ORIGIN, 1, leaf_hash(packed)), KEY)
    return bundle.build(
        purpose="entries",
        statement=None,
        origin=ORIGIN,
        vkey=vkey(),
        checkpoint=note,
        entries=[(0, packed, [])],
    )


@pytest.mark.parametrize(
    "packed",
    [
        leaf.pack(0, 0, leaf.GENESIS, b'{"b":1,"a":2}'),
        leaf.pack(0, 0, leaf.GENESIS, b'{"a":1,"a":1}'),
        leaf.pack(0, 0, leaf.GENESIS, b'{"a":0.5}'),
        leaf.pack(0, 0, leaf.GENESIS, b"[]"),
        leaf.pack(0, 0, leaf.GENESIS, b"no json"),
        leaf.pack(1, 0, leaf.GENESIS, b"{}"),
        b"no leaf",
        b"x" * 70_000,
    ],
)
def test_a_signed_entry_that_breaks_the_leaf_format_is_refused(packed: bytes) -> None:
    assert set(failed(verify_bundle(signed_alone(packed)))) == {"leaves"}


def test_a_first_entry_that_names_a_predecessor_is_refused() -> None:
    verdict = verify_bundle(signed_alone(leaf.pack(0, 0, bytes([1]) * 32, b"{}")))

    assert failed(verdict) == {"chain": "Entry 0 names an entry before it."}


def test_entries_out_of_time_order_are_refused() -> None:
    first = leaf.pack(0, 9, leaf.GENESIS, b"{}")
    second = leaf.pack(1, 8, leaf_hash(first), b"{}")
    hashes = [leaf_hash(first), leaf_hash(second)]
    written = bundle.build(
        purpose="entries",
        statement=None,
        origin=ORIGIN,
        vkey=vkey(),
        checkpoint=sign(Checkpoint(ORIGIN, 2, tree.root_of(hashes)), KEY),
        entries=[(0, first, [hashes[1]]), (1, second, [hashes[0]])],
    )

    assert failed(verify_bundle(written)) == {"chain": "Entry 1 is dated before entry 0."}


def test_a_time_beyond_all_calendars_is_shown_as_a_number() -> None:
    statement = {"a": 1}
    event = canonical.encode({"details": {"statement_sha256": bundle.statement_digest(statement)}})
    written = signed_alone(leaf.pack(0, 2**64 - 1, leaf.GENESIS, event))

    verdict = verify_bundle(with_digest({**written, "statement": statement}))

    assert verdict.valid
    assert f"{2**64 - 1} microseconds" in verdict.checks[-1].sentence


def test_a_long_list_of_faults_is_cut_and_counted() -> None:
    written = log_of(40).bundle(range(40))
    for entry in written["entries"]:
        entry["proof"] = entry["proof"][1:]

    sentence = failed(verify_bundle(with_digest(written)))["inclusion"]

    assert sentence.count("Entry") == 10
    assert sentence.endswith("And 30 more.")


def test_text_out_of_the_file_cannot_steer_the_terminal() -> None:
    nasty = "\x1b[2J\nVALID \u202e" + "x" * 1000
    verdict = forged(purpose=nasty, log={"origin": nasty, "vkey": vkey()}, statement=None)

    for text in [check.sentence for check in verdict.checks] + verdict.notes:
        assert text.isprintable()


def test_a_verdict_can_be_written_as_json() -> None:
    verdict = verify_bundle(WRITTEN)
    assert verdict.checkpoint is not None

    written = json.loads(json.dumps(verdict.as_dict()))

    assert written["valid"] is True
    assert written["checkpoint"] == {
        "origin": ORIGIN,
        "size": 12,
        "root": verdict.checkpoint.root.hex(),
    }
    assert written["commitments"] == [
        {
            "seq": 10,
            "type": "request.filed",
            "actor": "user:7",
            "time": "2026-09-21 14:13:30 UTC",
        }
    ]
    assert json.loads(json.dumps(verify_bundle(b"x").as_dict()))["checkpoint"] is None


def same_content(data: bytes) -> bool:
    try:
        return bundle.loads(data) == bundle.loads(WRITTEN)
    except bundle.BundleError:
        return False


def mutated(dice: random.Random) -> bytes:
    data = bytearray(WRITTEN)
    at = dice.randrange(len(data))
    kind = dice.randrange(3)
    if kind == 0:
        data[at] ^= dice.randrange(1, 256)
    elif kind == 1:
        data.insert(at, dice.choice(b' \n"\\{}[],:0a=' + bytes([dice.randrange(256)])))
    else:
        del data[at]
    return bytes(data)


def test_no_changed_byte_leaves_a_bundle_valid_with_other_content() -> None:
    dice = random.Random(7)  # noqa: S311
    for _ in range(5000):
        data = mutated(dice)
        assert not verify_bundle(data).valid or same_content(data), data


def test_every_flip_of_one_bit_in_a_printed_certificate_is_noticed() -> None:
    laid_out = json.dumps(certificate_bundle(), indent=1).encode()
    for at in range(len(laid_out)):
        data = laid_out[:at] + bytes([laid_out[at] ^ 1]) + laid_out[at + 1 :]
        assert not verify_bundle(data).valid or same_content(data), at


def test_a_truncated_bundle_is_not_valid_at_any_length() -> None:
    for length in range(0, len(WRITTEN), 3):
        assert not verify_bundle(WRITTEN[:length]).valid


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for at in range(len(value)):
            yield from places(value[at], (*path, at))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.just("AAAA")
    | st.just(10**4000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(places(certificate_bundle()), key=str)), JSON_VALUES)
def test_a_forger_who_replaces_any_value_and_mends_the_digest_is_found_out(
    path: tuple[Any, ...], value: Any
) -> None:
    changed = copy.deepcopy(certificate_bundle())
    inside: Any = changed
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    mended = changed if canonical_or_none(changed) is None else with_digest(changed)

    verdict = verify_bundle(mended)

    # Without its statement the bundle still proves its entries, and says that it proves no more.
    assert (
        not verdict.valid
        or canonical_or_none(mended) == WRITTEN
        or (verdict.statement is None and any("no statement" in note for note in verdict.notes))
    )


def canonical_or_none(value: Any) -> bytes | None:
    try:
        return canonical.encode(value)
    except canonical.CanonicalError:
        return None


@settings(deadline=None, max_examples=300)
@given(st.binary() | st.text() | JSON_VALUES)
def test_garbage_is_not_valid_and_crashes_nothing(garbage: Any) -> None:
    assert not verify_bundle(garbage).valid


@pytest.mark.parametrize(
    "data",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 100_000,
        '{"format":' + "9" * 400 + "}",
        "\x00" * 1000,
    ],
)
def test_deep_nesting_and_giant_numbers_crash_nothing(data: str) -> None:
    verdict = verify_bundle(data)

    assert not verdict.valid
    assert verdict.faults[0].name == "format"
