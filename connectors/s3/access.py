"""Signing in to an S3 store, and what its answers mean.

Options: `endpoint_url` (of a store other than Amazon's), `region`, and for each role a key by
reference: `key_id_env` or `key_id_file` with `secret_key_env` or `secret_key_file`, the same with
`writer_` and `verifier_` before them. Without a key boto3 looks where it always does: variables of
the environment, its own files, the role of the machine.

No request leaves for another host than the endpoint's own: what a store answers (redirects to
other regions) and what the environment says (AWS_ENDPOINT_URL) cannot lead elsewhere.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from connectors.adapters.base import OptionError, StoreError, StoreNotFoundError
from connectors.references import Role, for_roles, prefix_for, secret

ATTEMPTS = 6  # at one request, with growing pauses: about 15 seconds
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_KEY_OPTIONS = ("key_id_env", "key_id_file", "secret_key_env", "secret_key_file")
OPTIONS = ("endpoint_url", "region", *for_roles(*_KEY_OPTIONS))
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MISSING = ("404", "405", "NoSuchKey", "NoSuchVersion", "NoSuchUpload", "MethodNotAllowed")
_TAKEN = ("412", "PreconditionFailed", "ConditionalRequestConflict")
_REFUSED = ("403", "AccessDenied", "AllAccessDisabled", "AccessDeniedByLock")
_UNKNOWN_KEY = (
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
)  # fmt: skip
_UNWELL = (
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling",
    "RequestLimitExceeded", "500", "502", "503", "504",
)  # fmt: skip


_making = threading.Lock()  # a session makes one client at a time


@cache
def _session() -> Any:
    """What all clients of this process share: descriptions of the service, and found keys."""
    # Here, because importing it takes longer than starting the rest, and few need it.
    import boto3

    return boto3.session.Session()


class RefusedError(StoreError):
    """The store does not permit an operation to this key."""


class OtherAnswerError(StoreError):
    """The store answers something that has no class of its own here."""


class TakenError(Exception):
    """A condition of a request did not hold: the object is there already, or is another one."""


class UnchangedError(Exception):
    """The object is what the one who asks has already."""


@dataclass(frozen=True)
class Access:
    """How to reach a store. `key_id` and `secret_key` are empty where boto3 finds its own.

    Pickled it holds no key: who unpickles it has the `references` resolved where that is.
    """

    endpoint: str
    region: str
    own_endpoint: bool  # not Amazon's
    key_id: str = ""
    secret_key: str = field(default="", repr=False)
    references: Mapping[str, Any] = field(default_factory=dict, compare=False)  # the options
    role: Role = "reader"

    def __reduce__(self) -> tuple[Any, ...]:
        return Access.of, (self.references, self.role)

    @classmethod
    def of(cls, options: Mapping[str, Any], role: Role) -> "Access":
        """Raises OptionError, which never holds a secret."""
        region = str(options.get("region") or "")
        endpoint = str(options.get("endpoint_url") or "")
        if not endpoint and not region:
            raise OptionError(
                'Name the bucket\'s region in the option "region", as in region = eu-central-1, or '
                'the address of another store in "endpoint_url".'
            )
        prefix = prefix_for(options, role, _KEY_OPTIONS)
        key_id = secret(
            options, f"{prefix}key_id", example="LAKE_ACCESS_KEY_ID", ending="ACCESS_KEY_ID"
        )
        key = secret(
            options,
            f"{prefix}secret_key",
            example="LAKE_SECRET_ACCESS_KEY",
            ending="SECRET_ACCESS_KEY",
        )
        if bool(key_id) != bool(key):
            raise OptionError(
                f'A key has two parts: name both "{prefix}key_id_env" (or _file) and '
                f'"{prefix}secret_key_env" (or _file), or neither.'
            )
        return cls(
            endpoint=_checked(endpoint) if endpoint else f"https://s3.{region}.amazonaws.com",
            region=region or "us-east-1",
            own_endpoint=bool(endpoint),
            key_id=key_id,
            secret_key=key,
            references={name: options[name] for name in OPTIONS if options.get(name)},
            role=role,
        )

    @property
    def host(self) -> str:
        return (urlsplit(self.endpoint).hostname or "").lower()

    @property
    def port(self) -> int:
        parts = urlsplit(self.endpoint)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def client(self) -> Any:
        """Raises StoreError."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path"} if self.own_endpoint else {},
        )
        try:
            with _making:
                made = _session().client(
                    "s3",
                    endpoint_url=self.endpoint,
                    region_name=self.region,
                    aws_access_key_id=self.key_id or None,
                    aws_secret_access_key=self.secret_key or None,
                    config=config,
                )
        except (BotoCoreError, ValueError) as exc:
            raise StoreError(f"The S3 client cannot be made ({type(exc).__name__}).") from exc
        made.meta.events.register("before-send.s3", self._stay)
        return made

    def _stay(self, request: Any, **_: Any) -> None:
        host = (urlsplit(request.url).hostname or "").lower()
        if host != self.host and not host.endswith(f".{self.host}"):
            raise StoreError(
                f"The store at {self.host} leads to another host, which is not asked. Correct the "
                'option "region" or "endpoint_url".'
            )


def _checked(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        host = (parts.hostname or "").lower()
        _ = parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/"):
        raise OptionError(
            'The option "endpoint_url" is an address without a path, as in '
            "https://minio.example:9000."
        )
    if "@" in endpoint or parts.query or parts.fragment:
        raise OptionError(
            'The option "endpoint_url" holds a user name, a password or parameters. Keys are given '
            'by reference, in "key_id_env" and "secret_key_env".'
        )
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise OptionError(
            "A store on another host is reached by https:// only: the address http:// would send "
            "its answers in the open."
        )
    return endpoint.rstrip("/")


def _no_key(place: str) -> str:
    return (
        f"{place} wants a key, and none was found. Name the variables that hold one in the options "
        '"key_id_env" and "secret_key_env".'
    )


@contextmanager
def told(place: str) -> Iterator[None]:
    """What the store answers, as errors of ours, whose messages hold no key and no path.

    Raises FileNotFoundError, TakenError, UnchangedError, RefusedError, StoreError. `place`: with
    what messages begin.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as exc:
        raise _fault(place, exc.response) from None
    except NoCredentialsError:
        raise StoreError(_no_key(place)) from None
    except BotoCoreError as exc:
        raise StoreError(
            f"{place} cannot be reached ({type(exc).__name__}), also after {ATTEMPTS} attempts. "
            "Nothing is lost: run the same step again when it answers."
        ) from None


def _fault(place: str, response: Mapping[str, Any]) -> Exception:
    code = str(response.get("Error", {}).get("Code", ""))
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    for known, fault in (
        (("NoSuchBucket",), StoreNotFoundError(f"{place}: there is no such bucket.")),
        (_MISSING, FileNotFoundError(2, "the object is not there any more")),
        (_TAKEN, TakenError()),
        (("304", "NotModified"), UnchangedError()),
        (_UNKNOWN_KEY, StoreError(f"{place} refused the key ({code}). Give a valid one.")),
        (_REFUSED, RefusedError(_refusal(place, code))),
        (
            _UNWELL,
            StoreError(
                f"{place} is overloaded or unwell ({code}), also after {ATTEMPTS} attempts. "
                "Nothing is lost: run the same step again later."
            ),
        ),
    ):
        if code in known or (status in known and code.isdigit()):
            return fault
    return OtherAnswerError(f"{place} answers {code or status}.")


def _refusal(place: str, code: str) -> str:
    return f"{place} does not permit this to the key in use ({code}). Have its policy extended."
