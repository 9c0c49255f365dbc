"""The quick comparison of columns with leaves, and of leaves with those before: by bytes, many rows
at once.

A canonical event has its members in alphabetical order, so that its columns foretell how it begins
(`{"actor":…,"by":…,`) and how it ends (`,"id":…` up to `"within":{…}}`). That is exact: a comma and
a member's name in the bytes at the end can only be members of the event itself, as every brace
behind them but the last is closed again.

Not confirmed this way, and left to audit.verification.columns, are entries with sealed facts
between those members, with texts that JSON escapes, and of version 1.
"""

from functools import cache
from typing import TYPE_CHECKING

from audit.ledger.leaf import HEADER, MAGIC, MAX_LEAF_BYTES
from audit.verification.layout import TEXTS, VERSION

if TYPE_CHECKING:
    import polars as pl


def confirmed(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The frame with the columns `confirmed` and `chained`; it has the COLUMNS, times in
    microseconds."""
    return frame.with_columns(
        _confirmed().fill_null(value=False).alias("confirmed"),
        _chained().fill_null(value=False).alias("chained"),
    )


@cache
def _chained() -> "pl.Expr":
    """Whether the leaf's header continues the row before, if the hash beside that one is its own.

    Of the first row it says nothing.
    """
    import polars as pl

    leaf, time = pl.col("leaf").bin, _number(12)
    before = time.shift(1)
    return (
        leaf.starts_with(MAGIC)
        & leaf.size().is_between(HEADER.size + 1, MAX_LEAF_BYTES)
        & (_number(4) == pl.col("seq"))
        & (before >= 0)  # above 2**63 it would seem negative, and any time later
        & (time >= before)
        & (leaf.slice(20, 32) == pl.col("leaf_hash").shift(1))
    )


def _number(at: int) -> "pl.Expr":
    """Eight bytes of the header."""
    import polars as pl

    leaf = pl.col("leaf").bin
    return leaf.slice(at, 8).bin.reinterpret(dtype=pl.Int64, endianness="big")


@cache
def _confirmed() -> "pl.Expr":
    import polars as pl  # 60 MB and 0.3 s that only verification needs

    column, text = pl.col, pl.lit

    def member(name: str, stored: str) -> "pl.Expr":
        return pl.concat_str(text(f',"{name}":"'), column(stored), text('"'))

    def optional(name: str) -> "pl.Expr":
        return pl.when(column(name) == "").then(text("")).otherwise(member(name, name))

    begins = pl.concat_str(
        text('{"actor":"'), column("actor"), text('","by":"'), column("by"), text('",')
    ).cast(pl.Binary)
    happened = column("occurred_at").cast(pl.Datetime("us"))
    ends = pl.concat_str(
        member("id", "event_id"),
        happened.dt.strftime(',"occurred_at":"%Y-%m-%dT%H:%M:%S%.6fZ"').fill_null(""),
        optional("parent_id"),
        member("resource", "resource"),
        optional("resource_version"),
        optional("subject"),
        member("type", "type"),
        text(f',"v":{VERSION},"within":{{"nth":'),
        column("nth").cast(pl.String),
        pl.concat_str(text(',"previous":'), column("previous")).fill_null(""),
        text("}}"),
    ).cast(pl.Binary)
    leaf = column("leaf").bin
    # With a quote in them, texts could be cut apart at other places than the event has them.
    escaped = pl.concat_str(*(column(name) for name in TEXTS)).str.contains_any(['"', "\\"])
    return (
        leaf.ends_with(ends)
        & leaf.slice(HEADER.size).bin.starts_with(begins)
        & (_number(12) == column("recorded_at"))
        & ~escaped
    )
