"""python -m audit.ledger verify FILE: check evidence without server, database or network.

Exit status: 0 valid, 1 not valid, 2 wrong usage or a file that cannot be read.
`checkpoint FILE` says who has cosigned (audit.ledger.witnessed), `witness` runs a witness
(audit.ledger.witness_server).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from audit.ledger import witness_server, witnessed
from audit.ledger.checkpoint import MAX_NOTE_CHARACTERS
from audit.ledger.files import UnreadableError, open_files
from audit.ledger.folder import FolderVerdict, verify_folder
from audit.ledger.judge import judge_file
from audit.ledger.progress import Meter
from audit.ledger.promise import BROKEN
from audit.ledger.verdict import Verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command != "verify":
        other = {"checkpoint": witnessed.run, "witness": witness_server.run}
        return other[options.command](options)
    began = time.monotonic()
    verdict: Verdict | None = _verify_log(parser, options)
    if verdict is None:
        verdict = judge_file(
            _content(parser, options.file),
            trusted_vkey=options.vkey,
            against=[_source(parser, name) for name in options.against],
            leaf=_content(parser, options.leaf) if options.leaf else None,
        )
    if options.json:
        text = json.dumps({"file": options.file, **verdict.as_dict()}, indent=2)
    else:
        text = _report(options.file, verdict, time.monotonic() - began)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    return 0 if verdict.valid else 1


def _content(parser: argparse.ArgumentParser, name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        parser.error(f"cannot read {name}: {error.strerror}")


def _source(parser: argparse.ArgumentParser, name: str) -> bytes | Path:
    path = Path(name)
    return path if path.is_dir() else _content(parser, name)


def _verify_log(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> FolderVerdict | None:
    """The verdict on a folder or an archive with a log; None for other files."""
    try:
        files = open_files(options.file)
        earlier = [_note(path) for path in options.checkpoint]
    except UnreadableError as error:
        parser.error(f"{options.file}: {error}")
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"cannot read the checkpoint: {error}")
    if files is None:
        if options.checkpoint or options.since or options.full:
            parser.error("--checkpoint, --since and --full are for the folder of a log")
        if Path(options.file).is_dir():
            parser.error(
                f"{options.file} is no folder of a log: it has neither checkpoint nor tile"
            )
        return None
    with Meter(sys.stderr) as meter:
        return verify_folder(
            files,
            trusted_vkey=options.vkey,
            earlier=earlier,
            since=options.since,
            full=options.full,
            processes=options.processes,
            progress=meter.show,
        )


def _note(path: str) -> str:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return file.read(MAX_NOTE_CHARACTERS + 1)


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
        help="check a certificate, report, evidence bundle, saved receipt or tlog-proof, or a"
        " whole log",
        description="Checks the evidence in a file. Exit status 0: valid. 1: not. 2: no such file.",
    )
    verify.add_argument(
        "file",
        metavar="FILE",
        help="PDF or JSON document with evidence, evidence bundle, saved answer to events with its"
        " receipt, tlog-proof, or the folder of an exported or published log (also .tar or .zip)",
    )
    verify.add_argument(
        "--vkey",
        metavar="KEY",
        action="append",
        help="verifier key of the log, got from elsewhere; repeat it for several",
    )
    verify.add_argument(
        "--against",
        metavar="FILE",
        action="append",
        default=[],
        help="for a receipt: evidence, a proof, or a folder with checkpoint and tiles, to see"
        " whether the log kept its word; repeat it for several",
    )
    verify.add_argument(
        "--leaf", metavar="FILE", help="for a tlog-proof without it: the bytes of the entry's leaf"
    )
    verify.add_argument(
        "--checkpoint",
        metavar="FILE",
        action="append",
        default=[],
        help="a checkpoint of the log that you kept: the folder must still hold what it covers;"
        " repeat it for several",
    )
    verify.add_argument(
        "--since",
        metavar="N",
        type=int,
        default=0,
        help="the folder holds the entries from number N on (export_log --since N)",
    )
    verify.add_argument(
        "--full",
        action="store_true",
        help="read every event of the folder, too: its form, the count of each resource's entries,"
        " the heads that the log commits to",
    )
    verify.add_argument(
        "--processes",
        metavar="N",
        type=int,
        default=os.cpu_count() or 1,
        help="how many share the reading of a large folder (default: one a processor)",
    )
    verify.add_argument("--json", action="store_true", help="write the verdict as JSON")
    return parser


def _report(file: str, verdict: Verdict, seconds: float) -> str:
    if verdict.promise == BROKEN:
        title = "PROMISE BROKEN"  # the receipt is genuine, the log is not
    else:
        title = "VALID" if verdict.valid else "NOT VALID"
    lines = [f"{title}  {file}", ""]
    lines += [
        f"  {'ok    ' if check.ok else 'FAILED'}  {check.name:<11} {check.sentence}"
        for check in verdict.checks
    ]
    if isinstance(verdict, FolderVerdict):
        if verdict.first_bad is not None:
            lines += ["", f"The first bad entry is number {verdict.first_bad}."]
        lines += ["", f"{verdict.checked:,} entries read in {seconds:.1f} s."]
    if verdict.notes:
        lines += ["", "What this does not show:"]
        lines += [f"  - {note}" for note in verdict.notes]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
