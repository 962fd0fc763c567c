"""PostgreSQL, as it answers itself."""

import dataclasses
from dataclasses import dataclass, field

from pergola import postgres
from pergola.documents import parsed
from pergola.errors import PergolaError
from pergola.status.config import SECONDS
from pergola.system import TookTooLongError

ENVIRONMENT = {
    "PGCONNECT_TIMEOUT": "5",
    "PGAPPNAME": "pergola-status",
    "PGOPTIONS": "-c statement_timeout=8s -c default_transaction_read_only=on",
}
# `stray` are lines that decide a setting and are not ours: over one that we set, or from a file
# that is neither ours nor the distribution's. What a restore left there says nothing any more.
QUERY = """
select json_build_object(
  'version', current_setting('server_version'),
  'data_directory', current_setting('data_directory'),
  'archive_mode', current_setting('archive_mode'),
  'archived', (select archived_count from pg_stat_archiver),
  'failed', (select failed_count from pg_stat_archiver),
  'last_failed', (select last_failed_wal from pg_stat_archiver),
  'ready', (select count(*) from pg_ls_archive_statusdir() where name like '%.ready'),
  'segment', case when not pg_is_in_recovery()
    then pg_walfile_name(pg_current_wal_insert_lsn()) end,
  'checksum_failures', (select coalesce(
      json_object_agg(coalesce(datname, 'shared tables'), checksum_failures), '{}')
    from pg_stat_database where checksum_failures > 0),
  'checksum_failed_ago', (select
      extract(epoch from clock_timestamp() - max(checksum_last_failure)) from pg_stat_database),
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
  'stray', (select coalesce(json_agg(json_build_object('name', s.name, 'value', s.setting,
      'file', s.sourcefile, 'ours', o.setting) order by s.name), '[]')
    from (select distinct on (lower(name)) lower(name) as name, setting, sourcefile
      from pg_file_settings order by lower(name), seqno desc) s
    left join (select distinct on (lower(name)) lower(name) as name, setting
      from pg_file_settings where sourcefile like '%/conf.d/pergola%.conf'
      order by lower(name), seqno desc) o using (name)
    left join pg_settings p on lower(p.name) = s.name
    where s.sourcefile not like '%/conf.d/pergola%.conf' and s.setting is distinct from o.setting
      and (o.name is not null or s.sourcefile not like '%/main/postgresql.conf')
      and coalesce(p.category, '') not like '%Recovery%'),
  'command_line', (select coalesce(json_agg(name order by name), '[]')
    from pg_settings where source in ('command line', 'environment variable')),
  'unsafe', (select coalesce(json_agg(name order by name), '[]')
    from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off'),
  'role_settings', (select coalesce(json_agg(json_build_object('role', rolname,
      'database', datname, 'setting', one) order by rolname, datname, one), '[]')
    from pg_db_role_setting left join pg_roles r on r.oid = setrole
    left join pg_database d on d.oid = setdatabase, unnest(setconfig) as one
    -- Pergola's own: the role that migrates as another, and the superuser's silence in the log.
    where not setconfig::text ~ '[{,"]role=' and not (rolname = current_user
      and one like 'log_min_error_statement=%')),
  'pending_restart', (select coalesce(json_agg(name order by name), '[]')
    from pg_settings where pending_restart)
)
"""


@dataclass
class Down:
    """A server that does not answer, and why."""

    unit: str
    down: str


@dataclass
class Session:
    """One that has a transaction open, for so many seconds."""

    pid: int
    user: str | None
    database: str | None
    seconds: float


@dataclass
class Prepared:
    """A transaction that is prepared, for so many seconds."""

    gid: str
    database: str
    seconds: float


@dataclass
class Oldest:
    """The database with the oldest transaction, and how many transactions ago that was."""

    database: str
    age: int


@dataclass
class Slot:
    """A replication slot that nobody reads from, and the bytes that it holds back."""

    name: str
    status: str | None
    bytes: int | None


@dataclass
class Stray:
    """A line that decides a setting and is not ours; `ours`: what we set, if we do."""

    name: str
    value: str | None
    file: str
    ours: str | None


@dataclass
class RoleSetting:
    """A setting of a role, of a database, or of a role in a database: `name=value`."""

    role: str | None
    database: str | None
    setting: str


@dataclass
class Server:
    """What PostgreSQL says of itself: the answer to QUERY.

    `segment`: the WAL file that is written to now; None while it recovers. `checksum_failures`:
    their number by database, `checksum_failed_ago` in seconds.
    """

    version: str
    data_directory: str
    archive_mode: str
    archived: int
    failed: int
    last_failed: str | None
    ready: int
    segment_bytes: int
    wal_bytes: int
    max_wal_bytes: int
    keep_wal_bytes: int
    connections: int
    max_connections: int
    transaction: Session | None
    idle_transaction: Session | None
    prepared: Prepared | None
    wraparound: Oldest
    slots: list[Slot]
    stray: list[Stray]
    command_line: list[str]
    unsafe: list[str]
    role_settings: list[RoleSetting]
    pending_restart: list[str]
    segment: str | None = None
    checksum_failures: dict[str, int] = field(default_factory=dict)
    checksum_failed_ago: float | None = None
    unit: str = ""


def postgresql() -> Server | Down | None:
    """What the server says of itself, or why it does not answer; None: there is none."""
    cluster = postgres.serving()
    if cluster is None:
        return None
    unit = cluster.unit.removesuffix(".service")
    try:
        said = cluster.sql(QUERY, timeout=SECONDS, environment=ENVIRONMENT)
    except TookTooLongError:
        return Down(unit, f"no answer in {SECONDS} s")
    except PergolaError as error:
        why = (error.evidence.splitlines() or [error.reason])[0]
        return Down(unit, why.removeprefix("psql: error: "))
    found = parsed(said, Server, "what PostgreSQL says of itself")
    return dataclasses.replace(found, unit=unit)
