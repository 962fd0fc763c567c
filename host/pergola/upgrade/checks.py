"""What must hold before another major version of PostgreSQL is begun: all of it is told at once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from pergola.errors import PergolaError
from pergola.postgres import ACCOUNT, Cluster
from pergola.system import attempt
from pergola.upgrade import packages

FREE_MB = 1000  # left for what goes on beside an upgrade
LONG_SECONDS = 300
PREPARED = "select gid || ' in ' || database from pg_prepared_xacts"
SLOTS = "select slot_name from pg_replication_slots"
TABLESPACES = "select spcname from pg_tablespace where spcname not in ('pg_default', 'pg_global')"
LONG = f"""select format('process %s of %s in %s', pid, usename, datname) from pg_stat_activity
  where backend_type = 'client backend' and pid <> pg_backend_pid()
    and now() - xact_start > interval '{LONG_SECONDS} seconds'"""  # noqa: S608 - a number of ours
CLONE = """place=$(mktemp -d "$1/.pergola-XXXXXX"); trap 'rm -rf "$place"' EXIT
head -c 8192 /dev/zero >"$place/one"; cp --reflink=always "$place/one" "$place/other" """
EXTENSIONS = "select extname from pg_extension order by 1"


def refusals(old: Cluster | None, to: int, rehearsal: bool) -> list[str]:
    """Why an upgrade would not work; nothing is changed to find out."""
    if old is None:
        return ["there is no cluster `main` of PostgreSQL on port 5432 to upgrade"]
    if to <= old.version:
        return [f"the cluster has version {old.version}; it can only be upgraded to a newer one"]
    if not old.is_running():
        return [f"cluster {old} does not run: start it ({old.unit}), or restore it first"]
    try:
        return list(found(old, to, rehearsal))
    except PergolaError as error:
        return [str(error)]


def found(old: Cluster, to: int, rehearsal: bool) -> Iterator[str]:
    """The single checks of a cluster that runs."""
    new = Cluster(to)
    if new.exists():
        yield (
            f"cluster {new} is there already. What an upgrade has left goes by -e remove_old=true; "
            f"an empty one that a package has made: pg_dropcluster --stop {to} main"
        )
    missing = [
        name for name in packages.for_version(old.version, to) if not packages.candidate(name)
    ]
    if missing:
        yield (
            f"not available from apt's sources: {', '.join(missing)}. Go to a release of the "
            "system that has them (docs/upgrades.md), add a source, or remove what they stand for"
        )
    yield from space(old, rehearsal)
    if prepared := old.rows(PREPARED):
        yield f"prepared transactions: {', '.join(prepared)}. Commit them or roll them back"
    if slots := old.rows(SLOTS):
        yield (
            f"replication slots, which would be lost: {', '.join(slots)}. Stop what uses them, "
            "then: select pg_drop_replication_slot(NAME)"
        )
    if spaces := old.rows(TABLESPACES):
        yield f"tablespaces, which this cannot bring over yet: {', '.join(spaces)}"
    if running := old.rows(LONG):
        yield (
            f"transactions older than {LONG_SECONDS} s: {'; '.join(running)}. Wait for their end, "
            "or: select pg_terminate_backend(PROCESS)"
        )


def space(old: Cluster, rehearsal: bool) -> Iterator[str]:
    """Whether the copies have room: the new cluster's, and before that those of the rehearsal."""
    clusters = 1 if can_clone(old.data) else (2 if rehearsal else 1)
    needed = clusters * old.megabytes() + FREE_MB
    free = shutil.disk_usage(old.data).free // 2**20
    if free < needed:
        yield (
            f"{old.data} has {free} MB free, and the upgrade needs {needed} MB for its "
            f"{'rehearsal and its ' if rehearsal else ''}copy"
            + (". Without a rehearsal: -e upgrade_rehearsal=false" if rehearsal else "")
        )


def can_clone(directory: Path) -> bool:
    """Whether the file system shares the blocks of copies (XFS, Btrfs)."""
    # With the rights of the account whose directory it is: root follows no name there.
    return attempt("sh", "-euc", CLONE, "sh", directory, account=ACCOUNT).returncode == 0


def extensions(old: Cluster, to: int) -> list[str]:
    """The extensions in use that the installed packages of the new version do not have."""
    used = {name for database in old.databases() for name in old.rows(EXTENSIONS, database)}
    folder = Path(f"/usr/share/postgresql/{to}/extension")
    return sorted(name for name in used if not (folder / f"{name}.control").exists())
