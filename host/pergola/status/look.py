"""What every check works with: a look, what it finds, and its states."""

from dataclasses import dataclass

from pergola.status.memory import Memory
from pergola.status.seen import Seen

OK, WARNING, CRITICAL = "ok", "warning", "critical"
# It does not apply to this host, with the reason; it cannot be known now, and stays what it was.
SKIPPED, UNKNOWN = "skipped", "unknown"
RANK = {OK: 0, SKIPPED: 0, UNKNOWN: 0, WARNING: 1, CRITICAL: 2}

# A number that has passed a limit must fall this much below it, in its own unit, to be well again.
MARGINS = {
    "disk_percent": 3, "inodes_percent": 3, "connections_percent": 5, "service_percent": 3,
    "wal_times": 0.2,
}  # fmt: skip
# How many looks (of a minute) in a row must say the same where a single one may lie: a restart, an
# age that a step of the clock makes, a run of Ansible that has not come to its restart yet. By a
# finding's name, or its first word.
HOLD = {
    "unit": 2,
    "site": 2,
    "health": 2,
    "https": 2,
    "answers": 2,
    "firewall": 2,
    "domain": 5,
    "page": 10,
    "drift": 5,
    "postgresql": 2,
    "connections": 3,
    "transactions": 2,
    "settings": 5,
    "replaced": 15,
    "clock": 10,
    "messages": 3,
    "repository": 3,
    "errors": 2,
    "restore": 2,
}
NO_ANSWER = "PostgreSQL does not answer"


def hold(name: str) -> int:
    """How many looks in a row must say the same of a finding."""
    return HOLD.get(name, HOLD.get(name.partition(" ")[0], 1))


@dataclass(frozen=True)
class Finding:
    """The state of one thing."""

    name: str
    state: str
    says: str


@dataclass(frozen=True)
class Look:
    """All that checks are made from.

    `limits`: (warning, critical) by name; `jobs`: the hours within which each must succeed;
    `before`: the states that were last reported.
    """

    seen: Seen
    limits: dict[str, tuple[float, float]]
    jobs: dict[str, float]
    memory: Memory
    before: dict[str, str]

    @property
    def now(self) -> float:
        """Our own time: see memory.py."""
        return self.memory.now

    def level(self, name: str, limit: str, value: float) -> str:
        """The state of a number that is the worse the higher it is."""
        margin = MARGINS.get(limit, 0)
        before = RANK[self.before.get(name, OK)]
        warning, critical = self.limits[limit]
        if value >= critical - (margin if before >= RANK[CRITICAL] else 0):
            return CRITICAL
        return WARNING if value >= warning - (margin if before >= RANK[WARNING] else 0) else OK

    def level_of_rest(self, limit: str, value: float) -> str:
        """The state of a number that is the worse the lower it is."""
        warning, critical = self.limits[limit]
        return CRITICAL if value <= critical else WARNING if value <= warning else OK


def worse(*states: str) -> str:
    """The worst of several states, the first of its rank."""
    return max(states, key=lambda state: RANK[state])
