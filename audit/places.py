"""The places outside that shall hold checkpoints of the log, as the environment names them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from django.conf import settings

from audit.ledger.policy import Policy, PolicyError, Witness, parse_policy
from audit.models import Anchor
from audit.outside import address_fault
from audit.timestamps import Authority, load_certificates

# After a fault a place is asked again after its interval, but after this time at the latest.
_LONGEST_PAUSE = timedelta(minutes=5)
_T = TypeVar("_T")


class PlacesError(ValueError):
    """The settings do not name places that can be asked; the sentence names the variable."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place, known by kind and name. It has a witness or an authority."""

    kind: str
    name: str
    url: str
    interval: timedelta
    witness: Witness | None = None
    authority: Authority | None = None

    @property
    def pause(self) -> timedelta:
        """How long to wait after a try that failed."""
        return min(self.interval, _LONGEST_PAUSE)


def places() -> list[Place]:
    """Every place that is asked. Raises PlacesError."""
    every = timedelta(seconds=settings.VESTIGE_WITNESS_INTERVAL)
    found = [
        Place(Anchor.Kind.WITNESS, witness.key.name, witness.url, every, witness=witness)
        for witness in witness_policy().witnesses.values()
        if witness.url
    ]
    authority = tsa()
    if authority is not None:
        every = timedelta(seconds=settings.VESTIGE_TSA_INTERVAL)
        found.append(
            Place(Anchor.Kind.TIMESTAMP, authority.name, authority.url, every, authority=authority)
        )
    return found


def witness_policy() -> Policy:
    """The witnesses and their quorum (C2SP tlog-policy). Raises PlacesError."""
    text, variable = settings.VESTIGE_WITNESSES, "VESTIGE_WITNESSES"
    if settings.VESTIGE_WITNESSES_FILE:
        variable = "VESTIGE_WITNESSES_FILE"
        text = _from_file(variable, settings.VESTIGE_WITNESSES_FILE, Path.read_text)
    if not text.strip():
        return Policy()
    return _policy(text, variable)


def tsa() -> Authority | None:
    """The time stamping authority, if one is named. Raises PlacesError."""
    url = settings.VESTIGE_TSA_URL
    if not url:
        return None
    _require_address("VESTIGE_TSA_URL", url)
    if not settings.VESTIGE_TSA_CERTIFICATE:
        raise PlacesError(
            "VESTIGE_TSA_CERTIFICATE is missing: name a PEM file with the root certificate that"
            " the time stamps of VESTIGE_TSA_URL shall be checked against."
        )
    variable = "VESTIGE_TSA_CERTIFICATE"
    pem = _from_file(variable, settings.VESTIGE_TSA_CERTIFICATE, Path.read_bytes)
    try:
        certificates = load_certificates(pem)
    except ValueError as exc:
        raise PlacesError(f"{variable} cannot be used: {exc}.") from exc
    return Authority(urlsplit(url).netloc, url, certificates)


@lru_cache(maxsize=4)
def _policy(text: str, variable: str) -> Policy:
    try:
        policy = parse_policy(text)
    except PolicyError as exc:
        raise PlacesError(f"{variable}: {exc}.") from exc
    for witness in policy.witnesses.values():
        if witness.url:
            _require_address(f"{variable}, witness {witness.name}", witness.url)
    names = [witness.key.name for witness in policy.witnesses.values()]
    if len(set(names)) < len(names):
        raise PlacesError(f"{variable}: two witnesses have a key of one name.")
    return policy


def _require_address(where: str, url: str) -> None:
    fault = address_fault(url)
    if fault:
        raise PlacesError(f"{where}: {url} cannot be asked: {fault}.")


def _from_file(variable: str, name: str, read: Callable[[Path], _T]) -> _T:
    try:
        return read(Path(name))
    except (OSError, UnicodeDecodeError) as exc:
        raise PlacesError(f"{variable} names {name}, which cannot be read.") from exc
