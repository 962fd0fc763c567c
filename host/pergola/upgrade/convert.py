"""What is done to a copy and then to the live cluster: a new one is made out of it, and proven.

The old cluster must stay whole: it is the way back. So files are copied, or cloned where the file
system shares blocks, and never linked: a new cluster that has started on linked files has changed
the old one's.
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pergola.errors import PergolaError
from pergola.postgres import Cluster
from pergola.system import run
from pergola.upgrade import archive, checks, copies
from pergola.upgrade.order import File
from pergola.upgrade.progress import say, step

UPDATABLE = """select quote_ident(name) from pg_available_extensions
  where installed_version is not null and installed_version <> default_version"""
HAS_AMCHECK = "select count(*) from pg_extension where extname = 'amcheck'"
# Enough for plans that are not absurd; the whole statistics follow when the sites are open again.
QUICK = "-c default_statistics_target=1 -c vacuum_cost_delay=0"


def convert(old: Cluster, new: Cluster, files: Sequence[File]) -> None:
    """Make the new cluster out of the old one, start it on a port of its own, and prove it."""
    step("convert", f"pg_upgradecluster {old} -> {new}")
    shutil.rmtree(new.configuration, ignore_errors=True)
    copies.carry_settings(old, new)
    for file in files:
        if file.is_of(new):
            file.write()
    archive.hold(new)
    clone = ["--clone"] if checks.can_clone(old.data) else []
    run(
        *("pg_upgradecluster", "--version", new.version, "--method=upgrade", *clone),
        *("--jobs", jobs(), "--keep-port", "--no-start", old.version, old.name),
    )
    step("start", f"start {new} on port {new.port}")
    new.start()
    for database in new.databases():
        for extension in new.rows(UPDATABLE, database):
            say(f"{database}: extension {extension} updated")
            new.sql(f"alter extension {extension} update", database)
    new.call("vacuumdb", "--all", "--analyze-only", "--jobs", jobs(), settings=QUICK)
    step("prove", f"check every table and index of {new} (pg_amcheck)")
    prove(new)


def prove(cluster: Cluster) -> None:
    """Check all tables and B-trees; what that needs goes away again."""
    lacking = [d for d in cluster.databases() if cluster.sql(HAS_AMCHECK, d) == "0"]
    try:
        cluster.call("pg_amcheck", "--all", "--install-missing", "--jobs", jobs())
    finally:
        for database in lacking:
            cluster.sql("drop extension if exists amcheck", database)


def rehearse(old: Cluster, to: int, files: Sequence[File]) -> None:
    """Upgrade a copy first, which tells whether it works and how long it takes."""
    step("copy", f"rehearsal: copy {old}")
    copy, new = Cluster(old.version, copies.NAME), Cluster(to, copies.NAME)
    began = time.monotonic()
    try:
        copies.make(old)
        copied = time.monotonic()
        convert(copy, new, [moved(file, to) for file in files if file.is_of(Cluster(to))])
        took = time.monotonic() - copied
        say(
            f"rehearsal: {old.megabytes()} MB, copied in {copied - began:.1f} s, upgraded in "
            f"{took:.1f} s; the applications will be closed for that and their start"
        )
    except PergolaError as error:
        raise error.but(
            "the rehearsal failed, so nothing was begun",
            f"PostgreSQL {old.version}, which was not touched",
            "fix that and run it again",
        ) from error
    finally:
        new.drop()
        copy.drop()


def moved(file: File, to: int) -> File:
    """A file of the live cluster as the rehearsal's has it."""
    inside = Path(file.path).relative_to(Cluster(to).configuration)
    return replace(file, path=str(Cluster(to, copies.NAME).configuration / inside))


def jobs() -> int:
    return os.cpu_count() or 1
