"""Requests about the objects below one prefix, and what they answer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from connectors.s3.access import Access, RefusedError, told
from connectors.s3.place import S3Place
from connectors.storage import FileEntry, Hidden

_BATCH = 1000  # versions that one request may delete


class S3Bucket:
    """A bucket, or what has a prefix in it. Methods raise what `connectors.s3.access.told` says."""

    def __init__(self, place: S3Place, access: Access) -> None:
        self.root = place
        self.access = access
        self.client = access.client()

    def told(self) -> AbstractContextManager[None]:
        return told(f"The bucket {self.root.bucket} at {self.access.host}")

    def at(self, path: str) -> dict[str, str]:
        return {"Bucket": self.root.bucket, "Key": self.root.key(path)}

    def pages(self, operation: str, prefix: str, **more: Any) -> Iterator[Mapping[str, Any]]:
        pages = self.client.get_paginator(operation).paginate(
            Bucket=self.root.bucket, Prefix=prefix, **more
        )
        with self.told():
            yield from pages

    @property
    def prefix(self) -> str:
        return self.root.key("")

    def objects(self) -> list[FileEntry]:
        found = [
            FileEntry(self.root.path(item["Key"]), int(item["Size"]), utc(item["LastModified"]))
            for page in self.pages("list_objects_v2", self.prefix)
            for item in page.get("Contents", ())
        ]
        return sorted((e for e in found if e.path), key=lambda entry: entry.path)

    def uploads(self, prefix: str) -> Iterator[Hidden]:
        for page in self.pages("list_multipart_uploads", prefix):
            for item in page.get("Uploads", ()):
                path = self.root.path(item["Key"])
                yield Hidden(path, "upload", item["UploadId"], 0, utc(item["Initiated"]))

    def versions(self, prefix: str) -> Iterator[tuple[Hidden, bool]]:
        """Everything that has a version id, newest first within a key; whether readers see it."""
        for page in self.pages("list_object_versions", prefix):
            for item in page.get("Versions", ()):
                yield self._hidden("version", item), bool(item["IsLatest"])
            for item in page.get("DeleteMarkers", ()):
                yield self._hidden("marker", item), False

    def _hidden(self, kind: Literal["version", "marker"], item: Mapping[str, Any]) -> Hidden:
        path, size = self.root.path(item["Key"]), int(item.get("Size", 0))
        return Hidden(path, kind, item["VersionId"], size, utc(item["LastModified"]))

    def head(self, path: str) -> Mapping[str, Any]:
        with self.told():
            answer: Mapping[str, Any] = self.client.head_object(**self.at(path))
            return answer

    def remove_all(self, items: Sequence[Hidden]) -> None:
        """Oldest first: an older version must not become what readers see, not even for long."""
        for item in items:
            if item.kind == "upload":
                with self._told_unless_gone():
                    self.client.abort_multipart_upload(**self.at(item.path), UploadId=item.id)
        listed = [i for i in reversed(items) if i.kind != "upload"]
        versions = sorted(listed, key=lambda i: (i.kind == "marker", i.modified))
        for start in range(0, len(versions), _BATCH):
            doomed = [
                {"Key": self.root.key(item.path), "VersionId": item.id}
                for item in versions[start : start + _BATCH]
            ]
            with self.told():
                answer = self.client.delete_objects(
                    Bucket=self.root.bucket, Delete={"Objects": doomed, "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise RefusedError(
                    f"The bucket {self.root.bucket} kept {len(errors)} versions of objects that "
                    f"were to be removed ({errors[0].get('Code', 'no code')}). Permit "
                    "s3:DeleteObjectVersion, or wait until Object Lock lets go; then run the same "
                    "step again."
                )

    @contextmanager
    def _told_unless_gone(self) -> Iterator[None]:
        try:
            with self.told():
                yield
        except FileNotFoundError:
            return


def utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
