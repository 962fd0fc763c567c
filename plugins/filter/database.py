"""The application's database, as templates and libpq's variables have it.

libpq's own variables say where it is, for every driver: what a URL does not say comes from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

SOCKETS = "/run/postgresql"
LOOPBACK = "127.0.0.1"
PORT = 5432
# The host makes the password of its own PostgreSQL, and puts it in (host/pergola/access.py).
STANDS_FOR = "__PERGOLA_DATABASE_PASSWORD__"
EXAMPLE = "postgresql://shop:password@db.example.org:5432/shop"
NO_PORT = f"names a port that is no number from 1 to 65535; example: {EXAMPLE}"
PORT_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
# Read by libpq of every version and by asyncpg: Debian's and Ubuntu's certificate authorities.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# What of a URL tells who verifies the server's certificate by its name.
VERIFIED = "verify-full"
URL = re.compile(
    r"(?P<scheme>postgres(?:ql)?(?:\+\w+)?)://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    r"(?P<hosts>[^@/?#]*)(?:/(?P<name>[^/?#]*))?(?:\?(?P<query>[^#]*))?"
)
HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?")
NAME_OR_ADDRESS = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+")
MODES = ("disable", "allow", "prefer", "require", "verify-ca", VERIFIED)
# A URL's parameters by libpq's variables.
PARAMETERS = {
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "dbname": "PGDATABASE",
    "gssencmode": "PGGSSENCMODE",
    "host": "PGHOST",
    "options": "PGOPTIONS",
    "password": "PGPASSWORD",
    "port": "PGPORT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "user": "PGUSER",
}


def database_here(databases: Sequence[Mapping[str, Any]], app: str, tcp: bool) -> dict[str, Any]:
    """The database of the server's own PostgreSQL that is meant: the application's, or the first.

    `tcp`: it is reached by 127.0.0.1 and a password.
    """
    names = [str(one["name"]) for one in databases]
    name = app if app in names else names[0]
    variables = {"PGHOST": LOOPBACK if tcp else SOCKETS, "PGDATABASE": name, "PGUSER": app}
    found = {"name": name, "user": app, "host": variables["PGHOST"], "port": PORT}
    if not tcp:
        url = f"postgresql:///{quote(name, safe='')}"
        return {**found, "password": "", "url": url, "variables": variables, "secrets": {}}
    return {
        **found,
        "password": STANDS_FOR,
        "url": f"postgresql://{app}:{STANDS_FOR}@{LOOPBACK}:{PORT}/{quote(name, safe='')}",
        "variables": variables,
        # Nobody knows it here.
        "secrets": {"PGPASSWORD": STANDS_FOR},
    }


def database_over(
    databases: Sequence[Mapping[str, Any]], app: str, hosts: Sequence[str], certificates: str
) -> dict[str, Any]:
    """The same of the environment's database hosts, by their addresses.

    `certificates`: the directory of the host's certificates. The application has one of its own,
    and no password; which of several hosts takes writes libpq finds out.
    """
    names = [str(one["name"]) for one in databases]
    name = app if app in names else names[0]
    variables = {
        "PGHOST": ",".join(hosts),
        "PGDATABASE": name,
        "PGUSER": app,
        "PGTARGETSESSIONATTRS": "read-write",
        "PGSSLMODE": VERIFIED,
        "PGSSLROOTCERT": f"{certificates}/members.crt",
        "PGSSLCERT": f"{certificates}/{app}.crt",
        "PGSSLKEY": f"{certificates}/{app}.key",
    }
    return {
        "name": name,
        "user": app,
        "host": variables["PGHOST"],
        "port": PORT,
        "password": "",
        "url": f"postgresql:///{quote(name, safe='')}",
        "variables": variables,
        "secrets": {},
    }


# By libpq's variable the parameter of its descriptions.
DESCRIBED = {
    "PGDATABASE": "dbname",
    "PGHOST": "host",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
}


def database_described(variables: Mapping[str, str]) -> str:
    """A database as libpq describes one, without its user; no value of these has a space."""
    pairs = [(DESCRIBED[name], value) for name, value in variables.items() if name in DESCRIBED]
    return " ".join(f"{name}={value}" for name, value in [*pairs, ("connect_timeout", "5")])


class Parts(NamedTuple):
    """What a URL says, by libpq's variables, and what is wrong with it."""

    variables: dict[str, str]
    wrong: str = ""


def parts_of(url: str) -> Parts:
    """What a URL of another server says; nothing of it but names is in what is wrong."""
    found = URL.fullmatch(url.strip())
    if not found:
        return Parts(
            {},
            f"is no URL of a PostgreSQL database; example: {EXAMPLE} (of a password "
            "percent-encode : / ? # @, such as %40 for @)",
        )
    hosts = [HOST.fullmatch(one) for one in found["hosts"].split(",")]
    if None in hosts:
        return Parts({}, NO_PORT)
    said = {
        "PGUSER": unquote(found["user"] or ""),
        "PGPASSWORD": unquote(found["password"] or ""),
        "PGHOST": ",".join(unquote(one[1]).strip("[]") for one in hosts if one),
        "PGPORT": ",".join(one[2] or "" for one in hosts if one),
        "PGDATABASE": unquote(found["name"] or ""),
    }
    for pair in filter(None, (found["query"] or "").split("&")):
        name, equals, value = map(unquote, pair.partition("="))  # libpq leaves a + as it is
        if name not in PARAMETERS:
            return Parts(
                {}, f"has the parameter {name}, which libpq does not know; remove it from the URL"
            )
        if not equals:
            return Parts({}, f"has the parameter {name} without a value; remove it from the URL")
        said[PARAMETERS[name]] = value
    missing = {"PGHOST": "host", "PGDATABASE": "database", "PGUSER": "user"}
    if lacks := [what for name, what in missing.items() if not all(said[name].split(","))]:
        return Parts({}, f"names no {' and no '.join(lacks)}; example: {EXAMPLE}")
    if wrong := places_wrong(said["PGHOST"].split(","), said["PGPORT"].split(",")):
        return Parts({}, wrong)
    said["PGPORT"] = ",".join(one or str(PORT) for one in said["PGPORT"].split(","))
    if (mode := said.setdefault("PGSSLMODE", VERIFIED)) not in MODES:
        return Parts({}, f"has the sslmode {mode}; there are {', '.join(MODES)}")
    if said["PGSSLMODE"].startswith("verify-") and "PGSSLROOTCERT" not in said:
        said["PGSSLROOTCERT"] = AUTHORITIES
    return Parts({name: value for name, value in said.items() if value})


def places_wrong(hosts: Sequence[str], ports: Sequence[str]) -> str:
    """Why hosts and ports are not those of servers; empty when they are."""
    for host in hosts:
        if not NAME_OR_ADDRESS.fullmatch(host):
            return (
                f"has the host {host}, which is no name and no address of a server; example: "
                f"{EXAMPLE} (the server's own PostgreSQL needs no app_database_url)"
            )
    if any(port and not (PORT_NUMBER.fullmatch(port) and int(port) < 2**16) for port in ports):
        return NO_PORT
    if len(ports) not in (1, len(hosts)):
        return f"names {len(ports)} ports for {len(hosts)} hosts; example: {EXAMPLE}"
    return ""


def database_url_wrong(url: str) -> str:
    """Why it cannot be the database of an application; empty when it can."""
    wrong = parts_of(url).wrong if url else ""
    return f"app_database_url {wrong}" if wrong else ""


def database_elsewhere(url: str) -> dict[str, Any]:
    """The database of another server; empty where the URL is wrong, which the checks tell."""
    said = dict(parts_of(url).variables)
    if not said:
        return {}
    secret = said.pop("PGPASSWORD", "")
    user, host, port = said["PGUSER"], said["PGHOST"], said["PGPORT"]
    pairs = zip(host.split(","), port.split(",") * (host.count(",") + 1), strict=False)
    hosts = ",".join(f"[{one}]:{at}" if ":" in one else f"{one}:{at}" for one, at in pairs)
    login = quote(user, safe="") + (f":{quote(secret, safe='')}" if secret else "")
    return {
        "name": said["PGDATABASE"],
        "user": user,
        "host": host,
        "port": port if "," in port else int(port),
        "password": secret,
        "url": f"postgresql://{login}@{hosts}/{quote(said['PGDATABASE'], safe='')}",
        "variables": said,
        "secrets": {"PGPASSWORD": secret} if secret else {},
    }


def with_scheme(url: str, scheme: str) -> str:
    """A URL with another scheme, such as postgresql+asyncpg."""
    return f"{scheme}:{str(url).partition(':')[2]}"


def names_with(values: Mapping[str, Any], secret: str) -> list[str]:
    """The names of what holds a secret; none for an empty one."""
    return [str(name) for name, value in values.items() if secret and secret in str(value)]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "database_described": database_described,
            "database_elsewhere": database_elsewhere,
            "database_here": database_here,
            "database_over": database_over,
            "database_url_wrong": database_url_wrong,
            "names_with": names_with,
            "with_scheme": with_scheme,
        }
