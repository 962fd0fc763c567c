"""Asking as a visitor does: HTTP over a slot's socket, HTTPS by a site's name, and what DNS says.

Everything is bounded: the time of each answer, its size, and the time of all together.
"""

import contextlib
import dataclasses
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pergola.status.config import SECONDS
from pergola.status.seen import Answer, Tls
from pergola.status.together import together
from pergola.system import attempt, opened

# Seconds: to connect, for one answer, for all that is asked in one look. A page that takes longer
# is no page for a visitor.
CONNECT, ANSWER, ALL = 3, 10, 25
HTTPS = 443
# Bytes of an answer that are read.
MOST = 65536
AGENT = "pergola-status"
# Caddy's own authority, in a directory of its account.
OWN_AUTHORITY = Path("/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt")
NO_SUCH_NAME = 2  # getent's exit code


def at_once(questions: Mapping[str, Callable[[], Answer]]) -> dict[str, Answer]:
    """The answers to several questions that are asked at once."""

    def failed(error: Exception) -> Answer:
        return Answer(error=f"{type(error).__name__}: {error}")

    late = Answer(error=f"no answer within {ALL} s")
    return {name: found or late for name, found in together(questions, failed, ALL).items()}


def over_socket(path: Path, url: str, domain: str) -> Answer:
    """GET over a unix socket."""
    try:
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(CONNECT)
        plain.connect(str(path))
    except OSError as error:
        return Answer(error=reason(error))
    # As Caddy asks: an application that looks at its client finds one.
    forwarded = {"For": "127.0.0.1", "Host": domain, "Proto": "https"}
    headers = {f"X-Forwarded-{name}": value for name, value in forwarded.items()}
    return got(plain, url, {"Host": domain, **headers})


def over_https(domain: str, url: str) -> Answer:
    """GET of a site by its name at this host's own address, and whether its certificate is good."""
    here, why = own_address(), ""
    for kind, context in contexts():
        try:
            plain = socket.create_connection((here, HTTPS), timeout=CONNECT)
        except OSError as error:
            return Answer(error=f"{here} port {HTTPS}: {reason(error)}")
        try:
            secure = context.wrap_socket(plain, server_hostname=domain)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            why = why or error.verify_message
            continue
        except OSError as error:  # ssl.SSLError is one
            plain.close()
            return Answer(error=f"{here} port {HTTPS}: no TLS: {reason(error)}")
        tls = Tls(here, trusted=kind == "public", own=kind == "own", why=why)
        return dataclasses.replace(got(secure, url, {"Host": domain}), tls=tls)
    return Answer(tls=Tls(here, why=why))


def as_edge(place: str, domain: str, url: str) -> Answer:
    """GET of a site at the address and port that its edge asks."""
    host, _, port = place.rpartition(":")
    try:
        plain = socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT)
    except OSError as error:
        return Answer(error=f"{place}: {reason(error)}")
    return got(plain, url, {"Host": domain})


def contexts() -> Iterator[tuple[str, ssl.SSLContext]]:
    """Whom to trust, one after the other: who browsers trust, Caddy's own authority, anybody."""
    yield "public", ssl.create_default_context()
    # One that was not made, or is none, is passed over.
    with contextlib.suppress(OSError, ValueError):
        with opened(OWN_AUTHORITY) as file:
            text = file.read(MOST).decode()
        yield "own", ssl.create_default_context(cadata=text)
    # Without the authorities of the system, which take the most time.
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    yield "anybody", anybody


def got(connection: socket.socket, url: str, headers: dict[str, str]) -> Answer:
    """GET over a connection, which is closed then."""
    asked = http.client.HTTPConnection("localhost", timeout=ANSWER)
    asked.sock = connection
    try:
        connection.settimeout(ANSWER)
        asked.request("GET", url, headers={"User-Agent": AGENT, **headers})
        answer = asked.getresponse()
        return Answer(answer.status, first_words(answer.read(MOST)))
    except (OSError, http.client.HTTPException) as error:
        return Answer(error=reason(error))
    finally:
        asked.close()


def first_words(body: bytes) -> str:
    """The beginning of an answer for a message: of plain text only, and nothing that controls."""
    text = body[:100].decode(errors="replace").strip()
    if text.startswith("<"):
        return ""
    return "".join(c if c.isprintable() else " " for c in text.partition("\n")[0])


def reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def own_address() -> str:
    """The address by which this host reaches others; no packet is sent for that."""
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, HTTPS))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"


def resolved(domain: str) -> Answer:
    """The addresses that a name has, by a program of its own: a lookup knows no time limit."""
    done = attempt("getent", "ahosts", domain, timeout=SECONDS)
    if done.returncode not in (0, NO_SUCH_NAME):
        return Answer(error=f"getent ended with {done.returncode}")
    found = dict.fromkeys(line.split()[0] for line in done.stdout.splitlines())
    return Answer(addresses=list(found))
