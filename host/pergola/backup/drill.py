"""The restore drill: a backup that was never restored is a hope."""

import random
from dataclasses import dataclass
from pathlib import Path

from pergola import results
from pergola.backup import points
from pergola.backup.clock import Clock
from pergola.backup.plan import backups_for
from pergola.backup.repository import Backup
from pergola.backup.scratch import Scratch
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.backup.targets import Choice, Target, ancestry, is_on
from pergola.backup.timelines import history
from pergola.documents import Form
from pergola.errors import PergolaError
from pergola.people import size, stamp
from pergola.postgres import ACCOUNT
from pergola.system import run

CHECKS = Path("/etc/pergola/restore-checks")
DATABASES = "select datname from pg_database where datallowconn and not datistemplate"
# A database's own file of its version is written when it is created, and never again.
OLDER_THAN = """ and (pg_stat_file('base/' || oid || '/PG_VERSION')).modification
  < to_timestamp({moment})"""


@dataclass(frozen=True)
class Checks:
    """What an application wants asked of a restored database: queries that answer true."""

    database: str
    role: str
    queries: list[str]


FORM = Form(Checks)


@dataclass(frozen=True)
class Drilled:
    """Which repository had its turn."""

    repository: int = 0


def drill(settings: Settings, repository: int | None) -> None:
    """Restore the newest backup of a repository to a random moment, and look at it closely.

    Without `repository` each has its turn.

    The result says what was restored and how long each part took; PergolaError what is wrong.
    """
    with results.recorded("drill") as result:
        timeline, backup = choose(settings, repository)
        until = points.mark(settings)
        moment = random.uniform(min(since(backup), until), until)  # noqa: S311
        result.more |= {
            "backup": backup.label,
            "repository": backup.repository,
            "to": stamp(moment),
        }
        scratch, clock = Scratch.of(settings, "drill"), Clock()
        try:
            target = Target("time", stamp(moment), "a random moment", moment)
            scratch.restore(Choice(target, backup, timeline))
            clock.record("restore")
            scratch.start()
            clock.record("recovery")
            looked_at = look(scratch, moment)
            scratch.stop()
            compare_checksums(scratch)
            clock.record("checks")
        finally:
            scratch.remove()
        result.more["parts"] = clock.laps
        result.says = (
            f"{backup.label} of repository {backup.repository} to {stamp(moment)}: "
            f"{size(backup.bytes_in_database)} restored in {clock.laps['restore']} s, "
            f"recovered in {clock.laps['recovery']} s; {looked_at}, all in order"
        )


def choose(settings: Settings, repository: int | None) -> tuple[int, Backup]:
    """The live timeline, and the newest backup on its way, in the repository whose turn it is."""
    before = results.every().get("drill")
    last = results.details(before, Drilled).repository if before else 0
    server = Server(settings.version)
    backups, foreign = backups_for(settings, server, repository)
    timeline = server.timeline()
    if timeline is None:
        raise PergolaError(f"there is no cluster in {server.data}")
    way = ancestry(timeline, history(settings, timeline))
    newest = {one.repository: one for one in backups if is_on(one, way) and not foreign}
    if not newest:
        raise PergolaError(
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
    found = set(scratch.ask(DATABASES).splitlines())
    live = Server(scratch.version).ask(DATABASES + OLDER_THAN.format(moment=moment))
    if missing := set(live.splitlines()) - found:
        raise PergolaError(f"databases that the live server has are missing: {', '.join(missing)}")
    try:
        scratch.call("pg_amcheck", "--all", "--install-missing", "--jobs=2")
    except PergolaError as error:
        raise error.but("amcheck found damage in the restored database") from None
    asked = 0
    for application in application_checks():
        for query in application.queries:
            answer = scratch.ask(query, application.database, application.role)
            if answer != "t":
                raise PergolaError(
                    f"a check of {application.database} on the restored database answered "
                    f"'{answer}', not true: {query} (app_restore_checks)"
                )
            asked += 1
    count = "1 database" if len(found) == 1 else f"{len(found)} databases"
    return f"amcheck of {count}, {asked} checks of applications, checksums"


def application_checks() -> list[Checks]:
    """What each application of the host wants asked."""
    return [found for path in sorted(CHECKS.glob("*.json")) if (found := FORM.read(path))]


def compare_checksums(scratch: Scratch) -> None:
    """Compare every page with its checksum, where the cluster has them; it must be stopped."""
    if scratch.control_data().get("Data page checksum version", "0") != "0":
        what = "pg_checksums found damaged pages: it"
        run(
            *(scratch.program("pg_checksums"), "--check", "-D", scratch.data),
            account=ACCOUNT,
            what=what,
        )
