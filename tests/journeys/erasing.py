"""One person erased in one store, by REST alone, as the people whose part each step is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.journeys.conftest import Installation
from tests.journeys.test_erasure_by_rest import until, verify


class Erasure:
    """`subject`: the person's customer number."""

    def __init__(self, running: Installation, subject: str) -> None:
        self.subject = subject
        roles = ("data_owner", "dpo", "analyst")
        self.owner, self.dpo, self.analyst = (running.client(role) for role in roles)
        self.reference = self.plan_hash = ""

    def connect(self, kind: str, location: str, name: str, **options: Any) -> str:
        """Connects a store with the columns customer_id and email; its dataset in lineage."""
        made = self.owner.post(
            "/api/v1/connectors",
            json={
                "kind": kind,
                "location": location,
                "subject_columns": {"customer_id": "customer", "email": "email"},
                "dataset": {"namespace": "shop", "name": name},
                "options": options,
            },
        )
        assert made.status_code == 201, made.text
        synced = self.owner.post(f"/api/v1/connectors/{made.json()['id']}/sync")
        assert synced.status_code == 200, synced.text
        return str(made.json()["dataset"]["node"])

    def planned(self, node: str, mode: str = "") -> dict[str, Any]:
        """The plan's one step, for a request about this dataset."""
        (step,) = self.planned_steps([node], {node: mode} if mode else {})
        return step

    def planned_steps(
        self, nodes: Sequence[str], modes: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The plan's steps, for a request about these datasets."""
        filed = self.analyst.post(
            "/api/v1/requests",
            json={
                "rights": ["erasure"],
                "subject": {"type": "customer", "value": self.subject},
                "scope": list(nodes),
            },
        )
        assert filed.status_code == 201, filed.text
        self.reference = filed.json()["reference"]
        self._do("verify", {"method": "two held attributes"})
        self._do("plan", {"modes": dict(modes)} if modes else {})
        plan = until(self.analyst, self.reference, "review")["plan"]
        self.plan_hash = plan["hash"]
        assert not any(step["blockers"] for step in plan["steps"])
        return list(plan["steps"])

    def carry_out(self) -> None:
        """Approved by two, carried out, and scanned."""
        self.approve()
        self.execute()
        self.finish()

    def approve(self) -> None:
        for approver in (self.dpo, self.owner):
            answer = approver.post(
                f"/api/v1/requests/{self.reference}/approve", json={"plan_hash": self.plan_hash}
            )
            assert answer.status_code == 200, answer.text

    def execute(self) -> None:
        self._do("execute")

    def finish(self) -> dict[str, Any]:
        """The request once it is complete."""
        done = until(self.analyst, self.reference, "completed")
        assert {o["phase"] for o in done["outcomes"]} == {"done"}
        assert all(o["scan"]["control_found"] for o in done["outcomes"])
        return done

    def certified(self, folder: Path) -> None:
        """The certificate verifies on its own."""
        certificate = self.analyst.get(f"/api/v1/requests/{self.reference}/certificate.pdf")
        assert certificate.status_code == 200, certificate.text
        (folder / "certificate.pdf").write_bytes(certificate.content)
        valid = verify(folder / "certificate.pdf")
        assert valid.returncode == 0, valid.stdout + valid.stderr

    def _do(self, verb: str, body: Mapping[str, Any] | None = None) -> None:
        answer = self.analyst.post(f"/api/v1/requests/{self.reference}/{verb}", json=body or {})
        assert answer.status_code in (200, 202), answer.text
