"""Which witnesses are trusted, and how many of them must have cosigned: C2SP tlog-policy.

    # comment
    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none

The names count inside the policy only. A group or quorum names what stands above it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from audit.ledger.checkpoint import InvalidNoteError, VerifierKey, parse_vkey
from audit.ledger.cosignature import parse_witness_vkey

MAX_LINES = 1_000

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_THRESHOLD = re.compile("[1-9][0-9]{0,3}", re.ASCII)


class PolicyError(ValueError):
    """The policy is malformed; the sentence names the line."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness: its name in the policy, its key, and where it is asked (its submission prefix)."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class _Group:
    threshold: int
    members: tuple[str, ...]


@dataclass(slots=True)
class Policy:
    """Logs, witnesses, and the quorum of witnesses that makes a checkpoint good."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    groups: dict[str, _Group] = field(default_factory=dict)
    quorum: str = "none"

    @property
    def keys(self) -> list[VerifierKey]:
        """The witnesses' keys."""
        return [witness.key for witness in self.witnesses.values()]

    def satisfied_by(self, keys: Iterable[VerifierKey]) -> bool:
        """Whether cosignatures by these keys, which were verified, are enough."""
        there = {(key.name, key.key_id) for key in keys}
        cosigned = {
            name: (witness.key.name, witness.key.key_id) in there
            for name, witness in self.witnesses.items()
        }
        for name, group in self.groups.items():  # members stand above their group
            cosigned[name] = sum(cosigned[m] for m in group.members) >= group.threshold
        return self.quorum == "none" or cosigned[self.quorum]

    def asked_for(self) -> str:
        """The quorum in words."""
        if self.quorum == "none":
            return "no witness is required"
        group = self.groups.get(self.quorum)
        if group is None:
            return f"{self.quorum} must have cosigned"
        return f"{group.threshold} of {', '.join(group.members)} must have cosigned"


def parse_policy(text: str) -> Policy:
    """The policy in a text. Raises PolicyError."""
    if _FORBIDDEN.search(text):
        raise PolicyError("a policy holds no control characters but tab and newline")
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise PolicyError(f"a policy has at most {MAX_LINES} lines")
    policy, said = Policy(), False
    for number, line in enumerate(lines, 1):
        words = re.findall(r"[^ \t]+", line)
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] == "quorum" and said:
                raise PolicyError("there is a second quorum")
            said |= words[0] == "quorum"
            _take(policy, words[0], words[1:])
        except (PolicyError, InvalidNoteError) as exc:
            raise PolicyError(f"line {number}: {exc}") from None
    if not said:
        raise PolicyError("there is no line `quorum NAME` (or `quorum none`)")
    return policy


def _take(policy: Policy, keyword: str, words: list[str]) -> None:
    takers = {"log": _log, "witness": _witness, "group": _group, "quorum": _quorum}
    if keyword not in takers:
        raise PolicyError(f"{keyword!r} is none of log, witness, group, quorum")
    takers[keyword](policy, words)


def _log(policy: Policy, words: list[str]) -> None:
    if not 1 <= len(words) <= 2:
        raise PolicyError("a log is written `log VKEY [URL]`")
    key = parse_vkey(words[0])
    _require_new_key(key, policy.logs)
    policy.logs.append(key)


def _witness(policy: Policy, words: list[str]) -> None:
    if not 2 <= len(words) <= 3:
        raise PolicyError("a witness is written `witness NAME VKEY [URL]`")
    name, vkey, *url = words
    _require_new_name(policy, name)
    key = parse_witness_vkey(vkey)
    _require_new_key(key, policy.keys)
    policy.witnesses[name] = Witness(name, key, url[0] if url else "")


def _group(policy: Policy, words: list[str]) -> None:
    if len(words) < 3:
        raise PolicyError("a group is written `group NAME all|any|NUMBER NAME...`")
    name, wanted, *members = words
    _require_new_name(policy, name)
    for member in members:
        _require_known(policy, member)
    listed = [m for group in policy.groups.values() for m in group.members] + members
    if len(set(listed)) < len(listed):
        raise PolicyError("a name is a member of one group, once")
    words_for: Mapping[str, int] = {"all": len(members), "any": 1}
    if wanted not in words_for and not _THRESHOLD.fullmatch(wanted):
        raise PolicyError(f"{wanted!r} is none of all, any and a number")
    threshold = words_for.get(wanted) or int(wanted)
    if threshold > len(members):
        raise PolicyError(f"the group {name} has {len(members)} members, not {threshold}")
    policy.groups[name] = _Group(threshold, tuple(members))


def _quorum(policy: Policy, words: list[str]) -> None:
    if len(words) != 1:
        raise PolicyError("the quorum is written `quorum NAME` or `quorum none`")
    if words[0] != "none":
        _require_known(policy, words[0])
    policy.quorum = words[0]


def _require_new_name(policy: Policy, name: str) -> None:
    if name == "none" or name in policy.witnesses or name in policy.groups:
        raise PolicyError(f"the name {name} is taken")


def _require_known(policy: Policy, name: str) -> None:
    if name not in policy.witnesses and name not in policy.groups:
        raise PolicyError(f"no witness or group {name} stands above")


def _require_new_key(key: VerifierKey, others: Iterable[VerifierKey]) -> None:
    raw = key.public_key.public_bytes_raw()
    if any(other.public_key.public_bytes_raw() == raw for other in others):
        raise PolicyError(f"the key of {key.name} stands here twice")
