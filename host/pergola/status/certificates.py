"""Certificates that must be renewed: of sites, of the backup, of this host and its applications."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pergola.errors import PergolaError
from pergola.people import DAY, duration
from pergola.status.config import SECONDS
from pergola.status.look import OK, Finding, Look
from pergola.status.seen import Certificate
from pergola.system import run

CADDY = Path("/etc/caddy")
OF_CADDY = Path("/var/lib/caddy/.local/share/caddy/certificates")
OF_BACKUP = Path("/etc/pergola/backup-tls")
OF_HOST = Path("/etc/pergola/certificates")
# What those that a run of Pergola renews are needed for.
NEEDED = {
    "backup": "run site.yml, which renews it, or the copy of the backups stops",
    "host": "run site.yml, which renews it, and deploy.yml of an application for its own, or other "
    "hosts refuse it",
}
# What to do about one that a site shows, by where it comes from.
RENEWED = {
    "caddy": "Caddy should have renewed it: `journalctl -u caddy | grep -i renew` says why not",
    "own": "put a new one, with its key, into app_certificate, and run deploy.yml",
}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def seen() -> list[Certificate]:
    """Of each name that Caddy serves the one that lasts longest; all others by their files."""
    files = (*CADDY.glob("Caddyfile"), *CADDY.glob("*.caddy"))
    served = "\n".join(path.read_text() for path in files)
    longest: dict[str, Certificate] = {}
    for path in sorted(OF_CADDY.glob("*/*/*.crt")):
        name = path.stem.replace("wildcard_", "*")
        # Of a site that is gone Caddy keeps the certificate for a while, and renews it no more.
        if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", served):
            continue
        one = Certificate(name, "caddy", *dates(path))
        if name not in longest or one.ends > longest[name].ends:
            longest[name] = one
    own = [
        Certificate(str(path), "own", *dates(path))
        for path in sorted(CADDY.glob("*/certificate.pem"))
        if str(path) in served
    ]
    folders = {"backup": OF_BACKUP, "host": OF_HOST}
    by_hosts = [
        Certificate(str(path), kind, *dates(path))
        for kind, folder in folders.items()
        for path in sorted(folder.glob("*.crt"))
    ]
    return [*longest.values(), *own, *by_hosts]


def dates(path: Path) -> tuple[float, float]:
    """From when to when it holds, in seconds since 1970."""
    said = run("openssl", "x509", "-noout", "-dates", "-in", path, timeout=SECONDS)
    found = re.findall(r"not(?:Before|After)=(.*)", said)
    if len(found) != 2:
        raise PergolaError(f"openssl does not say when {path} holds", said)
    return moment(found[0]), moment(found[1])


def moment(text: str) -> float:
    """OpenSSL's "Nov 24 19:00:00 2026 GMT"."""
    month, day, clock, year, _ = text.split()
    hour, minute, second = map(int, clock.split(":"))
    number = MONTHS.index(month) + 1
    return datetime(int(year), number, int(day), hour, minute, second, tzinfo=UTC).timestamp()


def certificates(look: Look) -> Iterator[Finding]:
    for one in look.seen.certificates or []:
        left, life = one.ends - look.seen.wall, max(1, one.ends - one.begins)
        if one.kind in RENEWED:
            state = look.level_of_rest("certificate_percent", 100 * left / life)
            todo = RENEWED[one.kind]
        else:
            state = look.level_of_rest("backup_certificate_days", left / DAY)
            todo = NEEDED[one.kind]
        says = f"valid for {duration(left)} more" if left > 0 else f"expired {duration(-left)} ago"
        says += f" of its {duration(life)}"
        name = f"certificate {one.name}"
        yield Finding(name, state, says if state == OK else f"{says}; {todo}")


CHECKS = (certificates,)
