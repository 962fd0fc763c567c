"""What is wrong with a certificate, by openssl."""

import ipaddress
import re
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pergola.certificates.order import Order, Wanted, is_address
from pergola.errors import PergolaError
from pergola.people import DAY
from pergola.system import attempt, run

RENEW_SECONDS = 90 * DAY
PURPOSES = {"members": ("sslserver", "sslclient"), "clients": ("sslclient",)}
PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----.*-----END PUBLIC KEY-----", re.DOTALL)


def openssl(*arguments: object, stdin: str = "") -> str:
    return run("openssl", *arguments, stdin=stdin, what=f"openssl {arguments[0]}")


def public_half(key: Path) -> str:
    """The public key of a key's file; PergolaError for one that openssl cannot read."""
    done = attempt("openssl", "pkey", "-in", key, "-pubout")
    if done.returncode:
        raise PergolaError(
            f"{key} is no private key",
            done.stderr,
            hint="remove it, and run again: a new one is made, with its certificate",
        )
    return done.stdout.strip()


def why_not(certificate: str, wanted: Wanted, order: Order, now: float | None = None) -> str:
    """Why a certificate is not the wanted one; empty when it is.

    `now`, in seconds since 1970: whether it lasts long enough from then on is asked as well.
    Without it whether it holds at this moment is.
    """
    looked = ["-noout", "-subject", "-nameopt", "RFC2253", "-enddate", "-pubkey"]
    done = attempt("openssl", "x509", *looked, "-ext", "subjectAltName", stdin=certificate)
    if done.returncode:
        return "it is no certificate"
    if wrong := wrong_text(done.stdout, wanted):
        return wrong
    if now is not None and ends(done.stdout) < now + RENEW_SECONDS:
        return f"it ends on {found(r'^notAfter=(.*)$', done.stdout)}"
    return next(refusals(certificate, wanted, order, timeless=now is not None), "")


def wrong_text(said: str, wanted: Wanted) -> str:
    """What a certificate says that is not so: its key, its name, its addresses."""
    public = PUBLIC.search(said)
    if not public or public[0] != public_half(wanted.key):
        return f"it is not of the key in {wanted.key}"
    name = found(r"^subject=(.*)$", said)
    if name != f"CN={wanted.common_name}":
        return f"it is of {name}, and not of CN={wanted.common_name}"
    listed = found(r"Subject Alternative Name:[^\n]*\n\s*(.*)$", said)
    named = {normal(entry) for entry in listed.split(", ") if entry}
    needed = set(alternatives(wanted))
    if named != needed:
        text = [", ".join(sorted(names)) or "no address" for names in (named, needed)]
        return f"it names {text[0]}, and not {text[1]}"
    return ""


def found(pattern: str, said: str) -> str:
    match = re.search(pattern, said, re.MULTILINE)
    return match[1].strip() if match else ""


def ends(said: str) -> float:
    return ssl.cert_time_to_seconds(found(r"^notAfter=(.*)$", said))


def alternatives(wanted: Wanted) -> Iterator[str]:
    """Its addresses as the control node signs them: IP addresses are names as well."""
    for one in wanted.addresses:
        yield f"DNS:{one}"
        if is_address(one):
            yield normal(f"IP Address:{one}")


def normal(entry: str) -> str:
    """An alternative name of openssl's, which writes out all of an IPv6 address."""
    kind, _, value = entry.partition(":")
    if kind == "IP Address" and is_address(value):
        return f"{kind}:{ipaddress.ip_address(value)}"
    return entry


def refusals(certificate: str, wanted: Wanted, order: Order, timeless: bool) -> Iterator[str]:
    """Why strict software would not take it from the authority that signs now."""
    strict = ["-x509_strict", "-no-CApath", "-no-CAstore", *(["-no_check_time"] * timeless)]
    with tempfile.NamedTemporaryFile("w", suffix=".crt") as authority:
        authority.write(order.first(wanted.trust))
        authority.flush()
        for purpose in PURPOSES[wanted.trust]:
            chosen = ["-CAfile", authority.name, "-purpose", purpose]
            done = attempt("openssl", "verify", *strict, *chosen, stdin=certificate)
            if done.returncode:
                said = found(r"error \d+ at .*?lookup: ?(.*)$", done.stdout + done.stderr)
                yield f"the authority of the {wanted.trust} does not stand for it: {said}"
