"""Telling people: an outbox for what could not be sent, addresses, mail, the heartbeat."""

import hashlib
import json
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

from monitoring.checks import OK
from monitoring.watch import Change

# Messages that wait; when there are more, the oldest go, and the journal says so.
KEPT = 200
# Seconds for one message, and for all of one look: the next look must not wait for them.
SECONDS_EACH = 5
SECONDS_ALL = 20

Send = Callable[[dict[str, Any]], None]


def notice(change: Change, host: str, wall: float) -> dict[str, Any]:
    """What is told of a change."""
    event = "resolved" if change.state == OK else "alert"
    word = "resolved" if event == "resolved" else change.state.upper()
    return {
        "event": event,
        "host": host,
        "check": change.name,
        "state": change.state,
        "before": change.before,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall)),
        "text": f"{host}: {word} {change.name}: {change.says}",
    }


def recipients(config: dict[str, Any]) -> dict[str, tuple[str, Send]]:
    """Who is told: a key without the address's secret -> a name for people, what sends."""
    found: dict[str, tuple[str, Send]] = {}
    for url in config["urls"]:
        found[key("url", url)] = (urlsplit(url).hostname or "an address", posted(url))
    for mail in config["mails"]:
        found[key("mail", mail)] = (f"mail to {', '.join(mail['to'])}", mailed(mail))
    return found


def key(kind: str, address: object) -> str:
    digest = hashlib.sha256(json.dumps(address, sort_keys=True).encode()).hexdigest()
    return f"{kind}-{digest[:12]}"


def posted(url: str) -> Send:
    return lambda told: request(url, json.dumps(told).encode())


def request(url: str, data: bytes | None = None) -> None:
    """POST JSON, or GET; OSError when it is not answered well."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise OSError("no http:// or https:// address")
    headers = {"Content-Type": "application/json", "User-Agent": "pergola-status"}
    wanted = urllib.request.Request(url, data, headers)  # noqa: S310 - its scheme was looked at
    with urllib.request.urlopen(wanted, timeout=SECONDS_EACH):  # noqa: S310
        pass


def mailed(settings: dict[str, Any]) -> Send:
    """A message by SMTP, encrypted if the server offers that; a password goes encrypted only."""

    def send(told: dict[str, Any]) -> None:
        message = EmailMessage()
        message["Subject"] = told["text"][:200]
        message["From"] = settings.get("sender") or f"pergola@{told['host']}"
        message["To"] = ", ".join(settings["to"])
        body = "\n".join(f"{name}: {value}" for name, value in told.items() if name != "text")
        message.set_content(f"{told['text']}\n\n{body}\n")
        host, port = settings.get("host") or "localhost", int(settings.get("port") or 25)
        user = settings.get("username")
        trust = ssl.create_default_context()
        if not user:  # encrypted to whoever answers is better than not encrypted
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        if port == smtplib.SMTP_SSL_PORT:
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=SECONDS_EACH, context=trust)
        else:
            server = smtplib.SMTP(host, port, timeout=SECONDS_EACH)
        with server:
            server.ehlo()
            if port != smtplib.SMTP_SSL_PORT and server.has_extn("starttls"):
                server.starttls(context=trust)
            elif port != smtplib.SMTP_SSL_PORT and user:
                raise OSError("the mail server offers no encryption: the password was not sent")
            if user:
                server.login(user, settings.get("password", ""))
            server.send_message(message)

    return send


def queued(
    outbox: list[dict[str, Any]], notices: Iterable[dict[str, Any]], keys: Iterable[str]
) -> tuple[list[dict[str, Any]], int]:
    """The outbox with new messages, one for each recipient, and how many had to be dropped."""
    keys = list(keys)
    new = [*outbox, *({"to": to, "notice": told} for told in notices for to in keys)]
    return new[-KEPT:], max(0, len(new) - KEPT)


def sent(
    outbox: list[dict[str, Any]],
    people: dict[str, tuple[str, Send]],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Send what waits, in order; return what still waits, and what failed by recipient.

    A recipient that fails gets nothing more in this look, so the order stays. A message to one who
    is not a recipient any more is forgotten.
    """
    waits: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    ends = clock() + SECONDS_ALL
    for entry in outbox:
        if entry["to"] not in people:
            continue
        name, send = people[entry["to"]]
        if entry["to"] in failed or clock() > ends:
            waits.append(entry)
            continue
        try:
            send(entry["notice"])
        except Exception as error:  # smtplib, ssl and http.client have many of their own
            waits.append(entry)
            failed[entry["to"]] = f"{name}: {reason(error)}"
    return waits, failed


def reason(error: Exception) -> str:
    """What went wrong, without the address: other errors than those of the system may hold it."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, OSError) else kind


def beaten(urls: Iterable[str]) -> dict[str, str]:
    """Say at each address that this host is alive; what failed by the address's key."""
    failed = {}
    for url in urls:
        try:
            request(url)
        except Exception as error:  # the outside notices; nothing here depends on it
            failed[key("beat", url)] = f"{urlsplit(url).hostname}: {reason(error)}"
    return failed
