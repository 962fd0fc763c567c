"""Telling people: an outbox for what could not be sent, addresses, mail, the heartbeat."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from pergola import apprise
from pergola.documents import Json, answer
from pergola.people import iso
from pergola.status import store
from pergola.status.config import Config
from pergola.status.look import CRITICAL, OK, WARNING
from pergola.status.memory import Notice, Reported, Waiting
from pergola.status.watch import Change

# Messages that wait; when there are more, the oldest go, and the journal says so.
KEPT = 200
# Seconds for one message, and for all of one look: the next look must not wait for them.
SECONDS_EACH = 5
SECONDS_ALL = 20
SMTP, SMTPS = 25, 465
WEB = ("http", "https")
# What Apprise calls a state.
KINDS = {OK: "success", WARNING: "warning", CRITICAL: "failure"}

Send = Callable[[Notice], None]


@dataclass(frozen=True)
class Mail:
    """Who gets mail, and the server that takes it; what is not set is empty."""

    to: list[str]
    sender: str = ""
    host: str = ""
    port: str = ""
    username: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, said: Json) -> "Mail":
        """As it is set: YAML makes numbers of some passwords."""
        to = said["to"]
        texts = {name: str(value) for name, value in said.items() if value is not None}
        names = cls.__dataclass_fields__.keys() & texts.keys() - {"to"}
        people = to if isinstance(to, list) else [to]
        return cls([str(one) for one in people], **{name: texts[name] for name in names})


class Recipient(NamedTuple):
    """Somebody who is told: a name for people, without the address's secret, and what sends."""

    name: str
    send: Send


def notice(change: Change, host: str, wall: float) -> Notice:
    """What is told of a change."""
    event = "resolved" if change.state == OK else "alert"
    word = "resolved" if event == "resolved" else change.state.upper()
    return Notice(
        event=event,
        host=host,
        check=change.name,
        state=change.state,
        before=change.before,
        time=iso(wall),
        text=f"{host}: {word} {change.name}: {change.says}",
    )


def reminder(name: str, entry: Reported, host: str, wall: float) -> Notice:
    """What is told of a thing that is still as wrong as it was."""
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(entry.since))
    return Notice(
        event="reminder",
        host=host,
        check=name,
        state=entry.state,
        before=entry.state,
        time=iso(wall),
        text=f"{host}: still {entry.state.upper()} since {since} {name}: {entry.says}",
    )


def recipients(settings: Config) -> dict[str, Recipient]:
    """Who is told, by a key that says nothing of the address's secret."""
    found = {key("url", url): at_address(url) for url in settings.urls}
    for said in settings.mails:
        mail = Mail.of(said)
        found[key("mail", said)] = Recipient(f"mail to {', '.join(mail.to)}", mailed(mail))
    return found


def key(kind: str, address: object) -> str:
    digest = hashlib.sha256(json.dumps(address, sort_keys=True).encode()).hexdigest()
    return f"{kind}-{digest[:12]}"


# -- ways to tell ----------------------------------------------------------------------------------
# What each needs is imported with its first message: most looks have none to send.


def at_address(url: str) -> Recipient:
    """Who is told at a web address, or at a URL of Apprise's, whose host may be a secret."""
    scheme, separator, _ = url.partition("://")
    if scheme in WEB or not separator:
        return Recipient(urlsplit(url).hostname or "an address", posted(url))
    return Recipient(f"{scheme}:// of Apprise's", partial(through_apprise, url))


def through_apprise(url: str, told: Notice) -> None:
    kind = KINDS.get(told.state, "info")
    apprise.send(url, f"{told.host}: {told.check}", told.text, kind, store.RUN)


def posted(url: str) -> Send:
    return lambda told: request(url, answer(told).encode())


def request(url: str, data: bytes | None = None) -> None:
    """POST JSON, or GET; OSError when it is not answered well."""
    import urllib.request

    if urlsplit(url).scheme not in WEB:
        raise OSError("no http:// or https:// address")
    headers = {"Content-Type": "application/json", "User-Agent": "pergola-status"}
    wanted = urllib.request.Request(url, data, headers)  # noqa: S310 - its scheme was looked at
    with urllib.request.urlopen(wanted, timeout=SECONDS_EACH):  # noqa: S310
        pass


def mailed(settings: Mail) -> Send:
    """A message by SMTP, encrypted if the server offers that; a password goes encrypted only."""

    def send(told: Notice) -> None:
        import smtplib
        import ssl
        from email.message import EmailMessage

        message = EmailMessage()
        message["Subject"] = told.text[:200]
        message["From"] = settings.sender or f"pergola@{told.host}"
        message["To"] = ", ".join(settings.to)
        facts: Json = {name: value for name, value in vars(told).items() if name != "text"}
        body = "\n".join(f"{name}: {value}" for name, value in facts.items())
        message.set_content(f"{told.text}\n\n{body}\n")
        host, port = settings.host or "localhost", int(settings.port or SMTP)
        trust = ssl.create_default_context()
        if not settings.username:  # encrypted to whoever answers is better than not encrypted
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        if port == SMTPS:
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=SECONDS_EACH, context=trust)
        else:
            server = smtplib.SMTP(host, port, timeout=SECONDS_EACH)
        with server:
            server.ehlo()
            if port != SMTPS and server.has_extn("starttls"):
                server.starttls(context=trust)
            elif port != SMTPS and settings.username:
                raise OSError("the mail server offers no encryption: the password was not sent")
            if settings.username:
                server.login(settings.username, settings.password)
            server.send_message(message)

    return send


# -- the outbox ------------------------------------------------------------------------------------


def queued(
    outbox: Iterable[Waiting], notices: Iterable[Notice], keys: Iterable[str]
) -> tuple[list[Waiting], int]:
    """The outbox with new messages, one for each recipient, and how many had to be dropped."""
    keys = list(keys)
    new = [*outbox, *(Waiting(to, told) for told in notices for to in keys)]
    return new[-KEPT:], max(0, len(new) - KEPT)


def sent(
    outbox: Iterable[Waiting],
    people: Mapping[str, Recipient],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Waiting], dict[str, str]]:
    """Send what waits, in order; return what still waits, and what failed by recipient.

    A recipient that fails gets nothing more in this look, so the order stays. A message to one who
    is not a recipient any more is forgotten.
    """
    waits: list[Waiting] = []
    failed: dict[str, str] = {}
    ends = clock() + SECONDS_ALL
    for entry in outbox:
        if entry.to not in people:
            continue
        name, send = people[entry.to]
        if entry.to in failed or clock() > ends:
            waits.append(entry)
            continue
        try:
            send(entry.notice)
        except Exception as error:  # smtplib, ssl and http.client have many of their own
            waits.append(entry)
            failed[entry.to] = f"{name}: {reason(error)}"
    return waits, failed


def reason(error: Exception) -> str:
    """What went wrong, without the address: other errors than those of the system may hold it."""
    why = getattr(error, "reason", None)  # of urllib.error.URLError
    if isinstance(why, OSError):
        error = why
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
