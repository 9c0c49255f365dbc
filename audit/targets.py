"""Where a log's files can be put: a folder, or a bucket that speaks S3."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

_DRAFT = ".incoming"
_BUCKET = "s3://"
_TEXTS = frozenset({"checkpoint", "vkey"})


class TargetError(RuntimeError):
    """The place cannot be read or written now; the message says why."""


class Target(Protocol):
    """Files by their paths, as in tile/0/x001/067. Each method raises TargetError."""

    name: str

    def read(self, path: str) -> bytes | None:
        """The content; None if there is no such file."""

    def write(self, path: str, data: bytes) -> None:
        """Whole or not at all, over what is there."""

    def settle(self) -> None:
        """Returns when all that was written survives a power cut."""

    def clear(self, path: str) -> None:
        """Take away what lies below this path."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else on this machine writes here meanwhile."""


def target_of(address: str) -> Target:
    """The place that a setting names: /a/folder or s3://bucket/prefix. Raises TargetError."""
    if address.startswith(_BUCKET):
        return BucketTarget(address)
    if not address.startswith("/"):
        raise TargetError(f"{address!r} is no place: write /a/folder or s3://bucket/prefix.")
    return FolderTarget(Path(address))


class FolderTarget:
    """A folder, made if need be. A file appears under its name when it is complete."""

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root

    def read(self, path: str) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise TargetError(f"{self._root / path} cannot be read: {exc.strerror}.") from exc

    def write(self, path: str, data: bytes) -> None:
        target, draft = self._root / path, self._root / _DRAFT
        try:
            draft.write_bytes(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(target)
        except OSError as exc:
            raise TargetError(f"{target} cannot be written: {exc.strerror}.") from exc

    def settle(self) -> None:
        os.sync()  # all at once: a flush for each of thousands of files would take minutes

    def clear(self, path: str) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._root / path)

    @contextmanager
    def held(self) -> Iterator[None]:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as exc:
            raise TargetError(f"{self._root} cannot be used: {exc.strerror}.") from exc
        try:
            try:
                # Goes with the process: a killed one leaves no lock behind, only its last draft.
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise TargetError(f"Another process is writing into {self._root}.") from exc
            try:
                yield
            finally:
                with suppress(OSError):
                    (self._root / _DRAFT).unlink(missing_ok=True)
                # By name: a child that another thread has just forked shares the lock for a moment.
                fcntl.flock(folder, fcntl.LOCK_UN)
        finally:
            os.close(folder)


class BucketTarget:
    """Objects below a prefix; a store puts an object whole or not at all."""

    def __init__(self, address: str) -> None:
        bucket, _, prefix = address.removeprefix(_BUCKET).partition("/")
        if not bucket:
            raise TargetError(f"{address!r} names no bucket: write s3://bucket/prefix.")
        self.name = address
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = _client()

    def read(self, path: str) -> bytes | None:
        with self._told(f"{path} cannot be read"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)
            except self._client.exceptions.NoSuchKey:
                return None
            data: bytes = answer["Body"].read()
            return data

    def write(self, path: str, data: bytes) -> None:
        text = path in _TEXTS
        with self._told(f"{path} cannot be written"):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + path,
                Body=data,
                ContentType="text/plain; charset=utf-8" if text else "application/octet-stream",
                CacheControl="no-cache" if text else "public, max-age=31536000, immutable",
            )

    def settle(self) -> None:
        """An object that was taken is kept."""

    def clear(self, path: str) -> None:
        with self._told(f"{path} cannot be taken away"):
            found = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=f"{self._prefix}{path}/"
            )
            for item in found.get("Contents", []):
                self._client.delete_object(Bucket=self._bucket, Key=item["Key"])

    @contextmanager
    def held(self) -> Iterator[None]:
        yield  # the claim of whoever publishes is all there is

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as exc:
            code = exc.response.get("Error", {}).get("Code", "no code")
            raise TargetError(f"{self.name}: {what}: the store answers {code}.") from exc
        except BotoCoreError as exc:
            raise TargetError(f"{self.name}: {what} ({type(exc).__name__}).") from exc


def _client() -> Any:
    # Here, because importing it takes longer than starting the rest, and few need it.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    endpoint = settings.VESTIGE_S3_ENDPOINT or None
    try:
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            config=Config(
                connect_timeout=5,
                read_timeout=30,
                retries={"max_attempts": 3, "mode": "standard"},
                # Stores that are not Amazon's know neither buckets as host names nor checksums.
                s3={"addressing_style": "path"} if endpoint else {},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except (BotoCoreError, ValueError) as exc:
        raise TargetError(f"The S3 client cannot be made ({type(exc).__name__}).") from exc
