"""What is remembered from look to look: /var/lib/pergola/monitoring.json.

`at` and `time` are by our own time in seconds, which runs with the kernel's monotonic clock while
the host is up: when the wall clock is stepped, no age changes. `wall` and `since` are of the wall
clock, in seconds since 1970. See advance.py.

Nothing of it is changed in its place. It is not frozen, nor is what is seen: each look makes some
fifty classes anew, and a frozen one takes half as long again.
"""

from dataclasses import dataclass, field

from pergola.documents import Form


@dataclass
class Clock:
    """Our own time at the last look, and what the clocks said then."""

    boot: str
    boottime: float
    wall: float
    time: float


@dataclass
class Job:
    """When a job's last run began and ended by our time; `stamp`: as its result says it."""

    stamp: float
    ended: float
    began: float
    ok: bool
    full: bool


@dataclass
class Archive:
    """How many WAL files were archived, and since when some wait without any being archived."""

    archived: int
    since: float


@dataclass
class Backup:
    """The newest backup of a repository; `at`: when it ended by our time."""

    label: str
    ended: float
    damaged: bool
    at: float


@dataclass
class Repository:
    """A repository of the backups. `away`: since when, by our time, it does not answer."""

    archived: str
    away: float | None
    backup: Backup | None
    full: str = ""


@dataclass
class Damage:
    """Databases of which PostgreSQL has read damaged pages, its counts, and when it last did."""

    time: float
    counts: dict[str, int] = field(default_factory=dict)
    databases: list[str] = field(default_factory=list)


@dataclass
class Gap:
    """WAL that was given up: the last file, how many, and when that was seen."""

    wal: str
    count: int
    wall: float


@dataclass
class Large:
    """What takes most of a file system: paths and bytes; `at`: seconds since the boot.

    `too_many`: what has more files than could be measured in time.
    """

    sizes: list[tuple[str, int]]
    at: float = 0
    too_many: str | None = None


@dataclass
class Tree:
    """The live release's files by digests, and what changed since its first sight.

    `firsts`: the digests of each release's parts when it was first seen; `large_at`: when the part
    with most files was last looked through, in seconds since the boot.
    """

    key: str
    firsts: dict[str, dict[str, str]]
    large: str
    large_at: float
    changed: list[str]


@dataclass
class Restarts:
    """How often systemd restarted a unit: counted from its start, and in each of the last looks."""

    count: int
    recent: list[int]
    active: bool = True


@dataclass
class Reserve:
    """The room kept for a day without any: its bytes, whether it is there, or was given up."""

    bytes: int
    there: bool
    given_up: bool
    place: str


@dataclass
class Reported:
    """What was last reported of a thing, since when, and how many looks say something else."""

    state: str
    says: str
    since: float
    looks: int = 0


@dataclass
class Notice:
    """What is told to people; `time`: as in 2026-11-24T19:36:35Z."""

    event: str
    host: str
    check: str
    state: str
    before: str
    time: str
    text: str


@dataclass
class Waiting:
    """A message that waits, and to whom it goes: see notify.recipients."""

    to: str
    notice: Notice


@dataclass
class Memory:
    """All of it. Places in logs are an inode and how far it is read.

    `told`: when each thing that is wrong was last told; `unsent` and `unbeaten`: why, by recipient;
    `unwritten`: why the look before could not write; `written`: how often this was written.
    """

    clock: Clock | None = None
    step: float = 0
    reserve: Reserve | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    watched: dict[str, float] = field(default_factory=dict)
    archive: Archive | None = None
    logs: dict[str, tuple[int, int]] | None = None
    access: dict[str, tuple[int, int]] | None = None
    largest: dict[str, Large] = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)
    restarts: dict[str, Restarts] = field(default_factory=dict)
    archives: dict[str, Repository] = field(default_factory=dict)
    damage: Damage | None = None
    gap: Gap | None = None
    reported: dict[str, Reported] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)
    outbox: list[Waiting] = field(default_factory=list)
    unsent: dict[str, str] = field(default_factory=dict)
    unbeaten: dict[str, str] = field(default_factory=dict)
    unwritten: str = ""
    summary: float | None = None
    written: int = 0

    @property
    def now(self) -> float:
        """Our own time."""
        return self.clock.time if self.clock else 0.0


FORM = Form(Memory)
