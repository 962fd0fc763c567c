"""Whether a certificate of the user's own is one that a site can present, and browsers take.

What reads certificates is loaded where there is one: each run of Ansible loads this file.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography import x509

EXAMPLE = (
    "app_certificate: {certificate: \"{{ lookup('file', inventory_dir ~ '/site.pem') }}\", "
    'key: "{{ vault_site_key }}"}'
)
KEYS = {"certificate", "key"}


def certificate_wrong(given: Mapping[str, Any], names: Sequence[str], now: Any = None) -> str:  # noqa: ANN401
    """Why it cannot be presented for the names; nothing of the key is shown."""
    if not given:
        return ""
    if set(given) != KEYS or not all(isinstance(value, str) for value in given.values()):
        return f"app_certificate must hold certificate and key; example: {EXAMPLE}"
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        chain = x509.load_pem_x509_certificates(str(given["certificate"]).encode())
    except ValueError:
        return (
            "app_certificate: certificate is no certificate in PEM form (-----BEGIN CERTIFICATE"
            f"-----), but its content must stand there; example: {EXAMPLE}"
        )
    try:
        key = serialization.load_pem_private_key(str(given["key"]).encode(), None)
    except (ValueError, TypeError):
        return "app_certificate: key is no private key in PEM form without a passphrase"
    why = [
        *of_key(chain, key),
        *of_time(chain[0], now),
        *of_names(chain[0], names),
        *of_chain(chain),
    ]
    return f"app_certificate: {why[0]}" if why else ""


def of_key(chain: Sequence[x509.Certificate], key: Any) -> list[str]:  # noqa: ANN401
    """Whether it is the key of the first one."""
    fits = [number for number, one in enumerate(chain) if one.public_key() == key.public_key()]
    if not fits:
        return ["the key is not that of the certificate"]
    return [] if fits[0] == 0 else ["the site's own certificate must come first in its file"]


def of_time(one: x509.Certificate, now: Any) -> list[str]:  # noqa: ANN401
    now = now or datetime.datetime.now(datetime.UTC)
    if now > one.not_valid_after_utc:
        return [f"it expired on {one.not_valid_after_utc:%Y-%m-%d}"]
    if now < one.not_valid_before_utc:
        return [f"it is not valid before {one.not_valid_before_utc:%Y-%m-%d}"]
    return []


def of_names(one: x509.Certificate, names: Sequence[str]) -> list[str]:
    from cryptography import x509

    try:
        extension = one.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        held = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        held = []
    lacking = [name for name in names if not any(covers(entry.lower(), name) for entry in held)]
    has = f"it names {', '.join(held) or 'no site'}"
    return [f"{has}, and not {', '.join(lacking)}"] if lacking else []


def covers(entry: str, name: str) -> bool:
    """Whether an entry is for a name; a wildcard is for one label."""
    return bool(re.fullmatch(re.escape(entry).replace(r"\*", r"[^.]+"), name))


def of_chain(chain: Sequence[x509.Certificate]) -> list[str]:
    """Whether each is issued by the one behind it."""
    from cryptography.exceptions import InvalidSignature

    for one, issuer in pairwise(chain):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            return [
                "its chain is out of order: each certificate must be followed by its issuer's, and "
                f"'{one.subject.rfc4514_string()}' is followed by "
                f"'{issuer.subject.rfc4514_string()}'"
            ]
    return []


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"certificate_wrong": certificate_wrong}
