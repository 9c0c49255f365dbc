"""A process of clients for bench.append: eight threads, each on a connection that stays open.

Arguments: port, key, which process this is, how many requests it sends in all.
"""

import http.client
import sys
import threading

import orjson

THREADS = 8


def _body(number: int, run: str) -> bytes:
    return orjson.dumps(
        {
            "id": f"{run}-{number:08d}-4e0f-9c1d-aa00bb11cc22", "type": "TRANSFORM",
            "actor": f"service:pipeline-{number % 7}",
            "resource": f"dataset:warehouse:purchases_{number % 50}",
            "resource_version": str(number), "occurred_at": "2026-01-31T12:00:00.000000Z",
            "parent_id": f"run-{number // 100:06d}",
            "details": {
                "rows": number, "digest": f"{number:064x}",
                "columns": ["customer", "date", "amount"], "job": "feature_build",
            },
        }
    )  # fmt: skip


def main(port: int, key: str, process: int, count: int) -> int:
    faults: list[str] = []

    def send(first: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        for number in range(first, count, THREADS):
            client.request("POST", "/api/v1/events", _body(number, f"r{process}"), headers)
            answer = client.getresponse()
            if answer.status != 201:
                faults.append(f"{answer.status}: {answer.read()[:200]!r}")
                return
            answer.read()

    threads = [threading.Thread(target=send, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stderr.write("".join(f"{fault}\n" for fault in faults[:3]))
    return 1 if faults else 0


if __name__ == "__main__":
    port, key, process, count = sys.argv[1:]
    sys.exit(main(int(port), key, int(process), int(count)))
