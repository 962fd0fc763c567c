"""One site of Caddy's: who answers to its names already, and where its domain leads."""

import json
import re
import shutil
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pergola import paths
from pergola.system import attempt
from pergola.web.load import ACCOUNT, FOLDER

HOSTS = re.compile(r'"host":\[([^\]]*)\]')
STORE = Path("/var/lib/caddy/.local/share/caddy/certificates")


@dataclass(frozen=True)
class Site:
    """What Caddy and the name servers say; `version` is empty where there is no Caddy.

    `own`: the server's addresses; `leads_to`: the domain's. `is_public`: an earlier run gave the
    domain to the authority, or a valid certificate of the authority's is there.
    """

    version: str = ""
    own: list[str] = field(default_factory=list)
    leads_to: list[str] = field(default_factory=list)
    is_public: bool = False


def look(app: str, domain: str) -> Site:
    said = attempt_or_nothing("caddy", "version").split()
    return Site(
        version=said[0].removeprefix("v") if said else "",
        own=attempt_or_nothing("hostname", "-I").split(),
        leads_to=addresses(domain) if domain else [],
        is_public=bool(domain) and (was_public(app, domain) or has_certificate(domain)),
    )


def attempt_or_nothing(*command: object, account: str = "") -> str:
    """What a program prints; nothing where it fails or is not there."""
    try:
        return attempt(*command, account=account).stdout
    except FileNotFoundError:
        return ""


def addresses(domain: str) -> list[str]:
    """Where the server's own resolver says that a name leads."""
    try:
        found = socket.getaddrinfo(domain, 443, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def was_public(app: str, domain: str) -> bool:
    """Whether an earlier run gave the domain to the authority."""
    try:
        text = (FOLDER / f"{app}.caddy").read_text()
    except FileNotFoundError:
        return False
    names = re.search(rf"^{re.escape(domain)}[ ,]", text, re.MULTILINE)
    return bool(names) and not re.search(r"^\ttls (internal|/)", text, re.MULTILINE)


def has_certificate(domain: str) -> bool:
    """Whether a valid one of the authority's is there, looked at with Caddy's rights only."""
    if not STORE.parent.exists():
        return False
    found = attempt_or_nothing(
        *("find", STORE, "-mindepth", "3", "-maxdepth", "3"),
        *("-path", f"*/{domain}/{domain}.crt", "-not", "-path", "*/local/*"),
        *("-exec", "openssl", "x509", "-noout", "-checkend", "0", "-in", "{}", ";"),
        account=ACCOUNT,
    )
    return "Certificate will not expire" in found.splitlines()


def forget_others(app: str, has_site: bool, path_file: str) -> None:
    """Remove the site that an application has no more, and the paths that it answers no more."""
    if not has_site:
        (FOLDER / f"{app}.caddy").unlink(missing_ok=True)
        if (FOLDER / app).is_dir():
            shutil.rmtree(FOLDER / app)
    for file in paths.files(app):
        if str(file) != path_file:
            file.unlink()


def path_wrong(app: str, domain: str, path: str) -> str:
    """Why an application cannot answer a path of a domain, in words."""
    if other := {where: who for where, who in paths.of_domain(domain).items() if who != app}.get(
        path
    ):
        return f"{other} answers {domain}{path} already: choose another app_path"
    if paths.owner_of(domain):
        return ""
    there = [file for file in FOLDER.glob("*.caddy") if file.stem != app and names(file, {domain})]
    if there:
        return (
            f"the site of {there[0].stem}, which has {domain}, is of an earlier Pergola, or calls "
            f"it by another of its names: run deploy.yml with its inventory first, and set "
            "app_domain as it has it there"
        )
    return (
        f"app_path {path}: no application of this server has {domain}. Deploy the one whose "
        "app_domain it is first"
    )


def taken(app: str, domains: Iterable[str]) -> list[str]:
    """Which of some names another site of this server has already, in words."""
    wanted = set(domains)
    return [
        f"{path} answers to {name} already: choose another app_domain, app_domain_aliases or "
        "app_redirected_domains, or take it out of that site"
        for path in sorted(FOLDER.glob("*.caddy"))
        if path.stem != app
        for name in sorted(names(path, wanted))
    ]


def names(path: Path, wanted: Iterable[str]) -> set[str]:
    """Those of some names that a file of sites answers to, as Caddy itself reads it."""
    written = path.read_text(errors="replace").lower()
    if not any(name.lower() in written for name in wanted):
        return set()
    text = attempt_or_nothing("caddy", "adapt", "--adapter", "caddyfile", "--config", path)
    there = {name for found in HOSTS.findall(text) for name in json.loads(f"[{found}]")}
    return there & set(wanted)
