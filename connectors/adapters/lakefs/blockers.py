"""What stands in the way of an erasure, each with what to do, said before anybody approves."""

from collections.abc import Iterator, Sequence

from connectors.adapters.base import ErasePlan, ObjectFinding
from connectors.adapters.lakefs.plan import doomed_paths, planned_objects
from connectors.adapters.lakefs.repository import Repository, affected

BLOCKING = {
    "mention": (
        "Texts in {path} name the person in rows of other people, and a branch lists it. Take the "
        "text out of those rows and commit, or leave the column out of text_columns."
    ),
    "alike": (
        'Rows of {path} hold the person\'s number in another spelling, as "4" for "00004". If '
        "such numbers mean the same person, name their column in the option number_columns; if "
        "not, write them differently first."
    ),
    "other": (
        "{path} names the person, a branch lists it, and it is in no format that Vestige can "
        "rewrite (Parquet, CSV, JSON Lines). Make it anew without the person and commit."
    ),
    "opaque": (
        "{path} is in a format that cannot be decoded, so no scan could say that it names nobody. "
        "If it holds no rows of people (a model, an image), name it in the option unrelated_files."
    ),
    "named": (
        "The path or the notes of {path} name the person, and lakeFS keeps them in its commits. "
        "Delete every branch and tag that leads to such a commit, have garbage collection run, "
        "then search again."
    ),
    "commit": (
        "The message, the author or a note of the {path} names the person, and lakeFS cannot "
        "change a commit. Delete every branch and tag that leads to it, then search again."
    ),
    "ref": "The branch or tag {path} is named after the person. Delete it, then search again.",
    "uncommitted": (
        "{path} holds the person and is not committed. Commit it or take it back (lakectl branch "
        "reset), then search again."
    ),
    "elsewhere": (
        "{path} is listed at another path too, outside of this connector. Connect the repository "
        "as a whole."
    ),
    "imported": (
        "{path} holds the person and was imported: its data lies outside of the repository's "
        "storage namespace, where others may use it. Erase it at its source, and import anew."
    ),
    "server": (
        "{path}, a file that the lakeFS server keeps for itself, names the person. If it is the "
        "log of an action, delete it in the block store, then search again."
    ),
    "foreign": (
        "{path} lies in the repository's block store, names the person, and was not written by "
        "lakeFS. Remove it, then search again."
    ),
}
_MOST_SHOWN = 5  # of each kind


def blockers_of(objects: Sequence[ObjectFinding]) -> Iterator[str]:
    """Of what was found. Each sentence names the place without any identifier."""
    for kind, sentence in BLOCKING.items():
        paths = [found.path for found in objects if found.kind == kind]
        yield from (sentence.format(path=path) for path in paths[:_MOST_SHOWN])
        if len(paths) > _MOST_SHOWN:
            more = len(paths) - _MOST_SHOWN
            yield f"The same is true of {more} more, the last of them {paths[-1]}."


def hindrances(repository: Repository, plan: ErasePlan) -> Iterator[str]:
    """Why the plan cannot be carried out now. Nothing hinders if there is nothing to erase."""
    if not plan.objects:
        return
    if repository.read_only:
        yield "The repository is read-only in lakeFS. Its owner must let it be written to."
    yield from _kept(repository, plan)
    doomed = planned_objects(plan).keys()
    for tag, keys in repository.tagged_keys().items():
        if not keys.isdisjoint(doomed):
            yield (
                f"The tag {tag} leads to data with the person in it, and a tag cannot be moved. "
                "Delete it (lakectl tag delete), and tag the erased version afterwards if it is "
                "still needed."
            )
    for branch, commit in repository.heads().items():
        if branch in repository.open_changes and any(affected(repository, commit, doomed)):
            yield (
                f"The branch {branch} has changes that are not committed, so nothing can be merged "
                "into it. Commit them or take them back (lakectl branch reset), then search again."
            )


def _kept(repository: Repository, plan: ErasePlan) -> Iterator[str]:
    """Why the block store would keep what the plan names."""
    blocks = repository.blocks
    if blocks.folder is None:
        yield blocks.fault
    else:
        yield from blocks.folder.locks(doomed_paths(plan, blocks.hidden()), replaces=False)
