"""The integrity strip of the auditor's pages: what is verified, and how far.

`{% include "components/integrity.html" with kind=integrity.kind word=integrity.word
verified=integrity.entries total=integrity.size at=integrity.verification.checked_at
facts=integrity.facts %}`
"""

from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html

from audit.held import HeldOutside, held_outside
from audit.logs import MAIN, LogRef
from audit.models import Verification
from audit.parent import Told, newest_told
from audit.queries import (
    Checkpoint,
    failure_of,
    head,
    latest_checkpoint,
    latest_verification,
    verifier_key,
)
from audit.templatetags.vestige import ago, hash_text


@dataclass(frozen=True, slots=True)
class Integrity:
    """What the last check of the log says about the log of now."""

    verification: Verification | None
    failed: Verification | None
    size: int
    checkpoint: Checkpoint | None
    key_id: str
    refusal: str
    outside: HeldOutside
    log: LogRef = MAIN
    told: Told | None = None  # what the main log holds of a unit's log

    @property
    def sound(self) -> bool:
        return self.verification is not None and self.verification.ok and not self.failed

    @property
    def entries(self) -> int:
        return self.verification.entries if self.verification else 0

    @property
    def kind(self) -> str:
        """Green only when every entry there is was checked, and nothing is amiss."""
        found = self.verification
        if self.failed or self.refusal or self.outside.kind == "bad":
            return "bad"
        if found is None or self.entries < self.size or found.warnings:
            return "warn"
        if self.outside.kind == "warn":
            return "warn"
        return "ok"

    @property
    def word(self) -> str:
        if (self.verification is not None and not self.sound) or self.refusal:
            return "does not hold"
        if self.outside.kind == "bad":
            return "contradicted outside"
        if self.verification is None:
            return "never verified"
        if self.entries < self.size or self.verification.warnings:
            return "partial"
        return "anchor needs an eye" if self.outside.kind == "warn" else "verified"

    @property
    def facts(self) -> list[tuple[str, Any]]:
        """(label, value) pairs for the strip."""
        found: list[tuple[str, Any]] = []
        if self.checkpoint:
            found += [
                (
                    "Signed checkpoint",
                    format_html(
                        "{} entries, {}",
                        f"{self.checkpoint.size:,}",
                        ago(self.checkpoint.signed_at),
                    ),
                ),
                ("Root", hash_text(self.checkpoint.root)),
            ]
        found.append(("Key", self.key_id))
        if self.told is not None:
            told = format_html("{} entries, {}", f"{self.told.size:,}", ago(self.told.recorded_at))
            found.append(("In the main log", told))
        held = self.outside.newest
        if held is not None:
            found.append(
                ("Held outside", format_html("{} entries, {}", f"{held.size:,}", ago(held.made_at)))
            )
        if self.refusal:
            found.append(("Signer", self.refusal))
        return found


def integrity(log: LogRef = MAIN) -> Integrity:
    now = head(log)
    return Integrity(
        verification=latest_verification(log),
        failed=failure_of(log.id),
        size=now.size if now else 0,
        checkpoint=latest_checkpoint(log),
        key_id=verifier_key(log).split("+")[1],
        refusal=now.refusal if now else "",
        outside=held_outside(log.id),
        log=log,
        told=None if log.is_main else newest_told(log),
    )
