"""What a run would do, and what prevents it: nothing is changed to find out."""

import argparse

from pergola.postgres import mains, serving
from pergola.system import show
from pergola.upgrade import checks, closing, major, packages, updates
from pergola.upgrade.order import Plan

UNIT = "pergola-upgrade.service"
CONFIRM = "To do that, add -e confirm={app}."


def plan(options: argparse.Namespace) -> Plan:
    """What a run would do, for role upgrade."""
    if show(UNIT, "ActiveState") in ("active", "activating", "deactivating"):
        return refused("an upgrade is at work: journalctl -f -t pergola-upgrade")
    packages.refresh()
    if (options.remove_old or options.postgresql) and not mains():
        return nothing("no cluster of PostgreSQL: nothing to do")
    if options.remove_old:
        return of_removal(options)
    if options.postgresql == "back":
        return of_way_back(options)
    if options.postgresql:
        return of_version(options)
    says, against = updates.plan()
    return Plan("update", says, against, says != ["packages to update: none"])


def refused(*reasons: str) -> Plan:
    return Plan(refused=list(reasons))


def nothing(says: str, version: int = 0) -> Plan:
    return Plan(says=[says], version=version)


def of_version(options: argparse.Namespace) -> Plan:
    wanted = options.latest if options.postgresql == "latest" else options.postgresql
    if not str(wanted).isdigit():
        return refused(f"postgresql is '{wanted}': give a version such as 17, latest, or back")
    to, old, rehearsal = int(wanted), serving(), not options.no_rehearsal
    if closing.marked():
        says = ["what was cut off before is put back first", *major.describe(to, rehearsal)]
        return Plan("postgresql", says, [], True, to)
    if old and old.version == to:
        return nothing(f"PostgreSQL {to} serves already: nothing to do", to)
    against = checks.refusals(old, to, rehearsal)
    return Plan("postgresql", [] if against else major.describe(to, rehearsal), against, True, to)


def of_way_back(options: argparse.Namespace) -> Plan:
    now, before = serving(), major.left_over()
    if now is None or before is None or before.version > now.version:
        return refused("there is no older cluster to go back to (pg_lsclusters shows them all)")
    says = [
        f"PostgreSQL {now.version} -> {before.version}: cluster {before} as it was when {now} took "
        f"over. ROWS WRITTEN SINCE ARE LOST to it; {now} keeps them, stopped."
    ]
    against = [] if options.confirmed else [*says, CONFIRM.format(app=options.app)]
    return Plan("back", says, against, True, before.version)


def of_removal(options: argparse.Namespace) -> Plan:
    old, now = major.left_over(), serving()
    if old is None or now is None:
        return nothing("no stopped cluster is left: nothing to do")
    says = [
        f"cluster {old} is removed for good ({old.megabytes()} MB, {old.data}), with the packages "
        f"of its version; {now} serves. There is no way back to it then, except a backup."
    ]
    against = [] if options.confirmed else [*says, CONFIRM.format(app=options.app)]
    return Plan("remove-old", says, against, True)
