"""A lean HTTP client, so that the server is what is measured: `python -m bench.client …`.

Sixteen kept-alive connections in one thread; requests are written before the clock starts, and of
an answer only status and length are read. Arguments: port, path, how many requests, a name for
this run (it becomes part of the events' ids), the method; the key is in BENCH_KEY. Prints requests
a second and, in milliseconds, the median and the 99th of 100 waits.
"""

import os
import selectors
import socket
import sys
import time
from typing import cast

import orjson

from bench import events

CLIENTS = 16


def requests_of(method: str, path: str, key: str, count: int, run: str) -> list[bytes]:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    if method == "GET":
        return [f"{head}\r\n".encode()] * count
    made = []
    for number in range(count):
        body = orjson.dumps(events.body(number, run))
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append(f"{head}{more}".encode() + body)
    return made


def answer_end(data: bytes) -> int:
    """Where the answer in `data` ends; 0 while it is not complete. Raises RuntimeError."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    if data[9:12] not in (b"200", b"201"):
        raise RuntimeError(data[:600].decode(errors="replace"))
    at = data.lower().find(b"content-length:", 0, head)
    if at < 0:
        raise RuntimeError("the answer does not state its length")
    length = int(data[at + 15 : data.find(b"\r\n", at)])
    return head + 4 + length if len(data) >= head + 4 + length else 0


class _Clients:
    """Connections that each send the next request once theirs is answered."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._count, self._requests = len(requests), iter(requests)
        self._poller = selectors.DefaultSelector()
        self._read: dict[socket.socket, bytes] = {}
        self._sent: dict[socket.socket, float] = {}
        self.waits: list[float] = []
        for _ in range(CLIENTS):
            one = socket.create_connection(("127.0.0.1", port))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poller.register(one, selectors.EVENT_READ)
            self._read[one] = b""

    def run(self) -> float:
        """Seconds until everything is answered."""
        started = time.perf_counter()
        for one in self._read:
            self._send(one)
        while len(self.waits) < self._count:
            for ready, _ in self._poller.select(timeout=60):
                self._receive(cast(socket.socket, ready.fileobj))
        elapsed = time.perf_counter() - started
        for one in self._read:
            one.close()
        return elapsed

    def _send(self, one: socket.socket) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._sent[one] = time.perf_counter()
            one.sendall(request)

    def _receive(self, one: socket.socket) -> None:
        more = one.recv(65536)
        if not more:
            raise RuntimeError("the server hung up")
        data = self._read[one] + more
        end = answer_end(data)
        self._read[one] = data[end:] if end else data
        if end:
            self.waits.append(time.perf_counter() - self._sent[one])
            self._send(one)


def main(port: str, path: str, count: str, run: str, method: str) -> int:
    requests = requests_of(method, path, os.environ["BENCH_KEY"], int(count), run)
    clients = _Clients(int(port), requests)
    rate, waits = len(requests) / clients.run(), sorted(clients.waits)
    median, late = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    sys.stdout.buffer.write(orjson.dumps([rate, median * 1000, late * 1000]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
