"""The rendered documents on disk, below VESTIGE_DOCUMENTS. Rows keep the relative name."""

import os
import secrets
from pathlib import Path
from typing import BinaryIO

from django.conf import settings


class DocumentFileMissingError(Exception):
    """The row says that the document exists, the disk says that it does not."""


def _path(name: str) -> Path:
    root: Path = settings.VESTIGE_DOCUMENTS
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{name} leads out of the documents' folder")
    return path


def write(name: str, data: bytes) -> None:
    """Durable and all or nothing: a crash leaves the old file or the new one, never half of one."""
    path = _path(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    with half.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def opened(name: str) -> BinaryIO:
    """The document for reading. Raises DocumentFileMissingError."""
    try:
        return _path(name).open("rb")
    except FileNotFoundError as exc:
        raise DocumentFileMissingError(
            f"The file {name} is gone from the documents' folder. Restore it from the backup, "
            "or render the document again."
        ) from exc


def read(name: str) -> bytes:
    """The document's bytes. Raises DocumentFileMissingError."""
    with opened(name) as file:
        return file.read()
