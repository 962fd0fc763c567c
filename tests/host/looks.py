"""A host that is looked at again and again, for the tests of the status."""

import copy

from pergola.documents import converted
from pergola.status import checks, config, watch
from pergola.status.advance import advanced
from pergola.status.look import Look
from pergola.status.memory import FORM, Memory
from pergola.status.seen import Seen

WALL = 1_795_547_262.0
GB, MB = 10**9, 10**6
# As a server in order shows itself (`pergola-status --facts`).
SERVER = {
    "unit": "postgresql@17-main",
    "version": "17.12 (Debian 17.12-0+deb13u1)",
    "data_directory": "/var/lib/postgresql/17/main",
    "archive_mode": "on",
    "archived": 40,
    "failed": 2,
    "last_failed": "000000010000000000000007",
    "ready": 0,
    "segment_bytes": 16 * MB,
    "wal_bytes": 64 * MB,
    "max_wal_bytes": 2 * GB,
    "keep_wal_bytes": 0,
    "connections": 12,
    "max_connections": 100,
    "transaction": None,
    "idle_transaction": None,
    "prepared": None,
    "wraparound": {"age": 731, "database": "probe"},
    "slots": [],
    "pending_restart": [],
    "stray": [],
    "command_line": [],
    "unsafe": [],
    "role_settings": [],
}
SEEN = {
    "host": "web1",
    "wall": WALL,
    "boottime": 1000.0,
    "boot": "one",
    "container": False,
    "errors": {},
    "units": [],
    "vital": {},
    "unit_files": {"strange": {}, "unread": []},
    "places": [],
    "trees": {},
    "apps": [],
    "asked": {},
    "answered": {},
    "repositories": {"here": ["/var/lib/pgbackrest"], "elsewhere": ["2"]},
    "restore": {"intent": None, "at_work": False},
    "addresses": ["192.0.2.10"],
    "firewall": [],
    "results": {},
    "certificates": [],
    "reboot": None,
    "clock_error_usec": 12_000,
    "dropped_lines": {},
    "logs": {"dropped": [], "at": {}},
    "postgresql": SERVER,
    "disks": [
        {
            "place": "/",
            "holds": ["PostgreSQL's data"],
            "percent": 26.0,
            "free_bytes": 75 * GB,
            "inodes_percent": 3.0,
        }
    ],
}
JOBS = {"backup": 30.0, "drill": 200.0}
BACKUP = {"job": "backup", "type": "full", "ok": True, "ended": WALL - 60, "seconds": 10.0}
BACKUP |= {"began": "2026-11-24T19:06:32Z", "says": "full, 22 MB"}


class Host:
    """A host that is looked at again and again, with clocks of its own."""

    def __init__(self, **limits: tuple[float, float]) -> None:
        self.seen = copy.deepcopy(SEEN)
        self.known, self.jobs = Memory(), dict(JOBS)
        self.limits = config.LIMITS | limits

    @property
    def server(self) -> dict[str, object]:
        return self.seen["postgresql"]

    def look(self, minutes: float = 1, **seen: object) -> dict[str, watch.Change]:
        """One look, some minutes after the last; returns the changes by name."""
        self.seen["wall"] += 60 * minutes
        self.seen["boottime"] += 60 * minutes
        self.seen |= seen
        now = converted(self.seen, Seen, "seen")
        self.known = FORM.parse(FORM.text(self.known), "memory")  # as the next look reads it
        self.known = advanced(self.known, now, self.jobs)
        before = {name: one.state for name, one in self.known.reported.items()}
        found = checks.all_of(Look(now, self.limits, self.jobs, self.known, before))
        self.known.reported, changes = watch.settled(
            self.known.reported, found, now.wall, whole=not now.errors
        )
        self.seen["logs"] = {"dropped": [], "at": {}}
        return {change.name: change for change in changes}

    def state(self, name: str) -> str:
        return self.known.reported[name].state

    def says(self, name: str) -> str:
        return self.known.reported[name].says
