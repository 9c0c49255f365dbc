"""What Vestige asks a lakeFS server for, through the vendor's own client.

Redirects are refused and objects are never asked for by a signed address: what is sent goes to the
one server that the connector names. What a server says of an error is not quoted, since it may
repeat a path, and with it a name.

The vendor's client is imported where it is used: that takes longer than all else that starts.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import urllib3

from connectors.adapters.base import OptionError, StoreError, StoreNotFoundError
from connectors.adapters.lakefs.location import Place
from connectors.references import HOW_TO_SIGN_IN, Credential

if TYPE_CHECKING:
    from lakefs_sdk.models.commit import Commit
    from lakefs_sdk.models.diff import Diff
    from lakefs_sdk.models.object_stats import ObjectStats
    from lakefs_sdk.models.repository import Repository

# At the level DEBUG it would log the bodies of answers, which are people's rows.
logging.getLogger("lakefs_sdk").setLevel(logging.WARNING)

PAGE = 1000  # the most that the server gives at once
_PATIENCE = (10.0, 120.0)  # seconds to connect, and to read
_RETRIES = urllib3.Retry(
    3,
    redirect=0,
    status_forcelist=(429, 502, 503),
    allowed_methods=("GET", "HEAD"),
    backoff_factor=0.2,
    raise_on_status=False,
)
_GONE = (404, 410)
_Answer = TypeVar("_Answer")
_Item = TypeVar("_Item")


class RefusedError(StoreError):
    """The server refuses a change as things are. `status`: 400, 403, 409 or 412, as HTTP has it."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ObjectGoneError(StoreError):
    """There is no such object, or its data is not there any more."""


class Lakefs:
    """One repository of one server, as one user. Methods raise StoreError."""

    def __init__(self, place: Place, credential: Credential) -> None:
        if not credential.user or not credential.password:
            raise OptionError(
                'Name the access key in the option "user", and the variable or the file that holds '
                f'its secret in "password_env" or "password_file". {HOW_TO_SIGN_IN}'
            )
        from lakefs_sdk.client import LakeFSClient
        from lakefs_sdk.configuration import Configuration

        self.place = place
        configuration = Configuration(
            host=f"{place.base}/api/v1", username=credential.user, password=credential.password
        )
        configuration.retries = _RETRIES  # type: ignore[assignment]  # the client states no type
        self._api = LakeFSClient(configuration)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._api._api.rest_client.pool_manager.clear()

    def _ask(self, call: Callable[..., _Answer], *arguments: Any, **named: Any) -> _Answer:
        from lakefs_sdk.exceptions import ApiException

        try:
            return call(self.place.repository, *arguments, _request_timeout=_PATIENCE, **named)
        except ApiException as exc:
            raise self._fault(exc.status) from None
        except urllib3.exceptions.HTTPError as exc:
            raise StoreError(
                f"The lakeFS server {self.place.host}:{self.place.port} cannot be reached or broke "
                f"off ({type(exc).__name__}). Check the address, and whether it is running."
            ) from None
        except ValueError as exc:  # the models check every answer
            raise StoreError(
                f"What answers at {self.place.host}:{self.place.port} does not answer as lakeFS "
                f"does ({type(exc).__name__}). Check the address."
            ) from None

    def _fault(self, status: int) -> StoreError:
        server = f"{self.place.host}:{self.place.port}"
        if status == 0:
            return StoreError(f"The certificate of {server} is not trusted by this machine.")
        if status == 401:
            return StoreError(
                f"The lakeFS server {server} does not accept the access key. Check the options "
                '"user" and "password_env" or "password_file", and whether the key still exists.'
            )
        if status in _GONE:
            return ObjectGoneError(
                f"The lakeFS server {server} has no such thing in the repository "
                f"{self.place.repository} (status {status})."
            )
        if status in (400, 403, 409, 412):
            return RefusedError(f"The lakeFS server {server} refuses (status {status}).", status)
        return StoreError(
            f"The lakeFS server {server} cannot answer now (status {status}). Try again later."
        )

    def _pages(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Iterator[Any]:
        after = ""
        while True:
            page = self._ask(call, *arguments, amount=PAGE, after=after, **named)
            yield from page.results
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def repository(self) -> "Repository":
        """Raises StoreNotFoundError."""
        try:
            return self._ask(self._api.repositories_api.get_repository)
        except ObjectGoneError:
            raise StoreNotFoundError(
                f"The lakeFS server {self.place.host}:{self.place.port} has no repository "
                f"{self.place.repository}, or the access key may not read it."
            ) from None

    def branches(self) -> dict[str, str]:
        """Branch → its newest commit."""
        return {r.id: r.commit_id for r in self._pages(self._api.branches_api.list_branches)}

    def tags(self) -> dict[str, str]:
        return {r.id: r.commit_id for r in self._pages(self._api.tags_api.list_tags)}

    def head(self, branch: str) -> str:
        return self._ask(self._api.branches_api.get_branch, branch).commit_id

    def log(self, ref: str, *, first_parent: bool = False) -> "Iterator[Commit]":
        """The commits that lead to a ref, newest first; with `first_parent` without those that
        came by a merge."""
        return self._pages(self._api.refs_api.log_commits, ref, first_parent=first_parent)

    def commit(self, name: str) -> "Commit":
        return self._ask(self._api.commits_api.get_commit, name)

    def objects(self, ref: str) -> "Iterator[ObjectStats]":
        return self._pages(
            self._api.objects_api.list_objects, ref, user_metadata=True, presign=False
        )

    def stat(self, ref: str, path: str) -> "ObjectStats":
        return self._ask(
            self._api.objects_api.stat_object, ref, path, user_metadata=True, presign=False
        )

    def uncommitted(self, branch: str) -> "Iterator[Diff]":
        return self._pages(self._api.branches_api.diff_branch, branch)

    def changes(self, branch: str, source: str) -> "Iterator[Diff]":
        """What changed in a source since it and the branch parted."""
        return self._pages(self._api.refs_api.diff_refs, branch, source, type="three_dot")

    def is_there(self, ref: str, path: str) -> bool:
        """Whether an object's data can still be read."""
        try:
            self._ask(self._api.objects_api.get_object, ref, path, range="bytes=0-0", presign=False)
        except ObjectGoneError:
            return False
        return True

    def read(self, ref: str, path: str) -> bytes:
        return bytes(self._ask(self._api.objects_api.get_object, ref, path, presign=False))

    def begin_branch(self, name: str, source: str) -> None:
        from lakefs_sdk.models.branch_creation import BranchCreation

        made = BranchCreation.parse_obj({"name": name, "source": source})
        self._ask(self._api.branches_api.create_branch, made)

    def drop_branch(self, name: str) -> None:
        self._ask(self._api.branches_api.delete_branch, name)

    def upload(self, branch: str, path: str, source: Path, metadata: Mapping[str, str]) -> str:
        """Returns the new object's physical address."""
        headers = {f"x-lakefs-meta-{key}": value for key, value in metadata.items()}
        return self._ask(
            self._api.objects_api.upload_object, branch, path, content=str(source),
            _headers=headers,
        ).physical_address  # fmt: skip

    def delete(self, branch: str, path: str) -> None:
        self._ask(self._api.objects_api.delete_object, branch, path)

    def record(self, branch: str, message: str, metadata: Mapping[str, str]) -> str:
        """Commit what was changed on the branch; returns the commit."""
        from lakefs_sdk.models.commit_creation import CommitCreation

        made = CommitCreation.parse_obj({"message": message, "metadata": dict(metadata)})
        return self._ask(self._api.commits_api.commit, branch, made).id

    def merge(self, source: str, branch: str, message: str, metadata: Mapping[str, str]) -> str:
        """One commit on the branch with what the source changed; returns it."""
        from lakefs_sdk.models.merge import Merge

        made = Merge.parse_obj(
            {"message": message, "metadata": dict(metadata), "squash_merge": True}
        )
        return self._ask(self._api.refs_api.merge_into_branch, source, branch, merge=made).reference
