"""What a look sees, before it is judged: as `pergola-status --facts` prints it.

Times are in seconds: moments since 1970 by the wall clock, unless it says otherwise.
"""

from dataclasses import dataclass, field

from pergola.notes import Restore
from pergola.records import Line
from pergola.results import Result
from pergola.status.memory import Large, Reserve, Tree
from pergola.status.server import Down, Server

# -- backups ---------------------------------------------------------------------------------------


@dataclass
class Logs:
    """WAL files that logs call dropped, and how far each log is read: its inode and a place."""

    dropped: list[str]
    at: dict[str, tuple[int, int]]


@dataclass
class Backup:
    """The newest backup in a repository."""

    label: str
    ended: float
    damaged: bool


@dataclass
class Repository:
    """What one repository has.

    `why`: it does not answer; `archived`: its newest WAL; `full`: the first WAL of its newest full
    backup that can be restored, "" without one; `lacks_since`: when the first transaction ended
    that it does not have.
    """

    name: str
    why: str = ""
    archived: str = ""
    backup: Backup | None = None
    full: str = ""
    lacks_since: float | None = None


@dataclass
class Kept:
    """Where backups are: directories `here`, and the numbers of repositories `elsewhere`."""

    here: list[str]
    elsewhere: list[str]


@dataclass
class AtWork:
    """The restore that is not at its end, and whether it is at work."""

    intent: Restore | None = None
    at_work: bool = False


# -- the host --------------------------------------------------------------------------------------


@dataclass
class Disk:
    """A file system, and what it is used for."""

    place: str
    percent: float
    free_bytes: int
    inodes_percent: float
    holds: list[str] = field(default_factory=list)


@dataclass
class Certificate:
    """One of a site (`caddy`, `own`), the backup (`backup`), this host (`host`); when it holds."""

    name: str
    kind: str
    begins: float
    ends: float


@dataclass
class Unit:
    """A unit that must be active: what kind it is (see units.py), what for, and whose.

    `shows`: what systemd says of it, by the names of its properties.
    """

    kind: str
    what: str
    app: str
    shows: dict[str, str] = field(default_factory=dict)


@dataclass
class UnitFiles:
    """Files on our units that are not ours, by path; units whose files systemd has not read."""

    strange: dict[str, list[str]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


@dataclass
class Place:
    """A directory that is not as it is set: how it is, and should be."""

    path: str
    now: str
    should: str


@dataclass
class Shut:
    """A chain of the kernel's firewall that shuts ports of a family (ip or ip6)."""

    chain: str
    family: str
    ports: list[int]


# -- applications and their sites ------------------------------------------------------------------


@dataclass
class Page:
    """A maintenance page: since when, of whom, and until when."""

    since: float
    who: str
    until: float | None = None


@dataclass
class Application:
    """An application, its site here if it has one (`web`), and what is live of it.

    `release`: None where none was ever live; `accepted`: the statuses at the path `health` with
    which it is well, such as 204 or 2xx; `killed`: what the last deploy had to kill; `unmigrated`:
    what failed once the release served; `at_work`: why units stop and start just now; `migrates`: a
    deploy is changing the database; `edge`, `behind`: see config.Site.
    """

    app: str
    web: bool = True
    path: str = ""
    domain: str = ""
    certificates: str = ""
    addresses: list[str] = field(default_factory=list)
    log: str = ""
    release: str | None = None
    colour: str = "blue"
    health: str = "/"
    accepted: list[str] = field(default_factory=lambda: ["200"])
    processes: list[str] = field(default_factory=list)
    timers: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    page: Page | None = None
    killed: Line | None = None
    unmigrated: Line | None = None
    paused: bool = False
    at_work: str = ""
    migrates: bool = False
    edge: bool = False
    upstreams: dict[str, str] = field(default_factory=dict)
    behind: str = ""


@dataclass
class Store:
    """A service of an application's, and how full it is; `error`: why it does not say."""

    app: str
    name: str
    used_bytes: int = 0
    most_bytes: int = 0
    eviction: str = ""
    evicted: int = 0
    error: str = ""


@dataclass
class Reached:
    """An application's database on another host: what an answer takes, or why there is none."""

    app: str
    seconds: float
    error: str = ""


@dataclass
class Tls:
    """A certificate that was presented.

    `trusted`: browsers accept it; `own`: it is of Caddy's own authority; `why`: what is wrong.
    """

    address: str
    trusted: bool = False
    own: bool = False
    why: str = ""


@dataclass
class Answer:
    """What was answered, or the `error` that came instead.

    To a request: its status and first words, and over HTTPS the certificate. By DNS: the addresses
    of a name, none if there is no such name.
    """

    status: int | None = None
    text: str = ""
    error: str = ""
    tls: Tls | None = None
    addresses: list[str] | None = None


@dataclass
class Answered:
    """How many answers a log has since the last look, and how many were errors of the server."""

    log: str
    at: tuple[int, int]
    answers: int
    errors: int


# -- all of it -------------------------------------------------------------------------------------


@dataclass
class Seen:
    """One look. A part that failed is None, and `errors` says why.

    `boottime`: seconds since the start of the system; `boot`: which start that was.
    """

    host: str
    wall: float
    boottime: float
    boot: str
    container: bool = False
    errors: dict[str, str] = field(default_factory=dict)
    units: list[str] | None = None
    results: dict[str, Result | str] | None = None
    certificates: list[Certificate] | None = None
    reboot: list[str] | None = None
    replaced: list[str] | None = None
    clock_error_usec: int | None = None
    restore: AtWork | None = None
    dropped_lines: dict[str, int] | None = None
    logs: Logs | None = None
    repositories: Kept | None = None
    apps: list[Application] | None = None
    postgresql: Server | Down | None = None
    archives: list[Repository] | None = None
    disks: list[Disk] | None = None
    largest: dict[str, Large] | None = None
    asked: dict[str, Answer] | None = None
    answered: dict[str, Answered] | None = None
    addresses: list[str] | None = None
    firewall: list[Shut] | None = None
    vital: dict[str, Unit] | None = None
    unit_files: UnitFiles | None = None
    places: list[Place] | None = None
    trees: dict[str, Tree] | None = None
    reserve: Reserve | None = None
    services: list[Store] | None = None
    reached: list[Reached] | None = None

    @property
    def server(self) -> Server | None:
        """PostgreSQL, where it is here and answers."""
        return self.postgresql if isinstance(self.postgresql, Server) else None

    @property
    def results_read(self) -> dict[str, Result]:
        """The results that could be read."""
        found = (self.results or {}).items()
        return {name: one for name, one in found if isinstance(one, Result)}
