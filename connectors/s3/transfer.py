"""Bytes between a bucket and local files."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PART_BYTES = 64 << 20
_CHUNK = 1 << 20
_READS = 4  # attempts at one download: a body that breaks off is not retried by boto3


def download(client: Any, target: Path, **request: Any) -> str:
    """The ETag of what was read. Raises botocore's errors, OSError for the disk."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    for attempt in range(_READS):
        answer = client.get_object(**request)
        try:
            with contextlib.closing(answer["Body"]) as body, _private(target) as file:
                while chunk := body.read(_CHUNK):
                    file.write(chunk)
            break
        except (HTTPClientError, IncompleteReadError):
            if attempt == _READS - 1:
                raise
    return str(answer["ETag"])


def _private(target: Path) -> Any:
    target.touch(mode=0o600)
    return target.open("wb")


def upload(
    client: Any,
    source: Path,
    at: Mapping[str, str],
    condition: Mapping[str, str],
    attributes: Mapping[str, Any],
) -> None:
    """Write an object, in parts where it is large; the condition holds at the moment when it
    becomes visible. Raises botocore's errors, and leaves no part behind."""
    if source.stat().st_size <= PART_BYTES:
        with source.open("rb") as file:
            client.put_object(**at, Body=file, **condition, **attributes)
        return
    started = client.create_multipart_upload(**at, **attributes)["UploadId"]
    try:
        parts: list[dict[str, Any]] = []
        with source.open("rb") as file:
            while chunk := file.read(PART_BYTES):
                number = len(parts) + 1
                done = client.upload_part(**at, UploadId=started, PartNumber=number, Body=chunk)
                parts.append({"PartNumber": number, "ETag": done["ETag"]})
        client.complete_multipart_upload(
            **at, UploadId=started, MultipartUpload={"Parts": parts}, **condition
        )
    except BaseException:
        with contextlib.suppress(Exception):  # else the purge aborts it
            client.abort_multipart_upload(**at, UploadId=started)
        raise
