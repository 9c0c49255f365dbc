"""python -m audit.ledger verify FILE: check evidence without server, database or network.

Exit status: 0 valid, 1 not valid, 2 wrong usage or a file that cannot be read.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from audit.ledger.checkpoint import MAX_NOTE_CHARACTERS
from audit.ledger.files import UnreadableError, open_files
from audit.ledger.folder import FolderVerdict, verify_folder
from audit.ledger.progress import Meter
from audit.ledger.verify import Verdict, verify_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    began = time.monotonic()
    verdict: Verdict | None = _verify_log(parser, options)
    if verdict is None:
        try:
            data = Path(options.file).read_bytes()
        except OSError as error:
            parser.error(f"cannot read {options.file}: {error.strerror}")
        verdict = verify_file(data, trusted_vkey=options.vkey)
    if options.json:
        text = json.dumps({"file": options.file, **verdict.as_dict()}, indent=2)
    else:
        text = _report(options.file, verdict, time.monotonic() - began)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    return 0 if verdict.valid else 1


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
        if options.checkpoint or options.since:
            parser.error("--checkpoint and --since are for the folder of a log")
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
            progress=meter.show,
        )


def _note(path: str) -> str:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return file.read(MAX_NOTE_CHARACTERS + 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m audit.ledger", description="Checks evidence from a Vestige log, offline."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    verify = commands.add_parser(
        "verify",
        help="check a certificate or report (PDF or JSON), a bare evidence bundle, or a whole log",
        description="Checks the evidence in a file. Exit status 0: valid. 1: not. 2: no such file.",
    )
    verify.add_argument(
        "file",
        metavar="FILE",
        help="PDF or JSON document with evidence, an evidence bundle, or the folder of an exported"
        " or published log (also as .tar or .zip)",
    )
    verify.add_argument(
        "--vkey",
        metavar="KEY",
        action="append",
        help="verifier key of the log, got from elsewhere; repeat it for several",
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
    verify.add_argument("--json", action="store_true", help="write the verdict as JSON")
    return parser


def _report(file: str, verdict: Verdict, seconds: float) -> str:
    lines = [f"{'VALID' if verdict.valid else 'NOT VALID'}  {file}", ""]
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
