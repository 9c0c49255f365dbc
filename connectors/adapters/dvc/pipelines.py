"""Pipelines: what `dvc.lock` tells of the stages that made outputs out of other outputs.

A stage counts as run at the commit that brought what it made. Our own erasures rewrite outputs
without running anything, so their commits tell nothing.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from connectors.adapters.base import StageRun, StoredVersion
from connectors.adapters.dvc.history import Commit
from connectors.adapters.dvc.pointers import Output, Stage
from connectors.adapters.dvc.repository import Repository


def stage_runs(repository: Repository, shown: Callable[[str], str]) -> list[StageRun]:
    """Those that read or made the output in scope. None for a repository as a whole: its commits
    are versions of one dataset, and follow each other. `shown`: a path as it may be named."""
    if not repository.scope:
        return []
    return list(_Runs(repository, shown).about(repository.scope))


class _Runs:
    def __init__(self, repository: Repository, shown: Callable[[str], str]) -> None:
        self._shown = shown
        self._root, self._history = repository.root, repository.history
        self._versions = cache(self._history.versions_of)

    def about(self, path: str) -> Iterator[StageRun]:
        for commit in self._history.commits.values():
            if commit.erased:
                continue
            for stage, outputs in self._made_at(commit).items():
                inputs = list(_sources(stage, commit.outputs))
                if inputs and path in {o.path for o in (*inputs, *outputs)}:
                    yield self._run(commit, stage, inputs, outputs)

    def _made_at(self, commit: Commit) -> Mapping[Stage, list[Output]]:
        made: dict[Stage, list[Output]] = defaultdict(list)
        for output in commit.outputs.values():
            if output.stage and self._versions(output.path)[commit.id] == commit.id:
                made[output.stage].append(output)
        return made

    def _run(
        self, commit: Commit, stage: Stage, inputs: list[Output], outputs: list[Output]
    ) -> StageRun:
        return StageRun(
            hashlib.sha256(f"{self._root}\n{commit.id}\n{stage.name}".encode()).hexdigest()[:32],
            f"{self._root.name}/{stage.name}",
            commit.time,
            tuple(self._stored(output, commit) for output in inputs),
            tuple(self._stored(output, commit) for output in outputs),
        )

    def _stored(self, output: Output, commit: Commit) -> StoredVersion:
        return StoredVersion(
            f"{self._root}#{output.path}",
            f"{self._root.name}/{self._shown(output.path)}",
            self._versions(output.path)[commit.id],
        )


def _sources(stage: Stage, outputs: Mapping[str, Output]) -> Iterator[Output]:
    """The outputs that a stage has read, or a part of. Code and parameters are none; nor is what
    has changed since the stage ran."""
    seen: set[str] = set()
    for path, md5 in stage.reads:
        output = outputs.get(path)
        if output is None:
            output = next((o for o in outputs.values() if path.startswith(f"{o.path}/")), None)
        elif output.name.md5 != md5:
            continue
        if output is not None and output.path not in seen:
            seen.add(output.path)
            yield output
