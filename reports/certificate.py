"""What a certificate of erasure states: facts of the workflow, put into one JSON statement.

The statement is all there is: pages and the PDF are drawn from it, and its digest is in the log.
It holds no personal data of the person whose data were erased; staff appear by name and role.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from compliance.queries import CertificateFacts, Location
from reports import signing
from reports.texts import time_text

SCHEMA = "vestige-certificate/1"

LIMITS = (
    "Searched and scanned were the stores that are connected to Vestige and in the scope of the "
    "request; they are listed above. Copies that left these stores, such as exports, e-mails or "
    "printouts, are not known to Vestige.",
    "The scan looked for the identifiers by which the person was known. Data that carry none of "
    "them, or that were anonymised before, cannot be attributed to a person any more.",
    "Backups and storage snapshots that a store's operator keeps outside the store were not "
    "opened. They end with their own retention; those that the operator has named are listed "
    "under “Copies that no erasure reaches”.",
    "Blocks that a storage device has released may exist physically until they are overwritten.",
    "Erasing records does not take out of a model what it learned from them. How each such model "
    "is dealt with is stated under “Models”.",
    "The proofs show that the entries stand in this log, in this order, under this key. They do "
    "not show that the operator, who holds the key, never kept another log: a checkpoint that "
    "was kept elsewhere would.",
)
DISCLAIMER = (
    "This certificate states what was recorded and measured. It is not legal advice, and does not "
    "say that every duty of the law has been met."
)
_REMEDIES = {
    "gdpr": (
        "The person may lodge a complaint with a supervisory authority, in particular in the "
        "Member State of their habitual residence, their place of work or the place of the "
        "alleged infringement (Art. 77 GDPR).",
        "The person has the right to an effective judicial remedy against a controller or "
        "processor (Art. 79 GDPR).",
    ),
    "uk_gdpr": (
        "The person may complain to the Information Commissioner (Art. 77 UK GDPR).",
        "The person has the right to an effective judicial remedy against a controller or "
        "processor (Art. 79 UK GDPR).",
    ),
}
_OTHER_REMEDIES = (
    "The person may use the remedies that the law named above grants, before the authority or "
    "the court that it names.",
)


@dataclass(frozen=True)
class TimelineEntry:
    """One entry of the log about this request."""

    entry: int
    at: datetime
    type: str
    actor: str


@dataclass(frozen=True)
class ErasureCertificate:
    """A certificate before it is issued. `as_of`: the last entry that was looked at."""

    number: str
    edition: str
    supersedes: str | None
    as_of: int
    facts: CertificateFacts
    timeline: Sequence[TimelineEntry]

    @property
    def status(self) -> str:
        """`partial`: something is kept by an exemption; `interim`: a model is not dealt with, or a
        copy that no erasure reached has not ended."""
        if self.facts.partial:
            return "partial"
        return "interim" if self.facts.notices_open or self.facts.tails_open else "final"

    def statement(self, issued_at: datetime) -> dict[str, Any]:
        """The certificate as JSON (RFC 8785 can write it)."""
        facts = self.facts
        return {
            "schema": SCHEMA,
            "number": self.number,
            "edition": self.edition,
            "status": self.status,
            "supersedes": self.supersedes,
            "issued_at": time_text(issued_at),
            "controller": {
                "name": settings.VESTIGE_ORGANISATION,
                "data_protection_officer": settings.VESTIGE_DPO_CONTACT,
            },
            "request": _request(facts),
            "subject": {
                "pseudonyms": list(facts.pseudonyms),
                "suppressed_identifiers": facts.suppressed,
                "keys_destroyed": facts.keys_destroyed,
            },
            "plan": {
                "number": facts.plan_number,
                "sha256": facts.plan_hash,
                "author": facts.plan_author,
            },
            "approvals": [
                {"name": a.name, "role": a.role, "at": time_text(a.at), "plan_sha256": a.plan_hash}
                for a in facts.approvals
            ],
            "totals": _totals(facts.locations),
            "locations": [_location(place) for place in facts.locations],
            "retained": [
                {"dataset": place.dataset, **place.exemption}
                for place in facts.locations
                if place.exemption
            ],
            "tails": [
                {
                    "dataset": tail.dataset,
                    "what": tail.what,
                    "until": time_text(tail.until),
                    "confirmed_at": time_text(tail.closed_at),
                    "confirmed_by": tail.closed_by,
                }
                for tail in facts.tails
            ],
            "open": {"notices": facts.notices_open, "tails": facts.tails_open},
            "models": [asdict(model) for model in facts.affected_models],
            "timeline": [
                {"entry": t.entry, "at": time_text(t.at), "type": t.type, "actor": t.actor}
                for t in self.timeline
            ],
            "as_of_entry": self.as_of,
            "limits": list(LIMITS),
            "remedies": list(_REMEDIES.get(str(facts.regime.get("key")), _OTHER_REMEDIES)),
            "disclaimer": DISCLAIMER,
            "signing_certificate_sha256": signing.certificate_sha256(),
        }


def _request(facts: CertificateFacts) -> dict[str, Any]:
    return {
        "reference": facts.reference,
        "rights": list(facts.rights),
        "regime": {
            key: facts.regime[key]
            for key in ("key", "name", "article", "edition")
            if key in facts.regime
        },
        "channel": facts.channel,
        "received_at": time_text(facts.received_at),
        "identity_checked_at": time_text(facts.verified_at),
        "identity_checked_by": facts.verification,
        "due_at": time_text(facts.due_at),
        "extended_at": time_text(facts.extended_at),
        "erased_at": time_text(facts.erased_at),
        "in_time": facts.erased_at <= facts.due_at,
    }


def _totals(places: Iterable[Location]) -> dict[str, int]:
    listed = list(places)
    scans: list[Mapping[str, Any]] = [place.scan for place in listed]
    return {
        "locations": len(listed),
        "versions": sum(
            sum(1 for rows in place.rows_by_version.values() if rows) for place in listed
        ),
        "histories_kept": sum(place.history_kept and place.rows_found > 0 for place in listed),
        "rows_found": sum(place.rows_found for place in listed),
        "rows_erased": sum(place.rows_erased for place in listed),
        "files_scanned": sum(int(scan.get("files", 0)) for scan in scans),
        "bytes_scanned": sum(int(scan.get("bytes", 0)) for scan in scans),
        "traces": sum(int(scan.get("traces", 0)) for scan in scans),
        "unreadable": sum(int(scan.get("unreadable", 0)) for scan in scans),
    }


def _location(place: Location) -> dict[str, Any]:
    return {
        "dataset": place.dataset,
        "store": place.store,
        "kind": place.kind,
        "outcome": place.outcome,
        "method": place.method,
        "rows_found": place.rows_found,
        "rows_erased": place.rows_erased,
        "rows_by_version": [
            {"version": version, "rows": rows}
            for version, rows in sorted(place.rows_by_version.items(), key=_by_version)
        ],
        "versions_purged": list(place.versions_lost),
        "versions_renamed": [
            {"version": version, "now": now}
            for version, now in sorted(place.versions_renamed.items())
        ],
        "history_kept": place.history_kept,
        "new_version": place.new_version,
        "objects_removed": place.objects_removed,
        "objects_removed_sha256": place.removed_sha256,
        "objects_purged": place.objects_purged,
        "unreached": place.unreached,
        "tool": place.tool,
        "operator": place.operator,
        "started_at": time_text(place.started_at),
        "erased_at": time_text(place.erased_at),
        "scan": {
            "verifier": place.verifier,
            "finished_at": time_text(place.finished_at),
            **place.scan,
        }
        if place.scan.get("method")
        else None,
    }


def _by_version(item: tuple[str, int]) -> tuple[int, str]:
    return len(item[0]), item[0]  # 2 before 10, and names in their order
