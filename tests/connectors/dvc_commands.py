"""The real dvc command, from a process that has it loaded and forks for each call.

Loading DVC takes four fifths of a command's time. Each call is a process of its own all the same,
with its own folder and environment.
"""

import atexit
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_SERVER = """
import json, os, sys
import dvc.repo
from dvc.cli import main
from dvc.cli.parser import get_main_parser
get_main_parser()
for line in sys.stdin:
    call = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(call["folder"])
        os.environ.clear()
        os.environ.update(call["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(call["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        status = 1
        try:
            status = main(call["arguments"])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@cache
def _server() -> "subprocess.Popen[str]":
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    atexit.register(server.communicate)
    return server


def run_dvc(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: Path
) -> tuple[int, str]:
    """(exit status, what it printed). `output`: a file for that, outside of the repository."""
    server = _server()
    assert server.stdin
    assert server.stdout
    call = {
        "arguments": list(arguments),
        "folder": str(folder),
        "environment": dict(environment),
        "output": str(output),
    }
    server.stdin.write(json.dumps(call) + "\n")
    server.stdin.flush()
    status = int(server.stdout.readline())
    text = output.read_text()
    output.unlink()
    return status, text
