"""What a bucket keeps where readers see nothing, searched as the final scan reads it."""

import mmap
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import polars as pl

from connectors.adapters.base import ObjectFinding, StoreError
from connectors.clock import now
from connectors.scan.content import scan_content, scan_path
from connectors.scan.identifiers import Identifiers
from connectors.scan.record import Record
from connectors.storage import Folder, Hidden

UPLOAD_GRACE = timedelta(hours=1)  # how long an upload in progress is its writer's business


def hidden_findings(
    folder: Folder, identifiers: Identifiers, shown: Callable[[str], str], *, anything_else: bool
) -> list[ObjectFinding]:
    """Older versions and delete markers that name a person: findings of the kind "past".

    Nobody can read the parts of an upload that is in progress. One that is older than an hour goes
    with a person's other traces (kind "upload"), where there are any. `shown`: a path as plans may
    show it. Raises StoreError when the place does not answer.
    """
    hidden = folder.hidden()
    found = [
        ObjectFinding(f"{item.mark}{shown(item.path)}", item.bytes, 0, (), "past")
        for item in hidden
        if item.kind != "upload" and _is_named(folder, item, identifiers)
    ]
    if found or anything_else:
        found += [
            ObjectFinding(f"{item.mark}{shown(item.path)}", 0, 0, (), "upload")
            for item in hidden
            if item.kind == "upload" and now() - item.modified > UPLOAD_GRACE
        ]
    return found


def planned_items(hidden: Sequence[Hidden], objects: Sequence[str]) -> Iterator[Hidden]:
    """Those that findings named, by their ids."""
    marks = {f"{planned.partition('/')[0]}/" for planned in objects}
    return (item for item in hidden if item.mark in marks)


def planned_paths(hidden: Sequence[Hidden], objects: Sequence[str]) -> dict[str, str]:
    """The same by their paths: path → what the plan calls it."""
    called = {f"{planned.partition('/')[0]}/": planned for planned in objects}
    return {item.path: called[item.mark] for item in planned_items(hidden, objects)}


def _is_named(folder: Folder, item: Hidden, identifiers: Identifiers) -> bool:
    record = Record(identifiers)
    scan_path(item.path, record)
    if item.kind == "version" and item.bytes:
        try:
            with folder.opened(item.path, item.id) as location, location.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                scan_content(data, item.label, record)
        except StoreError:
            raise
        # What cannot be decoded was searched as bytes before; the scan will name it.
        except (Exception, pl.exceptions.PanicException):  # noqa: BLE001
            return bool(record.counts)
    return bool(record.counts or record.suspects)
