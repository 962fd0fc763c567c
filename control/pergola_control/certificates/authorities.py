"""The authorities of an environment: one PEM file on the control node."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pergola_control.refusal import RefusalError

TRUSTS = ("members", "clients")
DAYS = 3650
# Clocks of hosts may be a little behind.
EARLIER = datetime.timedelta(minutes=5)
LONGEST_NAME = 64  # characters of a part of a subject, as RFC 5280 has it
SETTING = "certificates_file"
REMEDY = "put back the copy of this file that you keep elsewhere"
HEAD = """\
The authorities of {environment}. Whoever has this file can pass for each of its hosts and
applications: encrypt it with `ansible-vault encrypt`, and keep a copy elsewhere. Of each kind the
first one signs, and all are trusted.

"""


@dataclass(frozen=True)
class Authority:
    """One of them. `key`: None for one that is trusted only."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None

    @property
    def trust(self) -> str:
        """Members or clients, as its subject says."""
        return part(self.certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)


@dataclass(frozen=True)
class Authorities:
    """All of an environment, by trust; the first of each has its key."""

    of: Mapping[str, Sequence[Authority]]

    def bundles(self) -> dict[str, str]:
        """The certificates of each trust, in their order; no key is among them."""
        return {trust: "".join(pem(one.certificate) for one in self.of[trust]) for trust in TRUSTS}


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def part(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    """A part of the subject; empty where it has none."""
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


# -- made ------------------------------------------------------------------------------------------


def made(environment: str, now: datetime.datetime) -> str:
    """A new file: an authority for each trust."""
    both = [authority(environment, trust, now) for trust in TRUSTS]
    return HEAD.format(environment=environment) + "".join(map(written, both))


def authority(environment: str, trust: str, now: datetime.datetime) -> Authority:
    """A new authority, of ten years; its name is no other one's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, environment[:LONGEST_NAME]),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, trust),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Pergola {trust} {secrets.token_hex(4)}"),
        ]
    )
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(subject_key, critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def usage(signs: bool) -> x509.KeyUsage:
    """What a key is for: an authority's signs certificates, any other one what is sent."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def written(one: Authority) -> str:
    """An authority as it stands in the file."""
    if one.key is None:
        return pem(one.certificate)
    key = one.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem(one.certificate) + key.decode()


# -- read ------------------------------------------------------------------------------------------


def read(text: str, where: str) -> Authorities:
    """The authorities in the text of a file; RefusalError for one that cannot sign."""
    keys = [key_of(block, where) for block in blocks(text) if "PRIVATE KEY" in block]
    by_public = {key.public_key().public_numbers(): key for key in keys}
    found: dict[str, list[Authority]] = {trust: [] for trust in TRUSTS}
    for certificate in certificates(text, where):
        check_authority(certificate, where)
        public = certificate.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)  # noqa: S101 - it was checked
        one = Authority(certificate, by_public.get(public.public_numbers()))
        found[one.trust].append(one)
    for trust, all_of_it in found.items():
        if not all_of_it or all_of_it[0].key is None:
            lacks = "no authority" if not all_of_it else "no key of its first authority"
            raise RefusalError(f"{where} has {lacks} for the {trust}", SETTING, REMEDY)
    return Authorities(found)


def blocks(text: str) -> list[str]:
    """The PEM blocks of a text."""
    parts = text.split("-----BEGIN ")[1:]
    return [f"-----BEGIN {part.partition('-----END ')[0]}{end_of(part)}" for part in parts]


def end_of(block: str) -> str:
    kind = block.partition("-----")[0]
    return f"-----END {kind}-----\n"


def certificates(text: str, where: str) -> list[x509.Certificate]:
    found = "".join(block for block in blocks(text) if " CERTIFICATE-----" in block)
    try:
        return x509.load_pem_x509_certificates(found.encode())
    except ValueError:
        raise RefusalError(f"{where} holds no certificates in PEM form", SETTING, REMEDY) from None


def key_of(block: str, where: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(block.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RefusalError(f"{where} holds a key that cannot be read", SETTING, REMEDY)
    return key


def check_authority(certificate: x509.Certificate, where: str) -> None:
    """Refuse what is no authority of a trust, signed by itself."""
    try:
        certificate.verify_directly_issued_by(certificate)
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_one = basic.ca and isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        is_one = False
    if not is_one or part(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME) not in TRUSTS:
        name = certificate.subject.rfc4514_string()
        why = f"{where}: '{name}' is no authority for members or clients"
        raise RefusalError(why, SETTING, REMEDY)
