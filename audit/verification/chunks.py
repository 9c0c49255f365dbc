"""A stretch of the stored log as it is read: leaves and hashes to follow, columns to compare."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.verification.confirming import confirmed
from audit.verification.layout import COLUMNS, PLACES, TIMES, microseconds

if TYPE_CHECKING:
    import polars as pl

Values = Mapping[str, Any]


class Chunk:
    """Rows of audit_entry in the order of their numbers.

    `numbers`, `leaves` and `hashes` are the values of these columns, whatever they are. All rows
    below `stop` were looked for.
    """

    stop = 0

    def __init__(
        self, rows: Sequence[Sequence[Any]] = (), frame: "pl.DataFrame | None" = None
    ) -> None:
        # On the quick way a table of columns; where the database holds what no such table can
        # (somebody may have put anything there) the bare rows.
        self._rows, self._frame = rows, frame
        if frame is None:
            self.numbers = [row[0] for row in rows]
            self.leaves, self.hashes = [row[1] for row in rows], [row[2] for row in rows]
        else:
            self.numbers = frame["seq"].to_list()
            self.leaves, self.hashes = frame["leaf"].to_list(), frame["leaf_hash"].to_list()

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> "Chunk":
        """The rows from the index `start` on, up to `stop`."""
        if (start, stop) == (0, len(self)):
            return self
        if self._frame is not None:
            return Chunk(frame=self._frame.slice(start, stop - start))
        return Chunk(self._rows[start:stop])

    def well_placed(self, start: int) -> int:
        """How many rows, from the first on, have the numbers from `start` on and bytes for a
        leaf."""
        if self._frame is not None and self._is_well_placed(self._frame, start):
            return len(self)
        wrong = (
            at
            for at, (number, leaf) in enumerate(zip(self.numbers, self.leaves, strict=True))
            if number != start + at or type(leaf) is not bytes
        )
        return next(wrong, len(self))

    @staticmethod
    def _is_well_placed(frame: "pl.DataFrame", start: int) -> bool:
        import polars as pl

        expected = pl.int_range(start, start + len(frame), eager=True)
        return not frame["leaf"].null_count() and frame["seq"].equals(expected)

    def is_chained(self, start: int, stop: int) -> bool:
        """Whether every leaf but the first of these continues the one before, given that the hashes
        beside them are theirs. False also where it is not known."""
        return self._frame is not None and bool(self._frame["chained"][start + 1 : stop].all())

    def unconfirmed(self, count: int) -> Iterator[Values]:
        """Those of the first `count` rows whose columns were not found to be those of the leaf.

        Values by the name of the column, times in microseconds since 1970 UTC.
        """
        if self._frame is not None:
            frame = self._frame.head(count)
            if not frame["confirmed"].all():
                yield from frame.remove("confirmed").iter_rows(named=True)
            return
        for row in self._rows[:count]:
            found = dict(zip(COLUMNS, row, strict=True))
            yield found | {name: microseconds(found[name]) for name in TIMES}


def chunk_of_rows(rows: Sequence[Sequence[Any]]) -> Chunk:
    """From rows with the COLUMNS; times as datetimes, or as the text that SQLite stores."""
    import polars as pl

    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, pl.String)
    kinds |= {"leaf": pl.Binary, "leaf_hash": pl.Binary}
    kinds |= dict.fromkeys(("seq", *TIMES, *PLACES), pl.Int64)
    values = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    columns: dict[str, Sequence[Any]] = dict(zip(COLUMNS, values, strict=True))
    try:
        for name in TIMES:
            known = {time: microseconds(time) for time in set(columns[name])}  # a batch has one
            columns[name] = [known[time] for time in columns[name]]
        return Chunk(rows, confirmed(pl.DataFrame(columns, schema=kinds, strict=True)))
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return Chunk(rows)
