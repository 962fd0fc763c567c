"""Sign what a task asks for. Of a host's request only its public key is taken."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pergola_control.certificates.authorities import (
    EARLIER,
    LONGEST_NAME,
    TRUSTS,
    Authorities,
    Authority,
    pem,
    usage,
)
from pergola_control.refusal import RefusalError

DAYS = 730
# Before an authority's end each of its certificates must have been replaced.
ROTATED_BEFORE = datetime.timedelta(days=DAYS + 90)
NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
WANTED = "certificates_wanted"
EXAMPLE = (
    "{name: host, trust: members, common_name: db1, addresses: [10.0.0.2, db1], group: ssl-cert}"
)


@dataclass(frozen=True)
class Wanted:
    """A certificate that a task asks for. `name`: of its file; `group`: who reads its key."""

    name: str
    trust: str
    common_name: str
    addresses: tuple[str, ...]
    group: str

    @classmethod
    def of(cls, given: Mapping[str, object]) -> Wanted:
        """As it stands in the settings; RefusalError for what no certificate can say."""
        texts = {key: value for key, value in given.items() if key != "addresses"}
        addresses = given.get("addresses", ())
        if texts.keys() != {"name", "trust", "common_name", "group"} or not all(
            isinstance(value, str) and value for value in texts.values()
        ):
            raise wrong(f"{dict(given)} does not say what a certificate needs")
        if not isinstance(addresses, list | tuple):
            raise wrong(f"addresses of {given['name']} is no list")
        found = tuple(dict.fromkeys(str(one) for one in addresses))
        one = cls(addresses=found, **{key: str(value) for key, value in texts.items()})
        one.check()
        return one

    def check(self) -> None:
        if self.trust not in TRUSTS:
            raise wrong(f"trust of {self.name} is '{self.trust}', and not {' or '.join(TRUSTS)}")
        if not NAME.fullmatch(self.name) or self.name in TRUSTS:
            raise wrong(f"'{self.name}' cannot be the name of a certificate's file")
        if not NAME.fullmatch(self.common_name) or len(self.common_name) > LONGEST_NAME:
            raise wrong(
                f"common_name of {self.name} is '{self.common_name}': {LONGEST_NAME} letters, "
                "digits, '.', '-' and '_' are taken at most"
            )
        for address in self.addresses:
            if not is_address(address) and not NAME.fullmatch(address):
                raise wrong(f"'{address}' of {self.name} is neither a host's name nor an address")

    def as_json(self) -> dict[str, object]:
        return {**vars(self), "addresses": list(self.addresses)}


def wrong(what: str) -> RefusalError:
    return RefusalError(what, WANTED, f"write it like {EXAMPLE}")


def is_address(text: str) -> bool:
    """Whether it is one that a certificate can hold: without the name of an interface."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def sign(authorities: Authorities, wanted: Wanted, request: str, now: datetime.datetime) -> str:
    """The certificate in PEM form, by the first authority of its trust.

    RefusalError for a request that was not made with the key that it names, or not with one of
    P-256, and for an authority that has come to its end.
    """
    signer = authorities.of[wanted.trust][0]
    ends = signer.certificate.not_valid_after_utc
    if ends <= now:
        raise RefusalError(
            f"the first authority of the {wanted.trust} ended on {ends:%Y-%m-%d}",
            "certificates_file",
            "move the file away: the next run makes new authorities, with certificates_replace",
        )
    return pem(certificate(signer, wanted, public_key(wanted, request), now))


def public_key(wanted: Wanted, request: str) -> ec.EllipticCurvePublicKey:
    try:
        asked = x509.load_pem_x509_csr(request.encode())
        key = asked.public_key() if asked.is_signature_valid else None
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != ec.SECP256R1.name:
        raise RefusalError(
            f"the host's request for {wanted.name} is none that can be signed",
            "",
            f"remove /etc/pergola/certificates/{wanted.name}.key there, and run again",
        )
    return key


def certificate(
    signer: Authority, wanted: Wanted, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.Certificate:
    """Two years, for what its trust allows, under the names of the task and no others."""
    issuer = signer.certificate
    ids = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if wanted.trust == "members":
        purposes.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    ends = min(now + datetime.timedelta(days=DAYS), issuer.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ids), critical=False
        )
    )
    if wanted.addresses:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(alternatives(wanted)), critical=False
        )
    assert signer.key is not None  # noqa: S101 - the first of a trust has it
    return builder.sign(signer.key, hashes.SHA256())


def alternatives(wanted: Wanted) -> list[x509.GeneralName]:
    """Each address is in it as a name too: pgBackRest compares it with names only before 2.50."""
    found: list[x509.GeneralName] = [x509.DNSName(one) for one in wanted.addresses]
    found += [
        x509.IPAddress(ipaddress.ip_address(one)) for one in wanted.addresses if is_address(one)
    ]
    return found


def near_their_end(authorities: Authorities, now: datetime.datetime) -> list[str]:
    """Which of those that sign must be replaced before long, in words."""
    signers = [authorities.of[trust][0] for trust in TRUSTS]
    return [
        f"the authority of the {one.trust} ends on {one.certificate.not_valid_after_utc:%Y-%m-%d}, "
        "and so do its certificates: add a new one to certificates_file, behind it until all hosts "
        "trust both"
        for one in signers
        if one.certificate.not_valid_after_utc - ROTATED_BEFORE <= now
    ]
