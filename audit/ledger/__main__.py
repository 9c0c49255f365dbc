"""python -m audit.ledger verify FILE: check evidence without server, database or network.

Exit status: 0 valid, 1 not valid, 2 wrong usage or a file that cannot be read.
`checkpoint FILE` says who has cosigned (audit.ledger.witnessed), `witness` runs a witness
(audit.ledger.witness_server).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from audit.ledger import witness_server, witnessed
from audit.ledger.verify import Verdict, verify_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command != "verify":
        other = {"checkpoint": witnessed.run, "witness": witness_server.run}
        return other[options.command](options)
    try:
        data = Path(options.file).read_bytes()
    except OSError as error:
        parser.error(f"cannot read {options.file}: {error.strerror}")
    verdict = verify_file(data, trusted_vkey=options.vkey)
    if options.json:
        text = json.dumps({"file": options.file, **verdict.as_dict()}, indent=2)
    else:
        text = _report(options.file, verdict)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    return 0 if verdict.valid else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m audit.ledger", description="Checks a Vestige log from outside."
    )
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    witnessed.add_arguments(
        commands.add_parser(
            "checkpoint",
            help="say which witnesses have cosigned a checkpoint, and whether they are enough",
            description="Judges a signed note by a policy. Exit status 0: enough. 1: not.",
        )
    )
    witness_server.add_arguments(
        commands.add_parser(
            "witness",
            help="cosign a log's checkpoints as long as they extend each other",
            description="A witness by C2SP tlog-witness: POST /add-checkpoint.",
        )
    )
    verify = commands.add_parser(
        "verify",
        help="check a certificate or report (PDF or JSON) or a bare evidence bundle",
        description="Checks the evidence in a file. Exit status 0: valid. 1: not. 2: no such file.",
    )
    verify.add_argument(
        "file", metavar="FILE", help="PDF or JSON document with evidence, or an evidence bundle"
    )
    verify.add_argument(
        "--vkey",
        metavar="KEY",
        action="append",
        help="verifier key of the log, got from elsewhere; repeat it for several",
    )
    verify.add_argument("--json", action="store_true", help="write the verdict as JSON")
    return parser


def _report(file: str, verdict: Verdict) -> str:
    lines = [f"{'VALID' if verdict.valid else 'NOT VALID'}  {file}", ""]
    lines += [
        f"  {'ok    ' if check.ok else 'FAILED'}  {check.name:<11} {check.sentence}"
        for check in verdict.checks
    ]
    if verdict.notes:
        lines += ["", "What this does not show:"]
        lines += [f"  - {note}" for note in verdict.notes]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
