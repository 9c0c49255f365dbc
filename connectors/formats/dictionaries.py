"""Values in a Parquet file's dictionaries that no row has.

Arrow writes the categories of a column (of pandas, of a filtered table) as they are, used or not,
and other writers none but those in use. So a file may name a person whom no reader finds in it.
What is written anew has plain types: their dictionaries are made of the rows that are left.
"""

import itertools
from collections.abc import Mapping, Sequence
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
    with pq.ParquetFile(location) as file:
        if not str(file.metadata.created_by).startswith(_WRITER):
            return False
        columns = [file.schema.column(number) for number in range(len(file.schema))]
        paths = [c.path for c in columns if c.path in sought and c.physical_type == _TEXTS]
        metadata = file.metadata
    if not paths:
        return False
    tops = list(dict.fromkeys(path.split(".")[0] for path in paths))
    with pq.ParquetFile(location, metadata=metadata, read_dictionary=paths) as file:
        return any(
            _names(leaf, sought)
            for group in range(file.num_row_groups)
            for batch in itertools.islice(file.iter_batches(1, [group], tops), 1)
            for name, values in zip(batch.schema.names, batch.columns, strict=True)
            for leaf in leaves((name,), values)
        )


def _names(leaf: Leaf, sought: Mapping[str, Sequence[str]]) -> bool:
    identifiers = sought.get(".".join(leaf.path))
    if not identifiers or not pa.types.is_dictionary(leaf.values.type):
        return False
    found = pl.from_arrow(leaf.values.dictionary)
    assert isinstance(found, pl.Series)  # noqa: S101 (an array becomes a series)
    named = person_rows(pl.col("v"), found.dtype, identifiers)
    return not found.alias("v").to_frame().filter(named).is_empty()


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
