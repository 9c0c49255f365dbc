"""Why objects cannot be removed for good: a key without the right, and Object Lock."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from connectors.adapters.base import OptionError
from connectors.clock import now
from connectors.s3.access import Access, OtherAnswerError, RefusedError, TakenError
from connectors.s3.bucket import S3Bucket
from connectors.storage import Hidden

_MOST_LOCKS = 5  # named in a plan; the others are counted
_PROBE = ".vestige-probe"  # never written


def locks(
    bucket: S3Bucket,
    writer: Callable[[], Access] | None,
    shown: Mapping[str, str],
    *,
    replaces: bool,
) -> Iterator[str]:
    """Each a sentence with what to do; `shown`: the paths that go, and how to call them.

    `replaces`: whether the erasure writes objects itself."""
    yield from _missing_permissions(bucket, writer, replaces=replaces)
    configured = _object_lock(bucket)
    if configured is None:
        return
    if configured.get("Rule") and replaces:
        yield (
            f"The bucket {bucket.root.bucket} locks every new object by default, those too that an "
            "erasure writes and removes again. Have its default retention lifted for the erasure."
        )
    locked = []
    for item, _ in bucket.versions(bucket.prefix):
        if item.kind == "version" and item.path in shown and (why := _lock_on(bucket, item)):
            locked.append(f"{shown[item.path]} ({why})")
    for sentence in dict.fromkeys(locked[:_MOST_LOCKS]):
        yield (
            f"Object Lock keeps a version of {sentence}: it cannot be removed for good. Wait "
            "until then, or have whoever may do so lift it."
        )
    if len(locked) > _MOST_LOCKS:
        yield f"Object Lock keeps {len(locked) - _MOST_LOCKS} more versions."


def _missing_permissions(
    bucket: S3Bucket, writer: Callable[[], Access] | None, *, replaces: bool
) -> Iterator[str]:
    """Asks for what changes nothing: a version that does not exist is removed, and an object
    that does not exist is replaced on the condition that it is what it is not."""
    try:
        client = writer().client() if writer else bucket.client
    except OptionError:
        return  # the key is with the worker alone, so nobody here can say what it may do
    probe = bucket.at(_PROBE)
    probes: list[tuple[str, Any, dict[str, Any]]]
    probes = [("s3:DeleteObjectVersion", client.delete_object, {"VersionId": "null"})]
    if replaces:
        probes.append(("s3:PutObject", client.put_object, {"Body": b"", "IfMatch": '"0"'}))
    for action, call, more in probes:
        try:
            with bucket.told():
                call(**probe, **more)
        except (FileNotFoundError, TakenError):
            continue
        except RefusedError:
            yield (
                f"The key that erases may not do {action} in the bucket {bucket.root.bucket}. "
                "Have its policy extended, or name another key in the options "
                '"writer_key_id_env" and "writer_secret_key_env".'
            )


def _object_lock(bucket: S3Bucket) -> Mapping[str, Any] | None:
    """The bucket's configuration; None where there is no Object Lock."""
    try:
        with bucket.told():
            answer = bucket.client.get_object_lock_configuration(Bucket=bucket.root.bucket)
    except RefusedError:
        return {}  # nobody may say: then each version is asked
    except OtherAnswerError:
        return None  # the bucket was made without, or the store knows no such thing
    found: Mapping[str, Any] = answer.get("ObjectLockConfiguration", {})
    return found if found.get("ObjectLockEnabled") == "Enabled" else None


def _lock_on(bucket: S3Bucket, item: Hidden) -> str:
    with bucket.told():
        head = bucket.client.head_object(**bucket.at(item.path), VersionId=item.id)
    if head.get("ObjectLockLegalHoldStatus") == "ON":
        return "a legal hold"
    until = head.get("ObjectLockRetainUntilDate")
    if head.get("ObjectLockMode") and until and until > now():
        return f"{head['ObjectLockMode'].lower()} retention until {until:%Y-%m-%d}"
    return ""
