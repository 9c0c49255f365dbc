"""Time stamps by RFC 3161 over a checkpoint: an authority says that the note was there by then.

What is kept is the TimeStampToken in DER, as `openssl ts -verify -token_in` reads it. The message
is the whole signed note, hashed with SHA-256.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.utils import timezone
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from audit.outside import OutsideError, post

if TYPE_CHECKING:
    from rfc3161_client import Verifier

# A token's time may differ from our clock by this much; more means that one of the two is wrong.
MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)

_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_OPENSSL = re.compile(r'Verify error: ?([^"]{1,100})')
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


class InvalidTokenError(ValueError):
    """The token does not show what it should; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A time stamping authority: where it is asked, and the certificates that it is trusted by.

    Among them at least one root. A certificate for time stamping pins the authority's own.
    """

    name: str
    url: str
    certificates: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class TimeStamp:
    token: bytes
    made_at: datetime


def load_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM file. Raises ValueError when there is no root among them."""
    found = tuple(x509.load_pem_x509_certificates(pem))
    if not any(_is_root(certificate) for certificate in found):
        raise ValueError("there is no root certificate (issued by itself) in it")
    return found


def time_stamp(note: str, authority: Authority) -> TimeStamp:
    """Have the authority say that the note is there now. Raises OutsideError."""
    message = note.encode()
    request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    answer = post(authority.url, request.as_bytes(), media_type=_QUERY, accept=_REPLY)
    if answer.status != 200 or answer.media_type != _REPLY:
        raise OutsideError(f"It answers {answer.status} {answer.media_type} and no time stamp.")
    try:
        response = decode_timestamp_response(answer.body)
    except ValueError as exc:
        raise OutsideError("Its answer is no time stamp.") from exc
    if response.status:
        raise OutsideError(f"It refuses: {' '.join(response.status_string) or response.status}.")
    try:
        made_at = _verified(response, message, authority.certificates, nonce=request.nonce)
    except InvalidTokenError as exc:
        raise OutsideError(f"Its time stamp is not good: {exc}.") from exc
    if abs(made_at - timezone.now()) > MAX_CLOCK_DIFFERENCE:
        raise OutsideError(
            f"Its time stamp says {made_at.isoformat()}: its clock or ours is wrong."
        )
    return TimeStamp(response.time_stamp_token(), made_at)


def verify_token(token: bytes, note: str, certificates: tuple[x509.Certificate, ...]) -> datetime:
    """When the authority saw the note. The certificates must have been valid then, not now.

    Raises InvalidTokenError.
    """
    try:
        response = decode_timestamp_response(_as_response(token))
    except ValueError as exc:
        raise InvalidTokenError("it cannot be read") from exc
    return _verified(response, note.encode(), certificates)


def _verified(
    response: TimeStampResponse,
    message: bytes,
    certificates: tuple[x509.Certificate, ...],
    *,
    nonce: int | None = None,
) -> datetime:
    # The parser reads parts of the answer only when they are asked for.
    try:
        imprint = response.tst_info.message_imprint
        if imprint.hash_algorithm != _SHA256 or imprint.message != sha256(message).digest():
            raise InvalidTokenError("it covers something else")
        _verifier(certificates, nonce).verify_message(response, message)
        made_at: datetime = response.tst_info.gen_time
    except InvalidTokenError:
        raise
    except (VerificationError, ValueError) as exc:
        raise InvalidTokenError(_reason(str(exc))) from exc
    return made_at


def _reason(said: str) -> str:
    """What the library said, without OpenSSL's places in its source."""
    found = _OPENSSL.search(said)
    return found[1] if found else said[:200].rstrip(".")


def _verifier(certificates: tuple[x509.Certificate, ...], nonce: int | None) -> "Verifier":
    builder = VerifierBuilder()
    for certificate in certificates:
        if _is_root(certificate):
            builder = builder.add_root_certificate(certificate)
        elif _stamps_time(certificate):
            builder = builder.tsa_certificate(certificate)
        else:
            builder = builder.add_intermediate_certificate(certificate)
    return (builder if nonce is None else builder.nonce(nonce)).build()


def _is_root(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


def _stamps_time(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.TIME_STAMPING in usage.value


def _as_response(token: bytes) -> bytes:
    """The token in a TimeStampResp with the status `granted`: the parser takes nothing less."""
    body = b"\x30\x03\x02\x01\x00" + token
    if len(body) < 0x80:
        return b"\x30" + bytes([len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return b"\x30" + bytes([0x80 | len(length)]) + length + body
