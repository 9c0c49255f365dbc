"""Buckets with a person in them, and what is in a bucket read without our code."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable, write_deltalake

from connectors.adapters.delta import DeltaStore
from connectors.adapters.files import FilesStore
from connectors.s3 import Access, S3Folder, S3Place
from tests.connectors.builders import CHANGES, COLUMNS, customers
from tests.connectors.folders import folder_with_person
from tests.connectors.s3_server import S3Server

Held = Mapping[tuple[str, str], str]  # (key, version id) → ETag, of everything in a bucket


@dataclass(frozen=True)
class Bucket:
    server: S3Server
    name: str

    @classmethod
    def new(cls, server: S3Server, *, versioned: bool, locks: bool = False) -> "Bucket":
        bucket = cls(server, f"lake-{uuid.uuid4().hex[:12]}")
        bucket.client.create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=locks)
        if versioned:
            bucket.client.put_bucket_versioning(
                Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
            )
        return bucket

    @property
    def client(self) -> Any:
        return self.server.client()

    def folder(self, prefix: str = "lake") -> S3Folder:
        return S3Folder(S3Place(self.name, prefix), Access.of(self.server.options, "reader"))

    def put(self, key: str, body: bytes, **more: Any) -> str:
        answer = self.client.put_object(Bucket=self.name, Key=key, Body=body, **more)
        return str(answer.get("VersionId", "null"))

    def body(self, key: str, version: str = "") -> bytes:
        more = {"VersionId": version} if version else {}
        return bytes(self.client.get_object(Bucket=self.name, Key=key, **more)["Body"].read())

    def held(self, prefix: str = "") -> Held:
        """Every version and delete marker."""
        answer = self.client.list_object_versions(Bucket=self.name, Prefix=prefix)
        assert not answer["IsTruncated"]
        found = {(i["Key"], i["VersionId"]): i["ETag"] for i in answer.get("Versions", ())}
        return found | {(i["Key"], i["VersionId"]): "" for i in answer.get("DeleteMarkers", ())}

    def bodies(self, prefix: str = "") -> dict[tuple[str, str], bytes]:
        return {place: self.body(*place) for place, etag in self.held(prefix).items() if etag}

    def fill(self, folder: Path, prefix: str = "lake") -> None:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def files_with_person(bucket: Bucket, scratch: Path) -> None:
    """As `folder_with_person`; a file that names nobody, with an older version; a file without
    the person now, whose older version has them; a deleted one that had them."""
    bucket.fill(folder_with_person(scratch / "files"))
    for row in ("c-000009,,first\r\n", "c-000009,,second\r\n"):
        bucket.put("lake/others.csv", f"customer_id,email,note\r\n{row}".encode())
    bucket.put("lake/was.csv", b"customer_id,email,note\r\nc-000042,,old\r\n")
    bucket.put("lake/was.csv", b"customer_id,email,note\r\nc-000011,,new\r\n")
    bucket.put("lake/gone.csv", b"customer_id,email,note\r\nc-000042,,gone\r\n")
    bucket.client.delete_object(Bucket=bucket.name, Key="lake/gone.csv")


def table_with_person(bucket: Bucket, prefix: str = "lake") -> dict[str, str]:
    """As its namesake on disk: the person in five versions, in files and in change data.

    Returns deltalake's options for the table.
    """
    uri, options = f"s3://{bucket.name}/{prefix}", bucket.server.storage_options
    frames = (
        customers(100, 150, person=True),
        customers(150, 200),
        customers(200, 250, person=True),
    )
    for number, frame in enumerate(frames):
        write_deltalake(
            uri, frame.rechunk().to_arrow(), mode="append", storage_options=options,
            configuration=CHANGES if not number else None,
        )  # fmt: skip
    table = DeltaTable(uri, storage_options=options)
    table.update(predicate="email = 'Ann.Archer@Mail.example'", new_values={"bought": 9})
    return options


def append(bucket: Bucket, frame: pl.DataFrame, prefix: str = "lake") -> None:
    write_deltalake(
        f"s3://{bucket.name}/{prefix}", frame.rechunk().to_arrow(), mode="append",
        storage_options=bucket.server.storage_options,
    )  # fmt: skip


def rows_of(bucket: Bucket, prefix: str = "lake") -> pl.DataFrame:
    table = DeltaTable(
        f"s3://{bucket.name}/{prefix}", storage_options=bucket.server.storage_options
    )
    return pl.DataFrame(table.to_pyarrow_table()).sort(pl.all())


def files_store(bucket: Bucket) -> FilesStore:
    return FilesStore(bucket.folder(), COLUMNS)


def delta_store(bucket: Bucket) -> DeltaStore:
    return DeltaStore(bucket.folder(), COLUMNS)
