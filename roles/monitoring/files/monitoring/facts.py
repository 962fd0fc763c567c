"""What can be seen of this host, as plain data; nothing is judged here.

Each part is gathered for itself: one that fails is told in `errors` and hinders no other.
"""

import ctypes
import json
import os
import platform
import pwd
import re
import subprocess
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

CONTAINER = Path("/run/systemd/container")
RESULTS = Path("/var/lib/pergola/results")
CLUSTERS = Path("/etc/postgresql")
CADDY = Path("/etc/caddy")
CADDY_CERTIFICATES = Path("/var/lib/caddy/.local/share/caddy/certificates")
BACKUP_CERTIFICATES = Path("/etc/pergola/backup-tls")
BACKUP_CONFIG = Path("/etc/pgbackrest/pgbackrest.conf")
LOGS = ("/var/log/pgbackrest/*archive-push*.log", "/var/log/postgresql/*.log")
PLACES = ("/", "/boot", "/var", "/var/log", "/var/lib", "/srv", "/tmp")  # noqa: S108 - looked at only
# Bytes of a log that one look reads at most.
LOG_BYTES = 4 * 2**20
SECONDS = 10
DROPPED = re.compile(rb"dropped WAL file '?(\w+)'?")

QUERY = """
select json_build_object(
  'version', current_setting('server_version'),
  'data_directory', current_setting('data_directory'),
  'archive_mode', current_setting('archive_mode'),
  'archived', (select archived_count from pg_stat_archiver),
  'failed', (select failed_count from pg_stat_archiver),
  'last_failed', (select last_failed_wal from pg_stat_archiver),
  'ready', (select count(*) from pg_ls_archive_statusdir() where name like '%.ready'),
  'segment_bytes', pg_size_bytes(current_setting('wal_segment_size')),
  'wal_bytes', (select coalesce(sum(size), 0) from pg_ls_waldir()),
  'max_wal_bytes', pg_size_bytes(current_setting('max_wal_size')),
  'keep_wal_bytes', pg_size_bytes(current_setting('wal_keep_size')),
  'connections', (select count(*) from pg_stat_activity
    where backend_type = 'client backend'),
  'max_connections', current_setting('max_connections')::int,
  'transaction', (select json_build_object('pid', pid, 'user', usename, 'database', datname,
      'seconds', extract(epoch from now() - xact_start))
    from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
      and state <> 'idle in transaction' and xact_start is not null order by xact_start limit 1),
  'idle_transaction', (select json_build_object('pid', pid, 'user', usename, 'database', datname,
      'seconds', extract(epoch from now() - state_change))
    from pg_stat_activity where state like 'idle in transaction%' order by state_change limit 1),
  'prepared', (select json_build_object('gid', gid, 'database', database,
      'seconds', extract(epoch from now() - prepared))
    from pg_prepared_xacts order by prepared limit 1),
  'wraparound', (select json_build_object('database', datname,
      'age', greatest(age(datfrozenxid), mxid_age(datminmxid)))
    from pg_database order by greatest(age(datfrozenxid), mxid_age(datminmxid)) desc limit 1),
  'slots', (select coalesce(json_agg(json_build_object(
      'name', slot_name, 'status', wal_status, 'bytes', pg_wal_lsn_diff(
        case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
        restart_lsn))), '[]')
    from pg_replication_slots where not active),
  'pending_restart', (select coalesce(json_agg(name order by name), '[]')
    from pg_settings where pending_restart)
)
"""


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
    """A command's end; subprocess.TimeoutExpired after ten seconds."""
    options = {"capture_output": True, "text": True, "timeout": SECONDS, "check": False, **more}
    return subprocess.run(command, **options)


def gather(positions: dict[str, list[int]] | None) -> dict[str, Any]:
    """Everything; `positions` are how far earlier looks have read logs (None: there was none)."""
    parts: dict[str, Callable[[], Any]] = {
        "units": failed_units,
        "results": results,
        "certificates": certificates,
        "reboot": reboot,
        "clock_error_usec": clock_error,
        "logs": lambda: logs(positions),
    }
    seen: dict[str, Any] = {
        "host": platform.node(),
        "wall": time.time(),
        "boottime": time.clock_gettime(time.CLOCK_BOOTTIME),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "container": CONTAINER.exists(),
        "errors": {},
    }

    def part(name: str, look: Callable[[], Any]) -> None:
        try:
            seen[name] = look()
        except Exception as error:  # whatever it is, the other parts go on
            seen[name] = None
            seen["errors"][name] = f"{type(error).__name__}: {error}"

    for name, look in parts.items():
        part(name, look)
    part("postgresql", postgresql)
    part("disks", lambda: disks(seen["postgresql"]))
    return seen


def failed_units() -> list[str]:
    done = run("systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager")
    if done.returncode:
        raise OSError(done.stderr.strip())
    return [line.split()[0] for line in done.stdout.splitlines() if line.strip()]


def results() -> dict[str, Any]:
    """What the jobs wrote at their ends, by name; a text in place of one that cannot be read."""
    found: dict[str, Any] = {}
    for path in sorted(RESULTS.glob("*.json")):
        try:
            result = json.loads(path.read_text())
            float(result["ended"])
            found[path.stem] = result
        except (OSError, ValueError, TypeError, KeyError) as error:
            found[path.stem] = f"{path}: {type(error).__name__}: {error}"
    return found


def cluster() -> tuple[str, int] | None:
    """Version and port of this host's cluster `main`: of those that start at boot, the newest."""
    versions = sorted((p.parent for p in CLUSTERS.glob("*/main/")), key=lambda p: int(p.name))
    for version in reversed(versions):
        start = version / "main/start.conf"
        if start.exists() and re.search(r"^\s*(manual|disabled)", start.read_text(), re.MULTILINE):
            continue
        text = (version / "main/postgresql.conf").read_text()
        port = re.search(r"^\s*port\s*=\s*(\d+)", text, re.MULTILINE)
        return version.name, int(port[1]) if port else 5432
    return None


def postgresql() -> dict[str, Any] | None:
    """What the server says of itself; {'down': why} if it does not answer; None: there is none."""
    there = cluster()
    if there is None:
        return None
    version, port = there
    unit = f"postgresql@{version}-main"
    account = pwd.getpwnam("postgres")
    try:
        done = run(
            "psql", "-XAtqd", "postgres", "-p", str(port), "-c", QUERY,
            user=account.pw_uid, group=account.pw_gid, extra_groups=[],
            cwd="/",
            env={
                "PATH": "/usr/bin:/bin",
                "PGHOST": "/var/run/postgresql",
                "PGCONNECT_TIMEOUT": "5",
                "PGAPPNAME": "pergola-status",
                "PGOPTIONS": "-c statement_timeout=8s -c default_transaction_read_only=on",
            },
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"unit": unit, "down": f"no answer in {SECONDS} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["psql failed"]
        return {"unit": unit, "down": said[0].removeprefix("psql: error: ")}
    return {"unit": unit, **json.loads(done.stdout)}


def repositories() -> list[str]:
    """Directories of this host in which pgBackRest keeps backups."""
    if not BACKUP_CONFIG.exists():
        return []
    text = BACKUP_CONFIG.read_text()
    elsewhere = set(re.findall(r"^\s*repo(\d+)-(?:host|type\s*=\s*(?!posix))", text, re.MULTILINE))
    paths = re.findall(r"^\s*repo(\d+)-path\s*=\s*(\S+)", text, re.MULTILINE)
    return [path for number, path in paths if number not in elsewhere]


def disks(server: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Each file system that matters, once, with what it is used for."""
    data = (server or {}).get("data_directory")
    places = dict.fromkeys(PLACES, "")
    places |= dict.fromkeys(repositories(), "backups")
    if data:
        places |= {data: "PostgreSQL's data", f"{data}/pg_wal": "PostgreSQL's WAL"}
    found: dict[int, dict[str, Any]] = {}
    for place, purpose in places.items():
        path = Path(place).resolve()
        if not path.is_dir():
            continue
        device = path.stat().st_dev
        if device not in found:
            while path != path.parent and path.parent.stat().st_dev == device:
                path = path.parent
            at = os.statvfs(path)
            used = at.f_blocks - at.f_bfree
            found[device] = {
                "place": str(path),
                "holds": [],
                "percent": 100 * used / max(1, used + at.f_bavail),
                "free_bytes": at.f_bavail * at.f_frsize,
                # btrfs counts no inodes.
                "inodes_percent": 100 * (1 - at.f_favail / at.f_files) if at.f_files else 0,
            }
        if purpose and purpose not in found[device]["holds"]:
            found[device]["holds"].append(purpose)
    return list(found.values())


def certificates() -> list[dict[str, Any]]:
    """Those that Caddy serves (of each name the one that lasts longest) and the backup's own."""
    served = "\n".join(
        path.read_text() for path in (*CADDY.glob("Caddyfile"), *CADDY.glob("*.caddy"))
    )
    longest: dict[str, dict[str, Any]] = {}
    for path in sorted(CADDY_CERTIFICATES.glob("*/*/*.crt")):
        name = path.stem.replace("wildcard_", "*")
        # Of a site that is gone Caddy keeps the certificate for a while, and renews it no more.
        if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", served):
            continue
        dates = certificate(path)
        if name not in longest or dates["ends"] > longest[name]["ends"]:
            longest[name] = {"name": name, "kind": "caddy", **dates}
    own = [
        {"name": str(path), "kind": "backup", **certificate(path)}
        for path in sorted(BACKUP_CERTIFICATES.glob("*.crt"))
    ]
    return [*longest.values(), *own]


def certificate(path: Path) -> dict[str, float]:
    """From when to when it holds, in seconds since 1970."""
    done = run("openssl", "x509", "-noout", "-dates", "-in", str(path))
    if done.returncode:
        raise ValueError(f"{path}: {done.stderr.strip()}")
    begins, ends = re.findall(r"not(?:Before|After)=(.*)", done.stdout)
    return {"begins": certificate_time(begins), "ends": certificate_time(ends)}


def certificate_time(text: str) -> float:
    """OpenSSL's "Nov 24 19:00:00 2026 GMT"."""
    month, day, clock, year, _ = text.split()
    return parsedate_to_datetime(f"{day} {month} {year} {clock} +0000").timestamp()


def reboot() -> list[str] | None:
    """The packages that ask for a reboot; None: nobody does."""
    if not Path("/run/reboot-required").exists():
        return None
    packages = Path("/run/reboot-required.pkgs")
    return sorted(set(packages.read_text().split())) if packages.exists() else []


def clock_error() -> int | None:
    """The kernel's estimate of the clock's error in microseconds; None: no clock of its own.

    timedatectl tells it too, but it starts a service for that, every minute.
    """
    if CONTAINER.exists():
        return None
    timex = (ctypes.c_long * 64)()
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return timex[3]


def logs(positions: dict[str, list[int]] | None) -> dict[str, Any]:
    """WAL files that new lines of logs call dropped, and how far the logs are read now.

    The first look begins at the logs' ends.
    """
    at: dict[str, list[int]] = {}
    dropped: list[str] = []
    paths = [path for pattern in LOGS for path in sorted(Path("/").glob(pattern[1:]))]
    for path in paths:
        with path.open("rb") as log:
            there = os.fstat(log.fileno())
            inode, offset = (positions or {}).get(str(path), [there.st_ino, 0])
            if positions is None:
                offset = there.st_size
            elif inode != there.st_ino or offset > there.st_size:
                offset = 0
            log.seek(max(offset, there.st_size - LOG_BYTES))
            text = log.read(LOG_BYTES)
            # A line that is still being written is read again.
            whole = text[: text.rfind(b"\n") + 1]
            dropped += [name.decode() for name in DROPPED.findall(whole)]
            at[str(path)] = [there.st_ino, log.tell() - len(text) + len(whole)]
    # What sends WAL and PostgreSQL, for which it is sent, both log it.
    return {"dropped": list(dict.fromkeys(dropped)), "at": at}
