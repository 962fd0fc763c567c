"""The restore drill: a backup that was never restored is a hope."""

import json
import random
import time
from pathlib import Path
from typing import Any

from backups import jobs
from backups.cluster import Cluster
from backups.plan import backups_for, history
from backups.repository import Backup
from backups.results import all_results, recorded
from backups.scratch import PORT, Scratch
from backups.server import Server
from backups.settings import Settings
from backups.system import BackupError, as_postgres, checked, last_lines, size, stamp
from backups.targets import Choice, Target, ancestry, is_on

CHECKS = Path("/etc/pergola/restore-checks")


def drill(settings: Settings, repository: int | None) -> None:
    """Restore the newest backup of a repository to a random moment, and look at it closely.

    Without `repository` each has its turn.

    The result says what was restored and how long each part took; BackupError what is wrong.
    """
    with recorded("drill") as result:
        timeline, backup = choose(settings, repository)
        until = jobs.mark(settings)
        moment = random.uniform(min(since(backup), until), until)  # noqa: S311
        result |= {"backup": backup.label, "repository": backup.repository, "to": stamp(moment)}
        scratch, clock = Scratch(settings, "drill"), Clock()
        try:
            target = Target("time", stamp(moment), "a moment by chance", moment)
            choice = Choice(target, backup, timeline)
            scratch.restore(choice)
            clock.lap("restore")
            scratch.start()
            clock.lap("recovery")
            looked_at = look(scratch, moment)
            scratch.stop()
            checksums(scratch)
            clock.lap("checks")
        finally:
            scratch.remove()
        result["parts"] = clock.laps
        result["says"] = (
            f"{backup.label} of repository {backup.repository} to {stamp(moment)}: "
            f"{size(backup.bytes_in_database)} restored in {clock.laps['restore']} s, "
            f"recovered in {clock.laps['recovery']} s; {looked_at}, all in order"
        )


class Clock:
    """The seconds of each part of a job."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self.last = round(now - self.last, 1), now


def choose(settings: Settings, repository: int | None) -> tuple[int, Backup]:
    """The live timeline, and the newest backup on its way, in the repository whose turn it is."""
    last = all_results().get("drill", {}).get("repository", 0)
    server = Server(Cluster(settings))
    backups, foreign = backups_for(settings, server, repository)
    timeline = server.timeline()
    if timeline is None:
        raise BackupError(f"there is no cluster in {server.cluster.data}")
    way = ancestry(timeline, history(settings, timeline))
    newest = {one.repository: one for one in backups if is_on(one, way) and not foreign}
    if not newest:
        raise BackupError(
            "there is no backup of this cluster yet", hint="make one: pergola-backup full"
        )
    turn = min(newest, key=lambda number: (number <= last, number))
    return timeline, newest[turn]


def since(backup: Backup) -> float:
    """The first moment to go to: after the backup, and after the applications' checks were changed.

    A check may ask for a table that the release before did not have.
    """
    changed = [path.stat().st_mtime for path in CHECKS.glob("*.json")]
    return max([float(backup.ended), *changed]) + 1


def look(scratch: Scratch, moment: float) -> str:
    """Read the restored server's tables, indexes and pages, and ask what the applications want."""
    found = set(scratch.sql(DATABASES).splitlines())
    live = Cluster(scratch.settings).sql(DATABASES + OLDER_THAN.format(moment=moment))
    if missing := set(live.splitlines()) - found:
        raise BackupError(f"databases that the live server has are missing: {', '.join(missing)}")
    where = [f"--host={scratch.sockets}", f"--port={PORT}", "--username=postgres"]
    command = [str(scratch.live.programs / "pg_amcheck"), *where, "--all", "--install-missing"]
    done = as_postgres(*command, "--jobs=2")
    if done.returncode:
        raise BackupError(
            "amcheck found damage in the restored database", last_lines(done.stdout + done.stderr)
        )
    asked = 0
    for application in application_checks():
        for query in application["queries"]:
            answer = scratch.sql(query, application["database"], application["role"])
            if answer != "t":
                raise BackupError(
                    f"a check of {application['database']} on the restored database answered "
                    f"'{answer}', not true: {query} (app_restore_checks)"
                )
            asked += 1
    count = "1 database" if len(found) == 1 else f"{len(found)} databases"
    return f"amcheck of {count}, {asked} checks of applications, checksums"


DATABASES = "select datname from pg_database where datallowconn and not datistemplate"
# A database's own file of its version is written when it is created, and never again.
OLDER_THAN = """ and (pg_stat_file('base/' || oid || '/PG_VERSION')).modification
  < to_timestamp({moment})"""


def application_checks() -> list[dict[str, Any]]:
    """What each application of the host wants asked: database, role, queries that answer true."""
    return [json.loads(path.read_text()) for path in sorted(CHECKS.glob("*.json"))]


def checksums(scratch: Scratch) -> None:
    """Compare every page with its checksum, where the cluster has them; it must be stopped."""
    if scratch.controldata().get("Data page checksum version", "0") == "0":
        return
    program = str(scratch.live.programs / "pg_checksums")
    done = as_postgres(program, "--check", "-D", str(scratch.data))
    checked(done, "pg_checksums found damaged pages: it")
