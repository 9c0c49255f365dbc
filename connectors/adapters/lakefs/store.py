"""A lakeFS repository, or what lies below one of its paths, as a store."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from connectors.adapters.base import (
    BranchCommit,
    Erased,
    ErasePlan,
    Findings,
    Incoming,
    Needles,
    PlanOutdatedError,
    Progress,
    ScanReport,
    StoreError,
    StoreNotFoundError,
    StoreVersion,
    require_purge,
    silent,
)
from connectors.adapters.lakefs.blockers import blockers_of, hindrances
from connectors.adapters.lakefs.blocks import Blocks, Reach, blocks_at
from connectors.adapters.lakefs.client import Lakefs
from connectors.adapters.lakefs.erase import Erasure, drop_unfinished
from connectors.adapters.lakefs.find import Search, stored_objects
from connectors.adapters.lakefs.location import parse_place
from connectors.adapters.lakefs.merging import Merge, branch_line
from connectors.adapters.lakefs.plan import snapshot
from connectors.adapters.lakefs.purge import Purge
from connectors.adapters.lakefs.repository import Commit, Repository, read_repository
from connectors.adapters.lakefs.staging import staging
from connectors.adapters.lakefs.verify import Verification
from connectors.adapters.lakefs.versions import Versions
from connectors.folders import folder_of
from connectors.formats.delimited import Dialect
from connectors.formats.indexing import sources_of
from connectors.formats.objects import is_unrelated
from connectors.formats.person import Columns, Person, names_in
from connectors.formats.profiles import profile_of, somebody_else
from connectors.formats.reading import Reader
from connectors.formats.staging import Staging
from connectors.formats.versions import FileVersions, identifiers_in, searchable_schema
from connectors.index import Source, SubjectIndex
from connectors.references import Role, credential
from connectors.scan.identifiers import Identifiers

_ERASED = ("data", "orphan", "past", "upload")


class LakefsStore:
    """`location`: "https://host#repository", then "/path/" if it is to be that part alone.
    `subject_columns`: as for plain files.

    Options, besides who signs in (`user`, the access key, and `password_env` or `password_file`,
    its secret; the same with writer_ and verifier_ before them): `block_folder` (the server's
    blockstore.local.path, as this process sees it) or, where the server keeps its data in S3, those
    of `connectors.s3.access`; `delimiter`, `quote`, `escape`, `encoding`,
    `text_columns`, `number_columns`, `unrelated_columns` as for plain files; `unrelated_files`
    (patterns of paths that name nobody: their rows are not searched, and they may be in any
    format). Only the role "writer" may erase and purge.
    """

    kind = "lakefs"
    index: SubjectIndex | None = None

    def __init__(
        self,
        location: str,
        subject_columns: Iterable[str],
        options: Mapping[str, Any] | None = None,
        *,
        role: Role = "writer",
        reach: Reach = folder_of,
    ) -> None:
        """`reach`: opens the block store, where the server says that it is. Raises StoreError for
        the location, OptionError or ValueError for an option."""
        self.place = parse_place(location)
        self.options = options = options or {}
        self.role = role
        self.reach = reach
        self.credential = credential(options, role)
        self._reached: Blocks | None = None
        self.subject_columns = tuple(subject_columns)
        self.columns = Columns.of(self.subject_columns, options)
        self.unrelated_files = names_in(options, "unrelated_files")
        self.unrelated_columns = names_in(options, "unrelated_columns")
        self.dialect = Dialect.of(options)

    @contextmanager
    def _client(self) -> Iterator[Lakefs]:
        client = Lakefs(self.place, self.credential)
        try:
            yield client
        finally:
            client.close()

    def _blocks(self, namespace: str) -> Blocks:
        """Kept, with what was fetched from a bucket: a repository's namespace never changes."""
        if self._reached is None or self._reached.namespace != namespace:
            self._reached = blocks_at(namespace, self.options, self.reach)
        return self._reached

    @contextmanager
    def _read(self, prepare: Callable[[Lakefs], None] = lambda _: None) -> Iterator[Repository]:
        """`prepare`: what is to be done first."""
        with self._client() as client:
            prepare(client)
            found = client.repository()
            yield read_repository(client, self._blocks(found.storage_namespace), found)

    @contextmanager
    def _versions(self, *, check: bool = True) -> Iterator[Versions]:
        with self._read() as repository, _staged(repository, check=check) as staged:
            yield Versions(repository, self._files(staged))

    def _files(self, staged: Staging) -> FileVersions:
        return FileVersions(staged, self._reader(staged), self.unrelated_files)

    def _reader(self, staged: Staging) -> Reader:
        return Reader(staged, self.dialect, self.subject_columns)

    def versions(self, *, digests: bool = True) -> Sequence[StoreVersion]:
        """One for each commit that lists other objects than its parents do, and whose data is all
        there. Rows are counted in files that say how many they have, with `digests` in all."""
        with self._versions(check=digests) as versions:
            retained = versions.repository.retained()
            return [versions.version(commit, read=digests) for commit in retained]

    def _commit(self, repository: Repository, version: str | None) -> Commit:
        """A version, by default what the default branch lists. Raises StoreError."""
        retained = {c.id: c for c in repository.retained()}
        newest = repository.newest()
        wanted = version or (newest.id if newest else "")
        if not wanted:
            raise StoreNotFoundError(
                f"No commit of {self.place.shown} lists files"
                f"{f' below {self.place.prefix}' if self.place.prefix else ''}. Upload some, and "
                "commit."
            )
        if wanted not in retained:
            raise StoreError(
                f"In {self.place.shown} there is no version {wanted} whose data is all there. Take "
                "another version."
            )
        return retained[wanted]

    def schema(self, version: str | None = None) -> Sequence[tuple[str, str]]:
        """The union of the files' columns and partition keys; a column that has several types
        lists them. Raises StoreError for a file that has no column to find people by."""
        with self._versions() as versions:
            files = list(versions.data(self._commit(versions.repository, version)))
            return searchable_schema(files, self.subject_columns, self.unrelated_files)

    def profile(self, version: str | None = None) -> Mapping[str, Any]:
        """Counts only, no values; see `connectors.formats.profiles.profile_of`."""
        with self._versions() as versions:
            commit = self._commit(versions.repository, version)
            return {"version": commit.id, **profile_of(list(versions.data(commit)))}

    @contextmanager
    def _search(self, repository: Repository, needles: Needles) -> Iterator[Search]:
        with _staged(repository) as staged:
            yield Search(
                repository, staged, self.columns, needles, self.dialect, self.unrelated_files
            )

    @contextmanager
    def index_sources(self, index: SubjectIndex) -> Iterator[Mapping[str, Source]]:
        with self._read() as repository, _staged(repository) as staged:
            objects = stored_objects(repository)
            yield sources_of(objects, staged, self._reader(staged), index)

    def find_subject(self, needles: Needles, progress: Progress | None = None) -> Findings:
        """Search every object once, or those that the index leaves, and everything else that the
        repository keeps.

        Raises StoreError for objects that are damaged or cannot be searched.
        """
        with self._read() as repository, self._search(repository, needles) as search:
            try:
                return search.run(progress or silent, self.index)
            except OSError as exc:
                raise StoreError(
                    f"A file of the block store of {self.place.shown} cannot be read: "
                    f"{exc.strerror}. Give this process access to it."
                ) from exc

    def plan_erase(self, findings: Findings, *, mode: str) -> ErasePlan:
        """Raises PlanOutdatedError when the versions are not those that were searched."""
        require_purge(
            mode,
            no_history=(
                "Older commits list their data by its address, so they cannot keep it without the "
                "person."
            ),
        )
        with self._read() as repository:
            retained = [c.id for c in repository.retained()]
            if set(retained) != set(findings.rows_by_version):
                raise PlanOutdatedError(
                    f"In {self.place.shown} there are other versions than when it was searched. "
                    "Search again, then plan."
                )
            planned = [o for o in findings.objects if o.kind in _ERASED]
            plan = ErasePlan(
                mode=mode,
                snapshot=snapshot(repository.branches, repository.tags),
                objects=tuple(sorted({o.path for o in planned})),
                rows=sum(o.rows for o in planned),
                bytes=sum(o.bytes for o in planned),
                versions_lost=_lost(retained, {v for o in planned for v in o.versions}),
            )
            blockers = list(blockers_of(findings.objects))
            if not any(found.kind == "ref" for found in findings.objects):
                # Else a sentence about a branch could name the person.
                blockers += hindrances(repository, plan)
            return ErasePlan(**{**vars(plan), "blockers": tuple(dict.fromkeys(blockers))})

    def _refuse_if_read_only(self) -> None:
        if self.role != "writer":
            raise StoreError(f"This store, {self.place.shown}, was opened for reading only.")

    def erase(self, plan: ErasePlan, needles: Needles, progress: Progress | None = None) -> Erased:
        """Commit data without the person on every branch whose newest data holds them.

        Raises PlanOutdatedError (a ref changed), ResidueError, StoreError; what was not reached is
        as it was, and the same plan goes on from there.
        """
        self._refuse_if_read_only()
        with (
            self._read(lambda client: drop_unfinished(client, plan)) as repository,
            self._search(repository, needles) as search,
        ):
            return Erasure(search, plan, progress or silent).run()

    def purge_history(self, plan: ErasePlan, progress: Progress | None = None) -> Erased:
        """Delete the planned objects in the block store. Raises StoreError."""
        self._refuse_if_read_only()
        with self._read() as repository:
            return Purge(repository, plan, progress or silent).run()

    def verify_erased(
        self,
        needles: Iterable[str],
        control: tuple[str, str] | None,
        progress: Progress | None = None,
    ) -> ScanReport:
        """Read every byte that is left; see `connectors.scan.identifiers` for what counts."""
        identifiers = Identifiers(
            needles,
            identity_columns=self.subject_columns,
            unrelated_columns=self.unrelated_columns,
            control=control,
        )
        with self._client() as client:
            blocks = self._blocks(client.repository().storage_namespace)
            scan = Verification(client, blocks, identifiers, self.unrelated_files)
            return scan.run(progress or silent, with_control=control is not None)

    def identifier_values(self, column: str, version: str) -> Iterable[str]:
        """The distinct identifiers in a column, as text. Raises StoreError when the version's data
        is not there, or no file of it has the column."""
        with self._versions() as versions:
            commit = self._commit(versions.repository, version)
            yield from identifiers_in(list(versions.data(commit)), column, version)

    @contextmanager
    def incoming(self, branch: str, source: str) -> Iterator[Incoming]:
        """What merging a commit into a branch would bring. Raises StoreError."""
        with self._client() as client:
            blocks = self._blocks(client.repository().storage_namespace)
            merge = Merge(client, blocks, branch, source)
            with staging(client, blocks, merge.objects, check=False) as staged:
                yield merge.incoming(self._files(staged))

    def branch_line(self, branch: str) -> Iterator[BranchCommit]:
        """What happened to a branch, newest first. Raises StoreError."""
        with self._client() as client:
            yield from branch_line(client, branch)

    def control_subject(self, needles: Needles) -> tuple[str, str] | None:
        """(column, identifier) of somebody else in the newest data; None when nobody is left.

        This is another person's identifier: it belongs in no log and no report.
        """
        person = Person(self.columns, needles)
        with self._versions() as versions:
            retained = versions.repository.retained()
            newest = versions.repository.newest()
            ordered = [c for c in retained if newest and c.id == newest.id] + retained[::-1]
            for commit in ordered:
                data = versions.data(commit)
                rows = (d for d in data if not is_unrelated((d.path,), self.unrelated_files))
                if found := somebody_else(rows, person):
                    return found
        return None


def _staged(repository: Repository, *, check: bool = True) -> AbstractContextManager[Staging]:
    return staging(repository.client, repository.blocks, repository.objects, check=check)


def _lost(retained: Sequence[str], versions: Collection[str]) -> tuple[str, ...]:
    return tuple(version for version in retained if version in versions)
