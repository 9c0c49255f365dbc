"""What there is to say of each log at a glance."""

from dataclasses import dataclass
from datetime import datetime

from audit.keys import KeyFileError
from audit.logs import LogRef
from audit.models import Verification
from audit.parent import Told, newest_told
from audit.queries import entries, failure_of, head, verifier_key


@dataclass(frozen=True, slots=True)
class Overview:
    """A log, how large it is, and how far the main log holds it. `vkey` is None if unusable."""

    log: LogRef
    title: str
    origin: str
    vkey: str | None
    size: int
    newest_at: datetime | None
    told: Told | None
    refusal: str
    failed: Verification | None

    @property
    def behind(self) -> int:
        """Entries that the main log does not hold yet."""
        return 0 if self.log.is_main else self.size - (self.told.size if self.told else 0)


def overview_of(log: LogRef) -> Overview:
    now = head(log)
    newest = entries(log).order_by("-seq").values_list("recorded_at", flat=True).first()
    try:
        vkey = verifier_key(log)
    except KeyFileError:
        vkey = None
    return Overview(
        log,
        now.title if now else "",
        now.origin if now else "",
        vkey,
        now.size if now else 0,
        newest,
        None if log.is_main else newest_told(log),
        now.refusal if now else "",
        failure_of(log.id),
    )
