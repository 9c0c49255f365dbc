"""The electronic signature of our PDFs: PAdES-B-B, ECDSA on P-256, invisible.

P-256 and not Ed25519 because PDF readers (Poppler among them) validate it. Invisible because a
visible signature field breaks PDF/UA-1. The certificate is self-signed, so a reader will call
the signer unknown until it is told to trust it: what ties the key to this installation is that
each document's statement, which is in the log, names the certificate's digest.
"""

import io
import os
import secrets
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.utils import timezone

if TYPE_CHECKING:
    from pyhanko.sign import Signer

_LIFETIME = timedelta(days=3650)


class SigningKeyError(Exception):
    """The document key cannot be read."""


def _key_file() -> Path:
    return Path(settings.VESTIGE_KEYS) / "document-signing.pem"


def _new_key_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, settings.VESTIGE_ORGANISATION[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, "Vestige document signing"),
        ]
    )
    now = timezone.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=True,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem() -> bytes:
    """Key and certificate; made at first use. Two workers at once agree on one file."""
    path = _key_file()
    if not path.exists():
        half = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_new_key_pem())
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(half)  # unlike a rename, this never replaces another worker's key
        except FileExistsError:
            pass
        finally:
            half.unlink()
    return path.read_bytes()


def certificate() -> x509.Certificate:
    """The certificate that our PDFs are signed with. Raises SigningKeyError."""
    try:
        return x509.load_pem_x509_certificate(_key_pem())
    except ValueError as exc:
        raise SigningKeyError(
            f"{_key_file()} holds no readable certificate. Restore it from the backup of the keys."
        ) from exc


def certificate_sha256() -> str:
    """How a statement names the certificate: SHA-256 over its DER form, hex."""
    return certificate().fingerprint(hashes.SHA256()).hex()


@cache
def _signer(key_pem: bytes) -> "Signer":
    from pyhanko.keys import load_certs_from_pemder_data, load_private_key_from_pemder_data
    from pyhanko.sign import SimpleSigner
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    (own,) = load_certs_from_pemder_data(key_pem)
    return SimpleSigner(
        signing_cert=own,
        signing_key=load_private_key_from_pemder_data(key_pem, passphrase=None),
        cert_registry=SimpleCertificateStore(),  # type: ignore[no-untyped-call]
    )


def signed(pdf: bytes, *, reason: str) -> bytes:
    """The PDF with an invisible signature appended; what was there stays byte for byte.

    Raises SigningKeyError.
    """
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import PdfSignatureMetadata, PdfSigner
    from pyhanko.sign.fields import InvisSigSettings, SigFieldSpec, SigSeedSubFilter

    certificate()
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    signer = PdfSigner(
        PdfSignatureMetadata(
            field_name="VestigeSignature",
            md_algorithm="sha256",
            subfilter=SigSeedSubFilter.PADES,
            name=f"Vestige, for {settings.VESTIGE_ORGANISATION}",
            reason=reason,
        ),
        signer=_signer(_key_pem()),
        # Out of bounds and printable: PDF/UA-1 excuses a field outside the page from being
        # tagged, and PDF/A-3 refuses a hidden one.
        new_field_spec=SigFieldSpec(
            "VestigeSignature",
            invis_sig_settings=InvisSigSettings(set_print_flag=True, box_out_of_bounds=True),
        ),
    )
    out: io.BytesIO = signer.sign_pdf(writer)
    return out.getvalue()
