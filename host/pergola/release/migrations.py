"""The migrations of a release, each in a unit of its own, of which nothing stays behind.

One runs before the switch, under limits, as the release before serves meanwhile. One runs after it,
outside of them: what takes long, but keeps nobody waiting.
"""

import re
import time

from pergola import access
from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.release.commands import (
    NICE,
    ended,
    environment_text,
    limited,
    read_environment,
)
from pergola.release.database import Database
from pergola.release.migrator import Migrator
from pergola.release.releases import Releases
from pergola.release.remedies import to_do
from pergola.release.remedies.seen import Seen
from pergola.release.units import transient
from pergola.system import Done, attempt, systemctl, write

BY_SIGNAL = 255  # how systemd-run ends when its unit was killed
KILLED = 137  # how a shell says that
# One that is being built at this moment is no leftover.
UNFINISHED = r"""
select format('%I.%I', n.nspname, c.relname)
from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where not (i.indisvalid and i.indisready and i.indislive) and c.relkind = 'i'
and i.indexrelid not in (select index_relid from pg_stat_progress_create_index
                         where index_relid is not null)
-- Another role's is not told by name, but whose table is locked for it is.
and not exists (select from pg_stat_progress_create_index p join pg_locks l using (pid)
                where p.datname = current_database() and p.index_relid is null
                and l.relation = i.indrelid and l.mode = 'ShareUpdateExclusiveLock')
order by 1
"""
PREPARED = "select gid from pg_prepared_xacts where database = current_database() order by 1"
# A URL of the application's own database, over its socket, that says who signs in.
URL = re.compile(r"(postgres(?:ql)?(?:\+\w+)?://)([^/@:?#]+)(?::[^/@]*)?@(?=[/?]|$)")


class Migration:
    """One run of a release's migration. `begun`: from when on it may have changed something."""

    what, setting = "migration", "app_migrate_command"
    limited = True
    log = "migrate.log"
    hint = "commit and deploy again"

    def __init__(self, releases: Releases, release: str) -> None:
        self.releases, self.release = releases, release
        self.settings = releases.settings
        self.begun = False
        self.unit = f"{releases.app.name}-{self.what}.service"
        self.said: list[str] = []

    @property
    def seconds(self) -> int:
        """How long it may take."""
        return self.settings.migrate_timeout_seconds

    def run(self, command: str) -> None:
        """Migrate; PergolaError, in which nothing is at work any more, when that failed."""
        # Whoever started it before is gone, or there would be no lock to come here with.
        self.stop()
        if not self.settings.database:
            self.run_elsewhere(command)
            return
        migrator = Migrator(self.releases, self.limited)
        with migrator.alone() as holder:
            migrator.end(but=holder)
            self.refuse_unfinished(migrator.sql(UNFINISHED).splitlines())
            prepared = set(migrator.sql(PREPARED).splitlines())
            self.back_up()
            try:
                done = self.execute(command, self.environment(migrator))
            finally:
                self.stop()
                migrator.end(but=holder)
            left = self.left_behind(migrator, prepared)
        self.check_result(command, done, left)

    def run_elsewhere(self, command: str) -> None:
        """Migrate a database of another server as the application's own role, or none at all."""
        self.refuse_unfinished(unfinished_indexes(self.releases, self.release))
        self.back_up()
        try:
            done = self.execute(command, {})
        finally:
            self.stop()
        left = self.unfinished(unfinished_indexes(self.releases, self.release))
        self.check_result(command, done, "\n".join(left))

    def stop(self) -> None:
        systemctl("stop", self.unit)
        systemctl("reset-failed", self.unit)

    def execute(self, command: str, environment: dict[str, str]) -> Done:
        """Run it as the application, with the release's environment, and keep what it says."""
        self.begun = True
        # A file, as a value may be secret; the last one of the unit's beats those before.
        path = self.releases.app.run_dir / "migration.environment"
        write(path, environment_text(environment), 0o600, durable=False)
        limit = self.seconds
        began = time.monotonic()
        try:
            done = attempt(
                *transient(
                    self.releases,
                    self.release,
                    [*limited(limit), "sh", "-euc", command],
                    "--pipe",
                    f"--unit={self.unit}",
                    f"--nice={NICE}",
                    "--property=TimeoutStopSec=10",
                    files=[path],
                ),
                merged=True,
            )
        finally:
            path.unlink(missing_ok=True)
        if done.returncode == BY_SIGNAL and time.monotonic() - began >= limit:
            done.returncode = KILLED
        said = "".join(f"({line})\n" for line in self.said) + done.stdout
        write(self.releases.path(self.release) / self.log, said, 0o640)
        return done

    def environment(self, migrator: Migrator) -> dict[str, str]:
        """What has every driver sign in as the migrations' role."""
        own = read_environment(self.releases.path(self.release) / "environment")
        limits = " ".join(f"-c {name}={value}s" for name, value in migrator.limits.items())
        more = {
            "PGUSER": migrator.role,
            # Without a name of a database it would be the user's.
            "PGDATABASE": own.get("PGDATABASE") or migrator.sql("select current_database()"),
            # For a connection that names the owner nevertheless, if its driver is libpq.
            "PGOPTIONS": " ".join(filter(None, [own.get("PGOPTIONS", ""), limits])),
        }
        secret = access.password(self.releases.home)
        for name, value in own.items():
            changed = as_user(value, migrator.owner, migrator.role, secret)
            if changed != value:
                more[name] = changed
                self.said.append(
                    f"{name} names the user {migrator.owner}; for the migration it is "
                    f"{migrator.role}"
                )
        return more

    def check_result(self, command: str, done: Done, left: str = "") -> None:
        """PergolaError when the migration failed, or left something that is not finished."""
        what = f"the {self.what} `{command}` of {self.release}"
        if done.returncode:
            manifest, home = self.releases.manifest(self.release), self.releases.home
            code = self.releases.path(self.release) / "code" / manifest.directory
            found = to_do(Seen(manifest, done.stdout, "", "", home, code, self.setting))
            raise PergolaError(
                f"{what} {ended(done.returncode)}",
                "\n".join(filter(None, [found, last_lines(done.stdout), left])),
                hint=f"{'do that' if found else 'see above what it said; fix it'}, {self.hint}",
            )
        if left:
            raise PergolaError(
                f"{what} says that it succeeded, but left something half-made",
                left,
                hint=f"do what is said above, fix the {self.what}, {self.hint}",
            )

    def left_behind(self, migrator: Migrator, prepared: set[str]) -> str:
        """What the migration left half-made, with what removes it; empty: nothing."""
        lines = self.unfinished(migrator.sql(UNFINISHED).splitlines())
        for name in sorted(set(migrator.sql(PREPARED).splitlines()) - prepared):
            lines.append(
                f"since it began a transaction was prepared, and holds its locks: {name}. If it is "
                f"the migration's: {self.psql}rollback prepared '{name}'\""
            )
        return "\n".join(lines)

    def unfinished(self, indexes: list[str]) -> list[str]:
        if not indexes:
            return []
        return [
            f"IT LEFT AN INDEX THAT IS NOT FINISHED: {', '.join(indexes)}. It answers no "
            "query, and IF NOT EXISTS would regard it as finished. Before the next deploy:",
            *map(self.drop, indexes),
        ]

    def refuse_unfinished(self, indexes: list[str]) -> None:
        """Nobody may take an index for made that an earlier migration, or a person, left."""
        if indexes:
            raise PergolaError(
                f"the database has an index that was never finished: {', '.join(indexes)}",
                "what made it was cut off in the middle: it answers no query, costs writes, and a "
                "migration with IF NOT EXISTS would regard it as finished",
                hint="nothing was migrated. Remove it, then deploy again:\n"
                + "\n".join(map(self.drop, indexes)),
            )

    @property
    def psql(self) -> str:
        return f'sudo {self.releases.home}/bin/release psql -c "'

    def drop(self, index: str) -> str:
        escaped = index.replace('"', '\\"')
        return f'  {self.psql}drop index concurrently {escaped}"'

    def back_up(self) -> None:
        """Make a point to return to, where a backup is configured."""
        command = self.settings.backup_command
        if not command:
            return
        done = attempt(
            *limited(self.settings.migrate_timeout_seconds),
            *("sh", "-euc", command),
            environment={"PERGOLA_RELEASE": self.release},
        )
        if done.returncode:
            how = ended(done.returncode)
            raise PergolaError(
                f"no backup could be made before the migration: `{command}` {how}",
                last_lines(done.stdout + done.stderr),
                hint="nothing was migrated; fix the backup and deploy again",
            )


class MigrationAfter(Migration):
    """The same of what runs once the release serves: what stops it takes nothing back."""

    what, setting = "migration-after", "app_migrate_after_command"
    limited = False
    log = "migrate-after.log"
    hint = "commit and deploy again; a deploy of the same release runs it again as well"

    @property
    def seconds(self) -> int:
        return self.settings.migrate_after_timeout_seconds


def unfinished_indexes(releases: Releases, release: str) -> list[str]:
    """Indexes of the application's database that were begun and are not being built any more."""
    if not (releases.settings.database or releases.settings.database_elsewhere):
        return []
    return (Database(releases, release).ask(UNFINISHED) or "").splitlines()


def as_user(value: str, owner: str, role: str, secret: str = "") -> str:
    """A URL of the application's database with another user; anything else as it is.

    `secret`: the password that both have by TCP; empty: there is none.
    """
    from urllib.parse import quote, unquote  # few calls need it

    if secret and f"://{owner}:{secret}@" in value:
        return value.replace(f"://{owner}:{secret}@", f"://{role}:{secret}@")
    found = URL.match(value)
    if not found or unquote(found[2]) != owner:
        return value
    return f"{found[1]}{quote(role, safe='')}@{value[found.end() :]}"
