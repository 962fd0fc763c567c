"""The command line: exits 0, or 1 with a report on stderr."""

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from backups import jobs, peers
from backups.drill import drill
from backups.follow import follow
from backups.plan import make_plan, told, told_undo
from backups.repository import Repositories
from backups.restore import restore, undo
from backups.results import all_results
from backups.scratch import Scratch
from backups.settings import Settings
from backups.system import BackupError, systemctl
from backups.targets import Wanted
from backups.verify import verify

# The settings that say when.
CALENDARS = {
    "full": "backup_full_on_calendar",
    "incr": "backup_incremental_on_calendar",
    "verify": "backup_verify_on_calendar",
    "drill": "backup_drill_on_calendar",
}
# What a restore says while it is at work.
LOG = Path("/run/pergola-restore.log")


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="pergola-backup", description=__doc__)
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("full", help="make a full backup")
    verbs.add_parser("incr", help="make an incremental backup")
    verbs.add_parser("verify", help="read every file of the repositories")
    point = verbs.add_parser("point", help="make a named point that a restore can go to")
    point.add_argument("name", nargs="?", default="")
    verbs.add_parser(
        "drill", help="restore a backup beside the live server, look closely, remove it"
    ).add_argument("--repo", type=int, help="of this repository; else each has its turn")
    scratch = verbs.add_parser("scratch", help="restore beside the live server")
    scratch.add_argument("--remove", action="store_true", help="remove it again")
    plan = verbs.add_parser("plan", help="what a restore would do; nothing is changed")
    plan.add_argument("--undo", action="store_true", help="what an undo would do")
    again = verbs.add_parser("restore", help="restore in place; nothing asks you again")
    verbs.add_parser("undo", help="back to the data that the last restore put aside")
    for verb in (plan, scratch, again):
        add_target(verb)
    verbs.add_parser("setup", help="make the repositories usable, and a first backup").add_argument(
        "--alone", action="store_true", help="no other host keeps copies"
    )
    verbs.add_parser("certificate", help="have one, and show it").add_argument("address")
    for verb, text in {
        "listen": "answer these other hosts",
        "prepare": "make room for the backups of these servers",
        "keep": "have the timers and a first backup for these servers",
        "forget": "make no more backups of these servers",
    }.items():
        verbs.add_parser(verb, help=text).add_argument("names", nargs="*")
    verbs.add_parser("stanza-upgrade", help="go on after PostgreSQL's major version was upgraded")
    after = verbs.add_parser("follow", help="(pergola-upgrade) go on with another major version")
    after.add_argument("version", type=int)
    verbs.add_parser("status", help="backups and the last result of each job, as JSON")
    # In the unit of its own, which a lost connection does not end.
    main.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return main


def add_target(parser: argparse.ArgumentParser) -> None:
    """The options of a restore; none: the latest state of the archive."""
    add = parser.add_argument
    add("--to", default="", help="a moment, with its time zone: 2026-11-24T10:00:00Z")
    add("--xid", default="", help="the end of a transaction, by its number")
    add("--point", default="", help="a named point")
    add("--repo", type=int, help="only from this repository")
    add("--timeline", type=int, help="along this timeline; else the one that was live then")


def wanted(options: argparse.Namespace) -> Wanted:
    given = (options.to, options.xid, options.point, options.repo, options.timeline)
    return Wanted(*given)


def show_plan(settings: Settings, options: argparse.Namespace) -> None:
    if options.undo:
        print(told_undo(settings))
    else:
        print(told(settings, make_plan(settings, wanted(options))))


def in_own_unit(settings: Settings, options: argparse.Namespace) -> None:
    """Restore or undo, in a unit of its own: the end of an SSH session does not end it half-way."""
    if options.here:
        if options.verb == "undo":
            undo(settings)
        else:
            restore(settings, wanted(options))
        return
    if systemctl("is-active", "pergola-restore.service").strip() in ("active", "deactivating"):
        raise BackupError("a restore is at work", hint=f"what it says: {LOG}")
    LOG.unlink(missing_ok=True)
    command = [
        "systemd-run", "--quiet", "--wait", "--collect", "--unit=pergola-restore",
        "--property=KillMode=mixed", "--property=TimeoutStopSec=1h",
        f"--property=StandardOutput=append:{LOG}", f"--property=StandardError=append:{LOG}",
        f"--setenv=SUDO_USER={os.environ.get('SUDO_USER', '')}",
        sys.argv[0], "--here", *sys.argv[1:],
    ]  # fmt: skip
    code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    said = LOG.read_text().strip() if LOG.exists() else ""
    if code:
        raise BackupError(
            said.removeprefix(f"{socket.gethostname()}: ")
            or "no restore was begun: see `systemctl status pergola-restore`"
        )
    print(said)


def setup(settings: Settings, options: argparse.Namespace) -> None:
    changed = peers.alone() if options.alone else False
    changed |= start_timers(jobs.TIMERS)
    made, wanted = jobs.set_up(settings)
    print(json.dumps({"changed": changed or made, "wanted": wanted}))


def keep(options: argparse.Namespace) -> None:
    changed = start_timers(jobs.KEEPERS_TIMERS)
    changed |= jobs.have_first([Settings.kept(name) for name in options.names])
    print(json.dumps({"changed": changed}))


def start_timers(verbs: Sequence[str]) -> bool:
    """Enable the timers, have systemd reread them when they changed; whether anything did."""
    units = [f"pergola-backup-{verb}.timer" for verb in verbs]
    states = systemctl("is-enabled", *units).split()
    stale = "yes" in systemctl("show", "--property=NeedDaemonReload", *units)
    if stale:
        systemctl("daemon-reload")
        systemctl("try-restart", *units)
    for verb, unit in zip(verbs, units, strict=True):
        if systemctl("show", "--property=LoadState", "--value", unit).strip() != "loaded":
            raise BackupError(
                f"{CALENDARS[verb]} is no time that systemd understands: {unit} would never start",
                hint="an example: Sun *-*-* 02:30 (`systemd-analyze calendar` tells when that is); "
                "set it in group_vars/servers/settings.yml of the inventory",
            )
    if states.count("enabled") < len(units):
        systemctl("enable", "--now", *units)
        return True
    return stale


def point(settings: Settings, options: argparse.Namespace) -> None:
    print(jobs.make_point(settings, options.name))


def scratch(settings: Settings, options: argparse.Namespace) -> None:
    instance = Scratch(settings, "scratch")
    if options.remove:
        instance.remove()
        return
    choice = make_plan(settings, wanted(options)).choice
    instance.restore(choice)
    instance.start()
    print(f"sudo -u postgres psql -h {instance.sockets}")


def stanza_upgrade(settings: Settings, _: argparse.Namespace) -> None:
    Repositories(settings).do("stanza-upgrade")


def status(settings: Settings, _: argparse.Namespace) -> None:
    backups = [vars(backup) for backup in Repositories(settings).backups()]
    print(json.dumps({"backups": backups, "results": all_results()}, indent=1))


# What needs no PostgreSQL on this host.
EVERYWHERE: dict[str, Callable[[argparse.Namespace], object]] = {
    "full": lambda _: jobs.back_up_all(Settings.all(), "full"),
    "incr": lambda _: jobs.back_up_all(Settings.all(), "incr"),
    "verify": lambda _: verify(Settings.all()),
    "certificate": lambda options: print(json.dumps(peers.identity(options.address))),
    "listen": lambda options: print(json.dumps({"changed": peers.listen(options.names)})),
    "prepare": lambda options: print(json.dumps({"changed": peers.prepare(options.names)})),
    "keep": keep,
    "forget": lambda options: print(json.dumps({"changed": peers.forget(options.names)})),
}
VERBS: dict[str, Callable[[Settings, argparse.Namespace], None]] = {
    "point": point,
    "drill": lambda settings, options: drill(settings, options.repo),
    "scratch": scratch,
    "plan": show_plan,
    "restore": in_own_unit,
    "undo": in_own_unit,
    "setup": setup,
    "stanza-upgrade": stanza_upgrade,
    "follow": lambda _, options: follow(options.version),
    "status": status,
}


def main() -> int:
    """Do what the command line says."""
    options = parser().parse_args()
    try:
        if options.verb in EVERYWHERE:
            EVERYWHERE[options.verb](options)
        else:
            VERBS[options.verb](Settings.read(), options)
    except BackupError as error:
        print(f"{socket.gethostname()}: {error.report()}", file=sys.stderr)
        return 1
    return 0
