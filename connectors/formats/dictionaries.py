"""Values in a Parquet file's dictionaries that no row has.

Arrow writes the categories of a column (of pandas, of a filtered table) as they are, used or not,
and other writers none but those in use. So a file may name a person whom no reader finds in it.
What is written anew has plain types: their dictionaries are made of the rows that are left.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.people import person_rows
from connectors.scan.parquet import Leaf, leaves

_WRITER = "parquet-cpp-arrow"
_TEXTS = "BYTE_ARRAY"  # of other columns Arrow writes values, not categories


def is_in_a_dictionary(location: Path, sought: Mapping[str, Sequence[str]]) -> bool:
    """Whether a dictionary of the file names somebody. `sought`: where in the file (dots lead into
    structs) → their identifiers. Raises OSError, pyarrow's and polars' errors."""
    return any(_names(values, sought[path]) for path, values in dictionaries(location, sought))


def dictionaries(location: Path, paths: Collection[str]) -> Iterator[tuple[str, pl.Series]]:
    """The dictionaries of texts at these places in the file, row group by row group. Raises as
    `is_in_a_dictionary`."""
    texts = _texts(location, lambda path: path in paths)
    with pq.ParquetFile(location, read_dictionary=texts) as file:
        for group in range(file.num_row_groups if texts else 0):
            first = itertools.islice(file.iter_batches(1, [group], texts), 1)
            for leaf in _leaves(first):
                yield ".".join(leaf.path), _series(leaf.values.dictionary)


def has_unused_values(location: Path, tops: Collection[str]) -> bool:
    """Whether a dictionary of a text in one of these columns, or nested in it, has a value that no
    row has, as far as that can be told. Raises as `is_in_a_dictionary`."""
    texts = _texts(location, lambda path: path.split(".")[0] in tops)
    with pq.ParquetFile(location, read_dictionary=texts) as file:
        for group in range(file.num_row_groups if texts else 0):
            # All rows at once: of texts that outgrow it, a dictionary goes on from batch to batch.
            rows = file.metadata.row_group(group).num_rows
            for leaf in _leaves(file.iter_batches(max(rows, 1), [group], texts)):
                if len(leaf.values.indices.unique().drop_null()) < len(leaf.values.dictionary):
                    return True
    return False


def _texts(location: Path, is_wanted: Callable[[str], bool]) -> list[str]:
    """Columns of texts whose dictionaries may hold more than their rows."""
    with pq.ParquetFile(location) as file:
        if not str(file.metadata.created_by).startswith(_WRITER):
            return []
        columns = [file.schema.column(number) for number in range(len(file.schema))]
        return [c.path for c in columns if c.physical_type == _TEXTS and is_wanted(c.path)]


def _leaves(batches: Iterable[pa.RecordBatch]) -> Iterator[Leaf]:
    """What in them is made of a dictionary."""
    for batch in batches:
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            for leaf in leaves((name,), values):
                if pa.types.is_dictionary(leaf.values.type):
                    yield leaf


def _names(values: pl.Series, identifiers: Sequence[str]) -> bool:
    named = person_rows(pl.col("v"), values.dtype, identifiers)
    return not values.alias("v").to_frame().filter(named).is_empty()


def _series(values: pa.Array) -> pl.Series:
    found = pl.from_arrow(values)
    assert isinstance(found, pl.Series)  # noqa: S101 (an array becomes a series)
    return found


def plain_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([f.with_type(plain_type(f.type)) for f in schema])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries, which would bring values along that no row has any more."""
    if isinstance(kind, pa.ExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    return _plain_nested(kind) if pa.types.is_nested(kind) else kind


def _plain_nested(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(plain_type(f.type)) for f in kind])
    if pa.types.is_map(kind):
        key = kind.key_field.with_type(plain_type(kind.key_type))
        return pa.map_(key, kind.item_field.with_type(plain_type(kind.item_type)))
    inner = kind.value_field.with_type(plain_type(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(inner, kind.list_size)
    return pa.large_list(inner) if pa.types.is_large_list(kind) else pa.list_(inner)
