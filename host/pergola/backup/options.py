"""What can be asked for on the command line."""

import argparse
from typing import TypeAlias

PROGRAM = "pergola-backup"
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog=PROGRAM,
        description="The backups of this host's PostgreSQL. Exits 0, or 1 with a report on stderr.",
    )
    # In the unit of its own, which a lost connection does not end.
    main.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")
    add_verbs_for_people(verbs)
    add_verbs_for_restores(verbs)
    add_verbs_for_role(verbs)
    add_verbs_for_units(verbs)
    verbs.add_parser("status", help="backups and the last result of each job, as JSON")
    return main


def add_verbs_for_people(verbs: Verbs) -> None:
    verbs.add_parser("full", help="make a full backup")
    verbs.add_parser("incr", help="make an incremental backup")
    verbs.add_parser("verify", help="read every file of the repositories")
    point = verbs.add_parser("point", help="make a named point that a restore can go to")
    point.add_argument("name", nargs="?", default="")
    point.add_argument(
        "--if-made", action="store_true", help="none where this server makes no backups"
    )
    verbs.add_parser(
        "drill", help="restore a backup beside the live server, look closely, remove it"
    ).add_argument("--repo", type=int, help="of this repository; else each has its turn")
    back = verbs.add_parser("recover", help="put another server's copies on this host back")
    back.add_argument("stanza", help="the server, by the name of its backups")
    back.add_argument("--before", default="", help="as they were then: 2026-11-24T10:00:00Z")
    verbs.add_parser("stanza-upgrade", help="go on after PostgreSQL's major version was upgraded")
    verbs.add_parser("files", help="back up the files of applications")
    verbs.add_parser("snapshots", help="the backups of files, the oldest first")


def add_verbs_for_restores(verbs: Verbs) -> None:
    scratch = verbs.add_parser("scratch", help="restore beside the live server")
    scratch.add_argument("--remove", action="store_true", help="remove it again")
    moment = verbs.add_parser("moment", help="say which one a time means that counts from now")
    moment.add_argument("--to", required=True, help="--to=-90s, -15m, -3h, -2d")
    plan = verbs.add_parser("plan", help="what a restore would do; nothing is changed")
    plan.add_argument("--undo", action="store_true", help="what an undo would do")
    again = verbs.add_parser("restore", help="restore in place; nothing asks you again")
    back = verbs.add_parser("undo", help="back to the data that the last restore put aside")
    for verb in (plan, scratch, again):
        add_target(verb)
    for verb in (plan, scratch, again, back):
        verb.add_argument(
            "--files", default="", metavar="APP", help="this application's files, no database"
        )
    cut = verbs.add_parser("resolve", help="bring a restore that was cut off to its end")
    how = cut.add_mutually_exclusive_group()
    how.add_argument(
        "--acknowledge", action="store_true", help="status need not say any more that one was"
    )
    how.add_argument("--before-postgresql", action="store_true", help=argparse.SUPPRESS)
    how.add_argument("--at-boot", action="store_true", help=argparse.SUPPRESS)


def add_verbs_for_role(verbs: Verbs) -> None:
    """What role backup calls, and role upgrade."""
    verbs.add_parser(
        "rebuild", help="bring back the databases of the server that this one replaces"
    )
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
    verbs.add_parser("close", help="close the applications whose database another host restores")
    verbs.add_parser("open", help="open them again")
    after = verbs.add_parser("follow", help="(pergola-upgrade) go on with another major version")
    after.add_argument("version", type=int)


def add_verbs_for_units(verbs: Verbs) -> None:
    verbs.add_parser("files-copy", help="copy other servers' backups of files to this host")
    verbs.add_parser("protect", help="keep clients from what they have sent to this host")
    verbs.add_parser("starting", help="(pgbackrest.service) note what the daemon reads")
    woken = verbs.add_parser("wake", help="(pergola-archive@.service) have archive_timeout kept")
    woken.add_argument("cluster", help="as 17/main")


def add_target(parser: argparse.ArgumentParser) -> None:
    """The options of a restore; none: the latest state of the archive."""
    add = parser.add_argument
    add("--to", default="", help="a moment, with its time zone: 2026-11-24T10:00:00Z")
    add("--xid", default="", help="the end of a transaction, by its number")
    add("--point", default="", help="a named point")
    add("--repo", type=int, help="only from this repository")
    add("--timeline", type=int, help="along this timeline; else the one that was live then")
