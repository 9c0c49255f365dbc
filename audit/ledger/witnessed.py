"""python -m audit.ledger checkpoint FILE --policy FILE: who has cosigned, and are they enough?

Exit status: 0 the policy is satisfied, 1 it is not, 2 wrong usage or a file that cannot be read.
"""

import argparse
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, vkey
from audit.ledger.cosignature import verify_witnessed
from audit.ledger.policy import Policy, PolicyError, parse_policy

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Witnessed:
    """What a note is worth under a policy. `cosigned`: witness in the policy → POSIX time."""

    fault: str = ""  # why the note itself does not hold
    checkpoint: Checkpoint | None = None
    cosigned: dict[str, int] = field(default_factory=dict)
    enough: bool = False

    @property
    def valid(self) -> bool:
        return not self.fault and self.enough


def judge(note: str, policy: Policy, log_vkeys: list[str]) -> Witnessed:
    """Judge a note by the policy's logs (and these keys), witnesses and quorum. Never raises."""
    found = Witnessed()
    logs = [vkey(key.name, key.public_key) for key in policy.logs]
    try:
        found.checkpoint, cosignatures = verify_witnessed(note, logs + log_vkeys, policy.keys)
    except InvalidNoteError as exc:
        found.fault = str(exc)
        return found
    times = {(made.key.name, made.key.key_id): made.time for made in cosignatures}
    for name, witness in policy.witnesses.items():
        time = times.get((witness.key.name, witness.key.key_id))
        if time is not None:
            found.cosigned[name] = time
    found.enough = policy.satisfied_by([made.key for made in cosignatures])
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command `checkpoint` takes."""
    parser.add_argument(
        "file", metavar="FILE", help="a signed note, as GET /log/checkpoint?witnessed=1 gives it"
    )
    parser.add_argument(
        "--policy", metavar="FILE", required=True, help="witnesses and quorum (C2SP tlog-policy)"
    )
    parser.add_argument(
        "--vkey",
        metavar="KEY",
        action="append",
        default=[],
        help="verifier key of the log, if the policy does not name it; repeat it for several",
    )


def run(options: argparse.Namespace) -> int:
    """Judge the file and say why; give the exit status."""
    try:
        policy = parse_policy(Path(options.policy).read_text("utf-8"))
        note = Path(options.file).read_text("utf-8")
    except (OSError, PolicyError, UnicodeDecodeError) as exc:
        sys.stderr.write(f"Cannot judge {options.file} by {options.policy}: {exc}\n")
        return 2
    found = judge(note, policy, options.vkey)
    lines = [f"{'VALID' if found.valid else 'NOT VALID'}  {options.file}", ""]
    lines += [f"  {line}" for line in _lines(found, policy)]
    encoding = sys.stdout.encoding or "utf-8"
    text = "\n".join(lines)
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    return 0 if found.valid else 1


def _lines(found: Witnessed, policy: Policy) -> list[str]:
    made = found.checkpoint
    if made is None:
        return [f"FAILED  note     {found.fault}."]
    lines = [
        f"ok      log      {made.origin} has signed {made.size} entries, root {made.root.hex()}."
    ]
    for name in policy.witnesses:
        time = found.cosigned.get(name)
        lines.append(
            f"-       witness  {name} has not cosigned."
            if time is None
            else f"ok      witness  {name} has cosigned at {_moment(time)}."
        )
    quorum = policy.asked_for()
    lines.append(f"{'ok    ' if found.enough else 'FAILED'}  quorum   {quorum}.")
    return lines


def _moment(time: int) -> str:
    try:
        return (_EPOCH + timedelta(seconds=time)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{time} s after 1970"
