import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger.cosignature import witness_vkey
from audit.ledger.policy import PolicyError, parse_policy
from tests.audit.ledger.builders import OTHER_KEY, vkey

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(6)]
VKEYS = [witness_vkey(f"witness.example/w{n}", key.public_key()) for n, key in enumerate(KEYS)]
WITNESSES = "\n".join(f"witness W{n} {text}" for n, text in enumerate(VKEYS))


def test_two_of_three_are_enough_and_one_is_not() -> None:
    policy = parse_policy(f"{WITNESSES}\ngroup G 2 W0 W1 W2\nquorum G\n")
    keys = policy.keys
    assert policy.satisfied_by(keys[:2])
    assert policy.satisfied_by([keys[0], keys[2]])
    assert not policy.satisfied_by([keys[0]])
    assert not policy.satisfied_by([keys[0], keys[0]])
    assert not policy.satisfied_by([keys[0], keys[3]])
    assert policy.asked_for() == "2 of W0, W1, W2 must have cosigned"


def test_the_specifications_two_levels_of_groups_work() -> None:
    policy = parse_policy(
        f"# the example of C2SP tlog-policy\nlog {vkey()} https://log.example/\n\n{WITNESSES}\n"
        "group X-witnesses 2 W0 W1 W2\n\tgroup  Y-witnesses any W3 W4 W5 \n"
        "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y"
    )
    x, y = policy.keys[:3], policy.keys[3:]
    assert policy.satisfied_by([*x[:2], y[2]])
    assert not policy.satisfied_by(x)
    assert not policy.satisfied_by([x[0], *y])


def test_a_policy_without_a_quorum_asks_for_nobody() -> None:
    policy = parse_policy(f"{WITNESSES}\nquorum none")
    assert policy.satisfied_by([])
    assert policy.asked_for() == "no witness is required"


def test_a_witness_may_be_the_quorum_and_may_have_an_address() -> None:
    policy = parse_policy(f"witness W {VKEYS[0]} https://witness.example/w0\nquorum W")
    assert policy.witnesses["W"].url == "https://witness.example/w0"
    assert policy.satisfied_by(policy.keys)
    assert not policy.satisfied_by([])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no line `quorum"),
        (f"{WITNESSES}\n", "no line `quorum"),
        (f"{WITNESSES}\nquorum W9", "line 7: no witness or group W9"),
        (f"quorum W0\n{WITNESSES}", "line 1: no witness or group W0"),
        (f"{WITNESSES}\nquorum none\nquorum none", "second quorum"),
        (f"{WITNESSES}\ngroup G 3 W0 W1\nquorum G", "has 2 members, not 3"),
        (f"{WITNESSES}\ngroup G 0 W0 W1\nquorum G", "none of all, any and a number"),
        (f"{WITNESSES}\ngroup G -1 W0 W1\nquorum G", "none of all, any and a number"),
        (f"{WITNESSES}\ngroup G ² W0 W1\nquorum G", "none of all, any and a number"),
        (f"{WITNESSES}\ngroup G all W0 W0\nquorum G", "member of one group, once"),
        (f"{WITNESSES}\ngroup A all W0\ngroup B all W0\nquorum B", "member of one group, once"),
        (f"{WITNESSES}\ngroup W1 all W0\nquorum W1", "the name W1 is taken"),
        (f"{WITNESSES}\ngroup none all W0\nquorum none", "the name none is taken"),
        (f"{WITNESSES}\ngroup G all G\nquorum G", "no witness or group G"),
        (f"{WITNESSES}\ngroup G all none\nquorum G", "no witness or group none"),
        (f"{WITNESSES}\nwitness W9 {VKEYS[0]}\nquorum none", "stands here twice"),
        (f"witness W {vkey()}\nquorum W", "not a witness's key"),
        (f"log {VKEYS[0]}\nquorum none", "not an Ed25519 key"),
        (f"log {vkey()}\nlog {vkey()}\nquorum none", "stands here twice"),
        ("witness W\nquorum W", "written `witness NAME VKEY"),
        ("wittness W\nquorum W", "none of log, witness, group, quorum"),
        ("quorum none\x00", "control characters"),
        ("quorum none\r\n", "control characters"),
    ],
)
def test_a_malformed_policy_is_refused_and_the_line_named(text: str, fault: str) -> None:
    with pytest.raises(PolicyError, match=fault):
        parse_policy(text)


def test_one_key_under_two_names_is_one_witness() -> None:
    raw = OTHER_KEY.public_key()
    text = f"witness A {witness_vkey('a', raw)}\nwitness B {witness_vkey('b', raw)}\nquorum none"
    with pytest.raises(PolicyError, match="stands here twice"):
        parse_policy(text)
