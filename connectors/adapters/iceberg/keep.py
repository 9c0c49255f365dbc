"""Erasing a person from every snapshot of a table, each of which stays readable under its id.

One commit exchanges everything, so that no reader ever sees half of it: each file that holds the
person, of any snapshot, is written anew once; all snapshots are restated with the new files (see
`restate`); and each branch whose manifests are others now gets one more snapshot with the same
rows. That one is for writers: who has read a branch before commits only if it is where it was, and
would otherwise bring the old manifests back. What only older metadata leads to is left to the
purge.
"""

from collections.abc import Mapping
from typing import Any

from pyiceberg.manifest import DataFile
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot

from connectors.adapters.base import Erased, StoreError
from connectors.adapters.iceberg.catalog import commit
from connectors.adapters.iceberg.erase import Erasure
from connectors.adapters.iceberg.plan import history_blockers
from connectors.adapters.iceberg.replace import Replacement
from connectors.adapters.iceberg.restate import Restating
from connectors.adapters.iceberg.snapshots import Drafts
from connectors.adapters.iceberg.table import DataEntry
from connectors.scan.identifiers import Identifiers
from connectors.scan.record import Record
from connectors.scan.texts import scan_json


class KeepingErasure(Erasure):
    """One run of one plan; a run after a crash does it anew, or finds it done."""

    mode = "keep_history"

    def _refuse_other_state(self) -> None:
        super()._refuse_other_state()
        if blockers := list(history_blockers(self.view)):
            raise StoreError(f"The plan cannot be carried out any more: {' '.join(blockers)}")
        metadata = self.view.metadata.model_copy(update={"snapshots": []})
        if self._names_person(metadata.model_dump(mode="json", by_alias=True)):
            raise StoreError(
                f"The table {self.view.name} names the person in its schema, its properties, or "
                "the names of branches and tags, which no erasure changes. Nothing was erased: "
                "rename what names them, then search and plan again."
            )

    def _names_person(self, document: Mapping[str, Any]) -> bool:
        """As the final scan reads it."""
        values = [v for identifiers in self.person.needles.values() for v in identifiers]
        record = Record(Identifiers(values, identity_columns=self.person.hidden))
        scan_json(document, (), "", record)
        return bool(record.counts or record.suspects)

    def _affected(self) -> dict[str, tuple[DataEntry, int]]:
        """Files of any snapshot with rows of the person, by path, with the number of rows."""
        every = {e.path: e for s in self.view.snapshots for e in self.view.live(s)}
        return {path: (every[path], rows) for path, rows in self._rows(every).items()}

    def _nothing(self) -> Erased:
        """No snapshot holds the person: what is left of them in manifests and notes has to go."""
        return self._commit([]) if self.plan.objects else super()._nothing()

    def _committed(self, drafts: Drafts, done: list[Replacement]) -> Erased:
        changes: dict[str, DataFile | None] = {r.entry.path: r.file for r in done}
        restating = Restating(drafts, changes, self._names_person)
        restated = restating.update()
        heads: dict[int, Snapshot] = {}
        refs: dict[str, Snapshot] = {}
        for name, snapshot in self.view.branches.items():
            number = snapshot.snapshot_id
            if number not in restating.manifests:
                continue
            if number not in heads:  # two branches may have the same head
                heads[number] = drafts.without_removed(snapshot, restating.manifests[number])
            refs[name] = heads[number]
        erased = self._result(
            done,
            refs.get(MAIN_BRANCH),
            branches=sorted(refs),
            snapshots_rewritten=len(restating.manifests),
        )
        commit(self.view.table, [restated, *drafts.updates(refs), self._marked(erased)])
        return erased
