"""Asking a place outside that the operator has named, bounded in time and size."""

import threading
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

SECONDS = 10.0  # for the whole of a question and its answer
MAX_ANSWER_BYTES = 64 * 1024

_WAIT_SECONDS = 5.0  # for each step of it


class OutsideError(RuntimeError):
    """What went wrong with a place outside, as a sentence.

    `grave`: the place says that this log contradicts itself. Else it is a matter of networks and
    settings, and the next try may go well.
    """

    grave = False


class ContradictionError(OutsideError):
    """Somebody outside holds a tree of this log that it does not contain any more."""

    grave = True


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    media_type: str
    body: bytes


def post(url: str, body: bytes, *, media_type: str, accept: str = "*/*") -> Answer:
    """POST to this address and to no other: redirects are not followed. Raises OutsideError."""
    headers = {"Content-Type": media_type, "Accept": accept}
    parts: list[bytes] = []
    with httpx.Client(timeout=_WAIT_SECONDS, follow_redirects=False) as client:
        # httpx bounds each step: an answer of many small steps is cut off by taking the line away.
        too_long = threading.Event()

        def cut() -> None:
            too_long.set()
            client.close()

        timer = threading.Timer(SECONDS, cut)
        timer.daemon = True
        timer.start()
        try:
            with client.stream("POST", url, content=body, headers=headers) as answer:
                for part in answer.iter_bytes(chunk_size=4096):
                    parts.append(part)
                    if sum(map(len, parts)) > MAX_ANSWER_BYTES:
                        raise OutsideError(f"It answers with more than {MAX_ANSWER_BYTES} bytes.")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
            if too_long.is_set():
                raise OutsideError(f"It takes more than {SECONDS:.0f} s to answer.") from exc
            raise OutsideError(f"It cannot be reached ({type(exc).__name__}).") from exc
        finally:
            timer.cancel()
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Answer(answer.status_code, kind, b"".join(parts))


def address_fault(url: str) -> str:
    """Why this cannot be the address of a place outside; empty when it can."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "it is no address"
    if parts.scheme not in ("http", "https") or not host:
        return "it must be written https://host/path"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "it must hold no user, query or fragment"
    if parts.scheme == "http" and not _is_loopback(host):
        return "only an address on this machine may be http; use https"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
