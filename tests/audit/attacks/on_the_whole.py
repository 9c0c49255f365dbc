"""Attacks on the log as a whole: sealed again, dated back, forked, restored."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.actions import append
from audit.ledger.leaf import pack, unpack
from tests.audit.attacks import forging
from tests.audit.attacks.attack import OPERATOR, Attack
from tests.audit.attacks.on_entries import tail_cut_to_an_older_checkpoint
from tests.audit.attacks.scene import (
    APPEND,
    COPY,
    MEMORY,
    OUTSIDE,
    RECEIPT,
    SIZE,
    TARGET,
    VERIFY,
    Scene,
)
from tests.audit.builders import event, sql

_HOUR_US = 3_600 * 1_000_000
_FOREIGN_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def forged_fact(seq: int = TARGET) -> forging.Forged:
    moment, event = forging.event_of(seq)
    return {seq: (moment, event.replace(b'"rows":', b'"rowz":'))}


def sealed_again(scene: Scene) -> None:
    forging.reseal(forged_fact())


def sealed_again_and_unsigned(scene: Scene) -> None:
    sealed_again(scene)
    forging.forget_signatures()


def sealed_again_since_the_last_kept_checkpoint(scene: Scene) -> None:
    """Only what no kept checkpoint covers, once the newest ones are taken away."""
    sealed_again(scene)
    forging.put_back_signature(scene.backup)


def sealed_again_and_signed(scene: Scene) -> None:
    sealed_again(scene)
    forging.sign_everything_again()


def tail_cut_and_signed(scene: Scene) -> None:
    sql("DELETE FROM audit_entry WHERE seq >= %s", SIZE - 10)
    forging.rebuild_tree()
    forging.sign_everything_again()


def dated_back(scene: Scene) -> None:
    """The time in the leaf, an hour earlier, and all that follows."""
    moment, event = forging.event_of(TARGET)
    leaf = unpack(forging.leaf_of(TARGET))
    earlier = pack(leaf.seq, moment - _HOUR_US, leaf.previous, event)
    forging.set_leaf(TARGET, earlier, with_hash=True)


def dated_back_and_signed(scene: Scene) -> None:
    """The whole log an hour earlier, columns too, so that no time runs backwards."""
    events = {seq: forging.event_of(seq) for seq in range(SIZE)}
    forging.reseal({seq: (moment - _HOUR_US, event) for seq, (moment, event) in events.items()})
    forging.date_columns()
    forging.sign_everything_again()


def restored_and_gone_on(scene: Scene) -> None:
    """As many new entries as were lost, and some more."""
    tail_cut_to_an_older_checkpoint(scene)
    append([event(number) for number in range(5_000, 5_000 + SIZE)], by=scene.by)


def two_machines(scene: Scene) -> None:
    """A copy of everything, key and memory included, goes on in another way."""
    tail_cut_to_an_older_checkpoint(scene)
    scene.memory.write_text(scene.backup["note"])
    append([event(number) for number in range(5_000, 5_000 + SIZE)], by=scene.by)
    forging.remember_newest()


def other_key(scene: Scene) -> None:
    """The log goes on under a key of the operator's own."""
    forging.sign_everything_again(key=_FOREIGN_KEY)


ATTACKS = [
    Attack(
        "an entry changed, all sealed again from there on",
        sealed_again,
        (VERIFY, APPEND, RECEIPT, COPY),
        "The newest checkpoint covers another tree",
    ),
    Attack(
        "the same, and all newer checkpoints taken away",
        sealed_again_since_the_last_kept_checkpoint,
        (MEMORY, APPEND, *OUTSIDE),
        "The checkpoint remembered beside the key covers another tree",
    ),
    Attack(
        "the same, and every checkpoint taken away",
        sealed_again_and_unsigned,
        (MEMORY, APPEND, *OUTSIDE),
        "The checkpoint remembered beside the key covers another tree",
    ),
    Attack(
        "the same, all signed again, the note beside the key too",
        sealed_again_and_signed,
        OUTSIDE,
        "two trees of one size have different roots",
        None,
        rank=OPERATOR,
    ),
    Attack(
        "the newest ten deleted, the rest signed again",
        tail_cut_and_signed,
        OUTSIDE,
        "I cosigned 1500 entries; the log's newest checkpoint covers 1490",
        None,
        rank=OPERATOR,
    ),
    Attack(
        "the time in a leaf set back",
        dated_back,
        (VERIFY, RECEIPT),
        "is before that of the entry before it",
    ),
    Attack(
        "the whole log dated back, sealed and signed again",
        dated_back_and_signed,
        OUTSIDE,
        "two trees of one size have different roots",
        None,
        rank=OPERATOR,
    ),
    Attack(
        "an old backup restored, and the log goes on",
        restored_and_gone_on,
        (MEMORY, APPEND, *OUTSIDE),
        "The checkpoint remembered beside the key covers another tree",
        None,
        rank="database owner",
    ),
    Attack(
        "fork: a copy with key and note goes on elsewhere",
        two_machines,
        OUTSIDE,
        "The log does not extend the 1500 entries that I cosigned",
        None,
        rank=OPERATOR,
    ),
    Attack(
        "all signed again under another key",
        other_key,
        (VERIFY, APPEND, *OUTSIDE),
        "The newest checkpoint is not signed by this log",
        None,
        rank=OPERATOR,
    ),
]
