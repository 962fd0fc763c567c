"""What is watched, by which limits, who is told: a file of the server's and one of each site."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pergola.documents import Form, Json
from pergola.errors import PergolaError

CONFIG = Path("/etc/pergola/monitoring")
# Seconds that a program may take which a look asks.
SECONDS = 10

# Limits as (warning, critical); `monitoring_limits` changes them by name.
LIMITS: dict[str, tuple[float, float]] = {
    # Of a file system. At 100 % PostgreSQL stops; 5 % of a small disk is an hour of a bad day.
    "disk_percent": (90, 95),
    "inodes_percent": (90, 95),
    # pg_wal in times of max_wal_size: PostgreSQL keeps within it unless something holds it back.
    "wal_times": (2, 4),
    # Of max_connections. A deploy needs an application's pools twice for a moment.
    "connections_percent": (80, 95),
    # Of the memory that a service such as Valkey may fill.
    "service_percent": (85, 95),
    # The oldest transaction holds back vacuum everywhere. Reports take minutes, not half an hour.
    "transaction_minutes": (30, 240),
    # It does nothing and holds its locks; PostgreSQL ends it after ten minutes (role postgresql).
    "idle_transaction_minutes": (5, 30),
    # Two-phase commits are a matter of seconds; a forgotten one outlives even a restart.
    "prepared_minutes": (10, 60),
    # Million transactions; autovacuum acts at 200, PostgreSQL refuses writes at about 2100.
    "wraparound_million": (600, 1200),
    # Megabytes of WAL that an inactive replication slot holds back.
    "slot_mb": (1024, 8192),
    # Minutes in which WAL waited and none was archived: what a restore would lose.
    "archive_minutes": (5, 30),
    # Minutes whose changes a repository does not have. PostgreSQL sends them each minute.
    "unarchived_minutes": (5, 30),
    # What is left of a certificate's life, in percent. Caddy renews at 33 %: that has failed then.
    "certificate_percent": (16, 8),
    # Of the answers since the last look. Some visitors always find a way to an error.
    "errors_percent": (5, 25),
    # Days left of those between hosts, the backup's own too, which only a run of Pergola renews.
    "backup_certificate_days": (30, 7),
}


@dataclass
class Job:
    """A job, and the hours within which it must succeed."""

    name: str
    within_hours: float | str


@dataclass
class Site:
    """An application, and its site if it has one (`web`), or a `path` of another's.

    `files`: where it keeps files that are in no backup. `services`: by name, such as valkey.
    `edge`: its releases run on other hosts, which the site here leads to: `upstreams`, as
    address:port by the hosts' names. `behind`: the address and port of this host that an edge asks.
    """

    app: str = ""
    web: bool = True
    path: str = ""
    domain: str = ""
    certificates: str = ""
    addresses: list[str] = field(default_factory=list)
    log: str = ""
    files: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    edge: bool = False
    upstreams: dict[str, str] = field(default_factory=dict)
    behind: str = ""


@dataclass
class Part:
    """The server's file, by role monitoring, or an application's, by role app."""

    host: str = ""
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    mail: Json = field(default_factory=dict)
    heartbeat: str = ""
    site: Site = field(default_factory=Site)
    accepted: list[str] = field(default_factory=list)


PART = Form(Part)


@dataclass
class Config:
    """All of them. `beats`: the heartbeats, each with the domains that must be up for it."""

    host: str = field(default_factory=lambda: os.uname().nodename)
    limits: dict[str, tuple[float, float]] = field(default_factory=lambda: dict(LIMITS))
    jobs: dict[str, float] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)
    mails: list[Json] = field(default_factory=list)
    beats: dict[str, list[str]] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)


def merged(parts: Iterable[Part]) -> Config:
    """One configuration of several: all are told, a job's shortest time and the last limit win."""
    whole = Config()
    for part in parts:
        # As its inventory calls it, whatever it calls itself.
        whole.host = part.host or whole.host
        whole.limits |= part.limits
        for job in part.jobs:
            hours = min(float(job.within_hours), whole.jobs.get(job.name, float("inf")))
            whole.jobs[job.name] = hours
        whole.urls += [url for url in part.urls if url not in whole.urls]
        if part.mail.get("to") and part.mail not in whole.mails:
            whole.mails.append(part.mail)
        whole.accepted += part.accepted
        if part.site.app:
            whole.sites.append(part.site)
        if part.heartbeat:
            whole.beats[part.heartbeat] = []
    for sites in whole.beats.values():
        sites += [site.domain + site.path for site in whole.sites if site.web]
    return whole


def is_there(folder: Path = CONFIG) -> bool:
    """Whether any inventory has set what is watched here."""
    return any(folder.glob("*.json"))


def read(folder: Path = CONFIG) -> Config:
    """All files of the folder as one configuration; PergolaError names a file that is none."""
    try:
        return merged(filter(None, map(PART.read, sorted(folder.glob("*.json")))))
    except PergolaError as error:
        raise PergolaError(
            error.reason,
            error.evidence,
            hint="run site.yml again, or deploy.yml where the file is an application's",
        ) from None
