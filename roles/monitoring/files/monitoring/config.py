"""What is watched, by which limits, who is told: one file of each inventory with this host."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/pergola/monitoring")

# Limits as (warning, critical); `monitoring_limits` changes them by name.
LIMITS: dict[str, tuple[float, float]] = {
    # Of a file system. At 100 % PostgreSQL stops; 5 % of a small disk is an hour of a bad day.
    "disk_percent": (90, 95),
    "inodes_percent": (90, 95),
    # pg_wal in times of max_wal_size: PostgreSQL keeps within it unless something holds it back.
    "wal_times": (2, 4),
    # Of max_connections. A deploy needs an application's pools twice for a moment.
    "connections_percent": (80, 95),
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
    # What is left of a certificate's life, in percent. Caddy renews at 33 %: that has failed then.
    "certificate_percent": (16, 8),
    # Days left of the backup's own certificates, which only a run of site.yml renews.
    "backup_certificate_days": (30, 7),
}


def merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One configuration of several: all are told, a job's shortest time and the last limit win."""
    whole: dict[str, Any] = {
        "limits": dict(LIMITS),
        "jobs": {},
        "urls": [],
        "mails": [],
        "beats": [],
    }
    for part in parts:
        whole["limits"] |= part.get("limits", {})
        for job in part.get("jobs", []):
            hours = min(float(job["within_hours"]), whole["jobs"].get(job["name"], float("inf")))
            whole["jobs"][job["name"]] = hours
        whole["urls"] += [url for url in part.get("urls", []) if url not in whole["urls"]]
        mail = part.get("mail") or {}
        if mail.get("to") and mail not in whole["mails"]:
            whole["mails"].append(mail)
        beat = part.get("heartbeat", "")
        if beat and beat not in whole["beats"]:
            whole["beats"].append(beat)
    return whole


def read(folder: Path = CONFIG) -> dict[str, Any]:
    """All files of the folder as one configuration; ValueError names a file that is none."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        try:
            parts.append(json.loads(path.read_text()))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; run site.yml again") from None
    return merged(parts)
