"""The command line. What is done is said line by line; the last line is a JSON object."""

import argparse
import json
import os
import signal
import subprocess
import sys
from typing import Any

from upgrades import apps, major, packages, stale, updates
from upgrades.clusters import mains, serving
from upgrades.system import UpgradeError, say, show

UNIT = "pergola-upgrade.service"
FAILURES = (UpgradeError, OSError, subprocess.SubprocessError, ValueError, LookupError)
CONFIRM = "To do that, add -e confirm={app}."
# What may have been begun when one of these fails.
PUT_BACK = ("postgresql", "back")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pergola-upgrade",
        description="Updates of this server, and other versions of its PostgreSQL. Run it as root.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text)

    plan = verb("plan", "(Ansible) what would be done, and what speaks against it (JSON)")
    plan.add_argument("--postgresql", default="", help="17, latest, back; empty: updates")
    plan.add_argument("--latest", type=int, default=0, help="the version that `latest` stands for")
    plan.add_argument("--remove-old", action="store_true")
    plan.add_argument("--no-rehearsal", action="store_true")
    plan.add_argument("--app", default="", help="whose name confirms")
    plan.add_argument("--confirmed", action="store_true")
    update = verb("update", "update the system's packages")
    update.add_argument("--backup", default="", help="a command that makes one first")
    verb("ready", "wait until every application is ready")
    verb("postgresql", "(Ansible) upgrade the cluster; reads its order on stdin").add_argument(
        "version", type=int
    )
    verb("back", "(Ansible) put the cluster before back into service; reads its order on stdin")
    verb("remove-old", "remove the stopped cluster that an upgrade has left, and its packages")
    verb("undo", "put back what a program that was killed has left unfinished")
    return parser.parse_args()


def plan(options: argparse.Namespace) -> dict[str, Any]:
    """What a run would do, for role upgrade."""
    if show(UNIT, "ActiveState") in ("active", "activating", "deactivating"):
        return refused("an upgrade is at work: journalctl -f -t pergola-upgrade")
    packages.refresh()
    if (options.remove_old or options.postgresql) and not mains():
        says = ["no cluster of PostgreSQL: nothing to do"]
        return {"verb": "", "says": says, "refused": [], "changed": False, "version": 0}
    if options.remove_old:
        return plan_removal(options)
    if options.postgresql == "back":
        return plan_back(options)
    if options.postgresql:
        return plan_major(options)
    lines, against = updates.plan()
    return {
        "verb": "update",
        "says": lines,
        "refused": against,
        "changed": lines != ["packages to update: none"],
        "version": 0,
    }


def refused(*reasons: str) -> dict[str, Any]:
    return {"verb": "", "says": [], "refused": list(reasons), "changed": False, "version": 0}


def plan_major(options: argparse.Namespace) -> dict[str, Any]:
    wanted = options.latest if options.postgresql == "latest" else options.postgresql
    if not str(wanted).isdigit():
        return refused(f"postgresql is '{wanted}': give a version such as 17, latest, or back")
    to, old, rehearsal = int(wanted), serving(), not options.no_rehearsal
    if old and old.version == to and not major.marked():
        says = [f"PostgreSQL {to} serves already: nothing to do"]
        return {"verb": "", "says": says, "refused": [], "changed": False, "version": to}
    against = [] if major.marked() else major.checks.refusals(old, to, rehearsal)
    says = unfinished() + ([] if against else major.describe(to, rehearsal))
    return {
        "verb": "postgresql",
        "says": says,
        "refused": against,
        "changed": True,
        "version": to,
    }


def unfinished() -> list[str]:
    return ["what was cut off before is put back first"] if major.marked() else []


def plan_back(options: argparse.Namespace) -> dict[str, Any]:
    now, before = serving(), major.left_over()
    if now is None or before is None or before.version > now.version:
        return refused("there is no older cluster to go back to (pg_lsclusters shows them all)")
    says = [
        f"PostgreSQL {now.version} -> {before.version}: cluster {before} as it was when {now} took "
        f"over. ROWS WRITTEN SINCE ARE LOST to it; {now} keeps them, stopped."
    ]
    against = [] if options.confirmed else [*says, CONFIRM.format(app=options.app)]
    return {
        "verb": "back",
        "says": says,
        "refused": against,
        "changed": True,
        "version": before.version,
    }


def plan_removal(options: argparse.Namespace) -> dict[str, Any]:
    old, now = major.left_over(), serving()
    if old is None or now is None:
        says = ["no stopped cluster is left: nothing to do"]
        return {"verb": "", "says": says, "refused": [], "changed": False, "version": 0}
    says = [
        f"cluster {old} is removed for good ({old.megabytes()} MB, {old.data}), with the packages "
        f"of its version; {now} serves. There is no way back to it then, except a backup."
    ]
    against = [] if options.confirmed else [*says, CONFIRM.format(app=options.app)]
    return {"verb": "remove-old", "says": says, "refused": against, "changed": True, "version": 0}


def do(options: argparse.Namespace) -> dict[str, Any]:
    """The verbs that change something."""
    order = json.loads(sys.stdin.read() or "{}") if options.verb in PUT_BACK else {}
    if options.verb == "undo":  # run after every other verb as well: it says nothing for nothing
        major.undo()
        return {}
    if major.undo():
        say("that was left by an earlier run")
    given = (order.get("files", []), order.get("backup", ""), order.get("after", ""))
    if options.verb == "postgresql":
        files, backup, after = given
        rehearsal = order.get("rehearsal", True)
        closed = major.upgrade(options.version, files, rehearsal, backup, after)
        return {"changed": True, "closed_seconds": round(closed, 1)}
    if options.verb == "back":
        return {"changed": True, "closed_seconds": round(major.back(*given), 1)}
    if options.verb == "remove-old":
        say(f"removed cluster {major.remove()} and its packages")
        return {"changed": True}
    if options.verb == "update":
        return updates.update(options.backup) | {"reboot": stale.reboot_reasons()}
    for app in apps.every():
        app.ready()
    return {"changed": False}


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("run me as root: sudo pergola-upgrade", file=sys.stderr)
        return 1
    # A cut SSH session must not stop this half-way.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    try:
        answer = plan(options) if options.verb == "plan" else do(options)
    except FAILURES as error:
        report(error, options.verb)
        return 1
    if answer:
        print(json.dumps(answer), flush=True)
    return 0


def report(error: BaseException, verb: str) -> None:
    """Say what failed, once everything that it had begun is put back."""
    reason = str(error) if isinstance(error, UpgradeError) else f"{type(error).__name__}: {error}"
    if verb in PUT_BACK:
        say(f"FAILED: {reason.splitlines()[0]}")
        try:
            major.undo()
        except FAILURES as another:
            reason += (
                f"\nAND IT COULD NOT BE PUT BACK: {another}\nmend that, then: "
                "sudo pergola-upgrade undo; the maintenance page stays until then"
            )
    print(reason, file=sys.stderr)
