"""How far a long check is: one line on a terminal, and nothing where there is none."""

import time
from types import TracebackType
from typing import Self, TextIO

_EVERY_SECONDS = 0.5


class Meter:
    """`show(done, total)` writes "1,200,000 of 10,000,000 (12 %), 310,000/s, 29 s left"."""

    def __init__(self, out: TextIO, *, what: str = "entries") -> None:
        self._out, self._what = out, what
        self._on = out.isatty()
        self._began = self._last = time.monotonic()
        self._first: int | None = None

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if not self._on or now - self._last < _EVERY_SECONDS or not total:
            return
        self._last = now
        rate = (done - self._first) / (now - self._began)
        left = f", {_span((total - done) / rate)} left" if rate else ""
        self._out.write(
            f"\r\x1b[K{done:,} of {total:,} {self._what} ({100 * done // total} %),"
            f" {rate:,.0f}/s{left}"
        )
        self._out.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._on:
            self._out.write("\r\x1b[K")
            self._out.flush()


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
