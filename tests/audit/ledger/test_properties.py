"""What holds of every log, checkpoint and bundle, tried on random ones."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.ledger import bundle, canonical, checkpoint, tiles, tree
from audit.ledger.chain import ChainVerifier
from audit.ledger.checkpoint import Checkpoint
from audit.ledger.leaf import unpack
from audit.ledger.verify import verify_bundle
from tests.audit.ledger.builders import KEY, SampleLog, log_of, vkey
from tests.audit.ledger.test_canonical import ANY_JSON, EVENTS, TEXT

ORIGINS = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="+"), min_size=1
)
FACTS = st.dictionaries(st.text(st.characters(codec="ascii")), EVENTS, max_size=2)
QUICK = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(ORIGINS, st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_reads_back_as_it_was(origin: str, size: int, root: bytes) -> None:
    made = Checkpoint(origin, size, root)
    note = checkpoint.sign(made, KEY)
    key = checkpoint.vkey(origin, KEY.public_key())

    assert checkpoint.parse(note)[0] == checkpoint.verify_note(note, [key]) == made
    assert checkpoint.parse(note)[0].text == made.text
    assert checkpoint.parse_vkey(key).name == origin


@QUICK
@given(st.lists(FACTS, min_size=1, max_size=5))
def test_leaves_hold_the_events_that_were_put_into_them(facts: list[dict[str, Any]]) -> None:
    log = SampleLog(facts)
    chain = ChainVerifier()

    assert chain.feed_batch(log.leaves) == log.hashes
    for seq, (leaf, details) in enumerate(zip(log.leaves, facts, strict=True)):
        found = unpack(leaf)
        assert found.seq == seq
        assert canonical.decode(found.event)["details"] == details
    assert tiles.decode_entries(tiles.encode_entries(log.leaves)) == log.leaves


@QUICK
@given(st.integers(1, 300), st.data())
def test_any_entries_of_any_log_make_a_bundle_that_is_valid(size: int, data: st.DataObject) -> None:
    log = log_of(size)
    seqs = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=8)))
    made = log.bundle(seqs)

    assert bundle.loads(bundle.dumps(made)) == made
    verdict = verify_bundle(bundle.dumps(made), trusted_vkey=vkey())
    assert verdict.valid
    assert verdict.entries == seqs


@QUICK
@given(st.dictionaries(TEXT, ANY_JSON, max_size=2))
def test_a_statement_is_vouched_for_however_it_is_laid_out(statement: dict[str, Any]) -> None:
    statement = {**statement, "purpose": "certificate", "entries": [0]}
    log = SampleLog([{"rows": 1}, {"statement_sha256": bundle.statement_digest(statement)}])
    read = bundle.decode(canonical.encode(statement))  # doubles beyond 2**53 stay doubles

    assert canonical.encode(read) == canonical.encode(statement)
    assert verify_bundle(log.bundle([0, 1], statement=read), trusted_vkey=vkey()).valid


@QUICK
@given(st.integers(1, 400), st.data())
def test_a_chain_that_is_stored_and_read_anywhere_ends_where_a_whole_run_does(
    size: int, data: st.DataObject
) -> None:
    log = log_of(size)
    stop = data.draw(st.integers(0, size))
    whole, parts = ChainVerifier(), ChainVerifier()
    whole.feed_batch(log.leaves)
    parts.feed_batch(log.leaves[:stop])
    parts = ChainVerifier.from_bytes(parts.to_bytes())
    parts.feed_batch(log.leaves[stop:])

    assert parts.to_bytes() == whole.to_bytes()
    assert parts.root() == tree.root_of(log.hashes)
