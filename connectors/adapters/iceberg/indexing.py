"""What the subject index of an Iceberg table is made from."""

from collections.abc import Sequence

from connectors.adapters.iceberg.find import physical_targets
from connectors.adapters.iceberg.person import Person
from connectors.adapters.iceberg.table import TableView
from connectors.index import ParquetSource, SubjectIndex


def index_sources(
    view: TableView, subject_columns: Sequence[str], index: SubjectIndex
) -> dict[str, ParquetSource]:
    """Every file with rows, or with values of rows that it hides, by its segment's name. Raises
    StoreError."""
    person = Person(view, subject_columns, {})
    columns = person.marks_of(subject_columns)
    entries = view.folder.entries()
    present = {entry.path: entry for entry in entries}
    files = [present[target.path] for target in physical_targets(view, entries)]
    return {
        index.name_of(f, columns): ParquetSource(view.folder, f, person.columns_in) for f in files
    }
