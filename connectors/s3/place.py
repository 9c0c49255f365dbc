"""Where a folder in a bucket is: s3://bucket/prefix."""

import re
from dataclasses import dataclass

from connectors.adapters.base import StoreError

_SCHEME = re.compile(r"s3a?://", re.IGNORECASE)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class S3Place:
    """`prefix`: what the keys of the folder's objects begin with before "/"; may be empty."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def name(self) -> str:
        return self.prefix.rpartition("/")[2] or self.bucket

    def key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def path(self, key: str) -> str:
        return key[len(self.prefix) + 1 :] if self.prefix else key

    def is_below(self, other: "S3Place") -> bool:
        within = f"{other.prefix}/" if other.prefix else ""
        return self.bucket == other.bucket and f"{self.prefix}/".startswith(within)


def is_s3(location: str) -> bool:
    return _SCHEME.match(location.strip()) is not None


def parse_s3(location: str) -> S3Place:
    """Raises StoreError with a sentence that says how to write it."""
    bucket, _, prefix = _SCHEME.sub("", location.strip(), count=1).partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise StoreError(
            "The location names no bucket. Write it as in s3://lake/shop/customers, without a user "
            "name, a password or a host."
        )
    prefix = prefix.strip("/")
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") for part in parts) or "\x00" in prefix:
        raise StoreError(
            'The location has an empty part, "." or ".." in its path. Write the prefix of the '
            "objects as it is, as in s3://lake/shop/customers."
        )
    return S3Place(bucket, prefix)
