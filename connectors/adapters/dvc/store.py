"""A DVC repository, or one output of it, as a store."""

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from connectors.adapters.base import (
    MODES,
    Erased,
    ErasePlan,
    Findings,
    Needles,
    PlanOutdatedError,
    Progress,
    ScanReport,
    StageRun,
    StoreError,
    StoreNotFoundError,
    StoreVersion,
    silent,
)
from connectors.adapters.dvc.attempt import named_in, planned_objects, snapshot
from connectors.adapters.dvc.blockers import affected, blockers_of, hindrances, kept, unreachable
from connectors.adapters.dvc.erase import Erasure
from connectors.adapters.dvc.find import Search, stored_objects
from connectors.adapters.dvc.history import Commit
from connectors.adapters.dvc.keep import Keeping
from connectors.adapters.dvc.keepable import BLOCKING_KEEPING, Changing, keeping_hindrances
from connectors.adapters.dvc.locks import locked
from connectors.adapters.dvc.names import ObjectName
from connectors.adapters.dvc.pipelines import stage_runs
from connectors.adapters.dvc.purge import Purge
from connectors.adapters.dvc.repository import (
    Reach,
    Repository,
    on_this_machine,
    opened,
    read_repository,
)
from connectors.adapters.dvc.staging import staging
from connectors.adapters.dvc.verify import Verification
from connectors.adapters.dvc.versions import Versions
from connectors.folders import LocationError, local_path, masked
from connectors.formats.delimited import Dialect
from connectors.formats.indexing import sources_of
from connectors.formats.objects import is_unrelated
from connectors.formats.person import Columns, Person, names_in
from connectors.formats.profiles import profile_of, somebody_else
from connectors.formats.reading import Reader
from connectors.formats.staging import Staging
from connectors.formats.versions import FileVersions, identifiers_in, searchable_schema
from connectors.index import Source, SubjectIndex
from connectors.scan.identifiers import Identifiers

_ERASED = ("data", "entangled", "orphan", "log", "past", "upload")


def parse_location(location: str) -> tuple[str, str]:
    """(folder, path of the output or "") of "/data/repository#data/orders.csv".

    Raises StoreError for an output that is no path inside the repository.
    """
    folder, mark, output = location.partition("#")
    path = posixpath.normpath(output) if output else ""
    if mark and (not output or path.startswith(("/", "..")) or path == "."):
        raise StoreError(
            'After the "#" stands the path of an output from the top of the repository, as in '
            "/data/repository#data/orders.csv."
        )
    return folder, path


class DvcStore:
    """`location`: the repository's top folder, then "#" and an output's path if it is to be that
    one alone. `subject_columns`: as for plain files.

    Options: `delimiter`, `quote`, `escape`, `encoding`, `text_columns`, `number_columns`,
    `unrelated_columns` as for plain files; `unrelated_files` (patterns of outputs and other files
    that name nobody: their rows are not searched, and they may be in any format);
    `retired_remotes` (names of remotes that do not exist any more); `exclusive` (names of remotes,
    or "cache", that no other repository uses); `drop_signatures` (true: commits and tags that are
    written anew may lose their signatures); and what `reach` needs for remotes in buckets. A store
    that is not `writable` refuses to erase and to purge.
    """

    kind = "dvc"
    index: SubjectIndex | None = None

    def __init__(
        self,
        location: str,
        subject_columns: Iterable[str],
        options: Mapping[str, Any] | None = None,
        *,
        writable: bool = True,
        reach: Reach = on_this_machine,
    ) -> None:
        """`reach` opens the cache and remotes, see `read_repository`. Raises StoreError for the
        location, ValueError for an option."""
        self.writable = writable
        self.reach = cache(reach)  # what was fetched from a bucket is fetched once
        folder, self.output = parse_location(location)
        try:
            self.root = local_path(folder)
        except LocationError as exc:
            raise StoreError(str(exc)) from exc
        options = options or {}
        self.subject_columns = tuple(subject_columns)
        self.columns = Columns.of(self.subject_columns, options)
        self.unrelated_files = names_in(options, "unrelated_files")
        self.unrelated_columns = names_in(options, "unrelated_columns")
        self.retired_remotes = names_in(options, "retired_remotes")
        self.exclusive = names_in(options, "exclusive")
        self.drop_signatures = options.get("drop_signatures", False)
        if not isinstance(self.drop_signatures, bool):
            raise ValueError('"drop_signatures" is true or false')
        self.dialect = Dialect.of(options)

    def _read(self) -> Repository:
        repository = read_repository(self.root, self.output, self.retired_remotes, self.reach)
        known = {p for c in repository.history.commits.values() for p in c.outputs}
        if self.output and self.output not in known:
            shown = ", ".join(sorted({masked(p, self.subject_columns) for p in known})) or "none"
            raise StoreNotFoundError(
                f"The repository {self.root} has no output {self.output}. Its outputs are: {shown}."
            )
        return repository

    def stage_runs(self) -> Sequence[StageRun]:
        return stage_runs(self._read(), lambda path: masked(path, self.subject_columns))

    def versions(self, *, digests: bool = True) -> Sequence[StoreVersion]:
        """One for each commit that points to other data than its parents do, and whose data is all
        there. Rows are counted in files that say how many they have, with `digests` in all."""
        repository = self._read()
        with self._versions(repository, check=digests) as versions:
            return [versions.version(c, read=digests) for c in repository.retained()]

    @contextmanager
    def _versions(self, repository: Repository, *, check: bool = True) -> Iterator[Versions]:
        with staging(repository.contents, check=check) as staged:
            files = FileVersions(staged, self._reader(staged), self.unrelated_files)
            yield Versions(repository, files)

    def _reader(self, staged: Staging) -> Reader:
        return Reader(staged, self.dialect, self.subject_columns)

    def _commit(self, repository: Repository, version: str | None) -> Commit:
        """A version, by default what is checked out. Raises StoreError."""
        retained = {c.id: c for c in repository.retained()}
        newest = repository.newest()
        wanted = version or (newest.id if newest else "")
        if not wanted:
            raise StoreNotFoundError(
                f"No commit of the repository {self.root} points to data. Add some with dvc add, "
                "and commit."
            )
        if wanted not in retained:
            raise StoreError(
                f"The repository {self.root} has no version {wanted} whose data is all there. "
                "Fetch its data (dvc fetch), or take another version."
            )
        return retained[wanted]

    def schema(self, version: str | None = None) -> Sequence[tuple[str, str]]:
        """The union of the files' columns and partition keys; a column that has several types
        lists them. Raises StoreError for a file that has no column to find people by."""
        repository = self._read()
        with self._versions(repository) as versions:
            files = list(versions.data(self._commit(repository, version)))
            return searchable_schema(files, self.subject_columns, self.unrelated_files)

    def profile(self, version: str | None = None) -> Mapping[str, Any]:
        """Counts only, no values; see `connectors.formats.profiles.profile_of`."""
        repository = self._read()
        commit = self._commit(repository, version)
        with self._versions(repository) as versions:
            return {"version": commit.id, **profile_of(list(versions.data(commit)))}

    @contextmanager
    def _search(self, repository: Repository, needles: Needles) -> Iterator[Search]:
        with staging(repository.contents) as staged:
            yield Search(
                repository, staged, self.columns, needles, self.dialect, self.unrelated_files,
                self.exclusive,
            )  # fmt: skip

    @contextmanager
    def index_sources(self, index: SubjectIndex) -> Iterator[Mapping[str, Source]]:
        repository = self._read()
        with staging(repository.contents) as staged:
            objects = stored_objects(repository)
            yield sources_of(objects, staged, self._reader(staged), index)

    def find_subject(self, needles: Needles, progress: Progress | None = None) -> Findings:
        """Search every object once, or those that the index leaves, and everything else that the
        repository keeps.

        Raises StoreError for objects that are damaged or cannot be searched.
        """
        with self._search(self._read(), needles) as search:
            try:
                return search.run(progress or silent, self.index)
            except OSError as exc:
                raise StoreError(
                    f"A file of the repository {self.root}, its cache or a remote cannot be read: "
                    f"{exc.strerror}. Give this process access to it."
                ) from exc

    def plan_erase(self, findings: Findings, *, mode: str) -> ErasePlan:
        """Raises PlanOutdatedError when the versions are not those that were searched."""
        if mode not in MODES:
            raise StoreError(f'There is no mode "{mode}". Plan with one of: {", ".join(MODES)}.')
        keeps = mode == "keep_history"
        repository = self._read()
        if {c.id for c in repository.retained()} != set(findings.rows_by_version):
            raise PlanOutdatedError(
                f"The repository {self.root} has other versions than when it was searched. Search "
                "again, then plan."
            )
        planned = [o for o in findings.objects if o.kind in _ERASED]
        paths = {o.path: o.bytes for o in planned}
        if keeps:
            paths |= self._listings(repository, named_in(paths))
        plan = ErasePlan(
            mode=mode,
            snapshot=snapshot(repository),
            objects=tuple(sorted(paths)),
            rows=sum(o.rows for o in planned),
            bytes=sum(paths.values()),
            versions_lost=()
            if keeps
            else _lost(repository, {v for o in planned for v in o.versions}),
        )
        doomed = planned_objects(plan)
        blockers = [
            *unreachable(repository),
            *blockers_of(findings.objects),
            *hindrances(repository, doomed),
            *kept(repository, doomed, plan),
        ]
        if keeps:
            blockers += blockers_of(findings.objects, BLOCKING_KEEPING)
            changing = Changing(repository, doomed)
            blockers += keeping_hindrances(changing, drop_signatures=self.drop_signatures)
        return ErasePlan(**{**vars(plan), "blockers": tuple(dict.fromkeys(blockers))})

    def _listings(self, repository: Repository, doomed: Collection[ObjectName]) -> dict[str, int]:
        """Folder objects that list files which go: path as in a plan → bytes. Where history is
        kept, no commit points to them afterwards."""
        entries = repository.contents.entries
        return {
            f"{output.name.path} ({masked(output.path, self.subject_columns)})": entry.bytes
            for commit in repository.history.commits.values()
            for output in affected(repository, commit, doomed)
            if output.name.is_folder
            and output.name not in doomed
            and (entry := entries.get(output.name))
        }

    @contextmanager
    def _locked(self) -> Iterator[Repository]:
        if not self.writable:
            raise StoreError(f"The repository {self.root} was opened for reading only.")
        opened(self.root)  # says so when there is none
        with locked(self.root):
            yield self._read()

    def erase(self, plan: ErasePlan, needles: Needles, progress: Progress | None = None) -> Erased:
        """Commit data without the person on every branch whose newest data holds them, or, where
        history is kept, write every commit anew that leads to them.

        Raises PlanOutdatedError (a ref changed), ResidueError, StoreError; what was not reached is
        as it was, and the same plan goes on from there.
        """
        with self._locked() as repository, self._search(repository, needles) as search:
            if plan.mode == "keep_history":
                return Keeping(
                    search, plan, progress or silent, drop_signatures=self.drop_signatures
                ).run()
            return Erasure(search, plan, progress or silent).run()

    def purge_history(self, plan: ErasePlan, progress: Progress | None = None) -> Erased:
        """Delete the planned objects in the cache and in every remote, and, where history is kept,
        the old commits: `detail["renamed"]` says what each is now. Raises StoreError."""
        with self._locked() as repository:
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
        scan = Verification(self._read(), identifiers, self.unrelated_files)
        return scan.run(progress or silent, with_control=control is not None)

    def identifier_values(self, column: str, version: str) -> Iterable[str]:
        """The distinct identifiers in a column, as text. Raises StoreError when the version's data
        is not there, or no file of it has the column."""
        repository = self._read()
        commit = self._commit(repository, version)
        with self._versions(repository) as versions:
            yield from identifiers_in(list(versions.data(commit)), column, version)

    def control_subject(self, needles: Needles) -> tuple[str, str] | None:
        """(column, identifier) of somebody else in the newest data; None when nobody is left.

        This is another person's identifier: it belongs in no log and no report.
        """
        repository = self._read()
        person = Person(self.columns, needles)
        retained = repository.retained()
        newest = repository.newest()
        ordered = [c for c in retained if newest and c.id == newest.id] + retained[::-1]
        with self._versions(repository) as versions:
            for commit in ordered:
                data = versions.data(commit)
                rows = (d for d in data if not is_unrelated((d.path,), self.unrelated_files))
                if found := somebody_else(rows, person):
                    return found
        return None


def _lost(repository: Repository, versions: Collection[str]) -> tuple[str, ...]:
    return tuple(c.id for c in repository.retained() if c.id in versions)
