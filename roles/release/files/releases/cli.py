"""The command line: prints one JSON object or a table, exits 0, or 1 with a report on stderr."""

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from releases import deploy, facts, maintenance, rollback, system, tables
from releases.database import Database
from releases.lock import HERE, Lock
from releases.store import Store
from releases.system import ReleaseError
from releases.units import transient


def report(store: Store, error: ReleaseError, release: str | None) -> str:
    """What a person needs at three in the morning, in the order of the questions."""
    lines = [
        f"{store.app} on {socket.gethostname()}: {error.reason}",
        f"phase: {error.phase}" + (f" of release {release}" if release else ""),
    ]
    if error.detail:
        lines.append(error.detail)
    lines.append(f"live now: {store.describe_live()}")
    usual = f"mend that and run again; sudo {store.home}/bin/release releases shows what was tried"
    lines.append(f"next: {error.hint or usual}")
    return "\n".join(lines)


def in_live_release(store: Store, command: list[str]) -> int:
    """Run a command in the live release, as the application; return its exit code."""
    release = live_release(store)
    code = subprocess.run(at_console(store, release, command), check=False).returncode
    store.record("run", release, f"exit {code}", command=shlex.join(command))
    return code


def psql(store: Store, arguments: list[str]) -> int:
    """PostgreSQL's shell on the application's database, in the same sandbox as `shell`."""
    conninfo = Database(store).conninfo
    if not conninfo:
        raise ReleaseError("psql", f"no database of {store.app} is known on this host")
    command = ["psql", *arguments, "-d", conninfo]
    return subprocess.run(at_console(store, live_release(store), command), check=False).returncode


def live_release(store: Store) -> str:
    release = store.live()
    if release is None:
        raise ReleaseError("run", f"no release of {store.app} is live on this host")
    return release


def at_console(store: Store, release: str, command: list[str]) -> list[str]:
    """The command line that runs a command of a release for whoever called: in their terminal."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return transient(store, release, command, "--pty", TERM=os.environ.get("TERM", "dumb"))
    return transient(store, release, command, "--pipe")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="release",
        description="The releases of one application on this host. Run it as root.",
    )
    add = parser.add_argument
    add("--who", default=os.environ.get("SUDO_USER", ""), help="for the ledger")
    add("--run", default=f"{HERE}/{os.getpid()}", help=argparse.SUPPRESS)
    add("--alive", default="", help=argparse.SUPPRESS)
    add("--action", default="deploy", choices=("deploy", "rollback"), help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text)

    verb("status", "what is live, what is good, the last ledger lines (JSON)")
    verb("releases", "what was deployed when by whom (a table)")
    verb("show", "everything known of one release").add_argument("release")
    back = verb("rollback", "go back to the last good release, or to a named one")
    back.add_argument("release", nargs="?", default="", help="empty: the last good one")
    back.add_argument("--force", action="store_true", help="also across a schema revision")
    pick = verb("choose", "(Ansible) which release a rollback goes to")
    pick.add_argument("release", nargs="?", default="")
    pick.add_argument("--force", action="store_true")
    pick.add_argument("--rebuilt", action="store_true")
    phases = verb("do", "(Ansible) go through phases of a deploy; prepare reads its order on stdin")
    phases.add_argument("phases", help=",".join(deploy.PHASES))
    phases.add_argument("release")
    verb("abort", "(Ansible) put back what a deploy of this run did").add_argument("reason")
    verb("plan", "(Ansible) what is live, for the plan of a deploy")
    verb("unlock", "take the lock from a deploy that is dead")
    run = verb("run", "run a command in the live release, as the application")
    run.add_argument("command", nargs=argparse.REMAINDER)
    verb("shell", "a shell there: the application's account, environment, credentials, sandbox")
    verb("psql", "PostgreSQL's shell on the application's database; takes psql's options")
    page = verb("maintenance", "answer 503 with a page instead of the application")
    page.add_argument("state", choices=("on", "off"))
    page.add_argument("--for", dest="length", default="", help="10m, 90s, 2h; empty: until off")
    page.add_argument("--message", default="", help="plain text; a whole page comes on stdin")
    hold = verb("pause", "hold requests in the socket's queue, for a moment")
    hold.add_argument("state", choices=("on", "off"))
    hold.add_argument("--for", dest="length", default="", help="seconds, 20 unless given")
    options, more = parser.parse_known_args()
    if more and options.verb != "psql":
        parser.error(f"unknown: {shlex.join(more)}")
    options.more = more
    return options


def locked(store: Store, options: argparse.Namespace) -> dict[str, Any]:
    """The verbs that change what is live."""
    release = getattr(options, "release", "")
    if options.verb == "rollback":
        options.action = "rollback"
        release = rollback.choose(store, options.release, options.force)["id"]
        options.phases = "gate,switch,bake,drain"
    lock = Lock(store, options.run, options.alive.split(","), f"{options.action} of {release}")
    order = None
    if options.verb == "do" and "prepare" in options.phases.split(","):
        order = json.loads(sys.stdin.read() or "null")
        if order:  # nothing is known of this host before the first deploy
            store.__dict__.setdefault("settings", order["settings"])
    if options.verb == "abort" and lock.read().get("run") != options.run:
        return {"changed": False, "live": store.live()}
    with lock.hold():
        os.nice(system.NICE)
        work = deploy.Deploy(store, lock, options.action, release)
        if options.verb == "abort":
            return work.abort(options.reason)
        return work.run(options.phases.split(","), order)


def other_verbs(store: Store, options: argparse.Namespace) -> dict[str, Any] | str | int:
    length = getattr(options, "length", "")
    on = getattr(options, "state", "") == "on"
    page, pause = maintenance.Maintenance(store), maintenance.Pause(store)
    given: dict[str, Callable[[], dict[str, Any] | str | int]] = {
        "status": lambda: facts.status(store),
        "releases": lambda: tables.releases(store),
        "show": lambda: tables.release(store, options.release),
        "choose": lambda: rollback.choose(store, options.release, options.force, options.rebuilt),
        "plan": lambda: facts.for_plan(store),
        "unlock": lambda: unlock(store),
        "run": lambda: in_live_release(store, options.command),
        "shell": lambda: in_live_release(store, ["bash", "--norc"]),
        "psql": lambda: psql(store, options.more),
        "maintenance": lambda: page.on(length, options.message, page_given()) if on else page.off(),
        "pause": lambda: pause.on(length) if on else pause.off(),
    }
    return given[options.verb]()


def page_given() -> str:
    """A page on standard input, unless that is a terminal."""
    return "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()


def unlock(store: Store) -> dict[str, Any]:
    lock = Lock(store, "", [], "")
    held = lock.read()
    lock.release()
    return {"changed": bool(held), "was": held}


def main(home: Path) -> int:
    options = arguments()
    if os.geteuid() != 0:
        fail("run me as root: sudo " + shlex.join(sys.argv))
    # A cut SSH session must not stop a switch half-way: the verb runs to its end without it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    store = Store(home, options.who)
    try:
        answer = (locked if options.verb in ("do", "abort", "rollback") else other_verbs)(
            store, options
        )
    except ReleaseError as error:
        fail(report(store, error, getattr(options, "release", None)))
    if isinstance(answer, int):
        return answer
    print(answer if isinstance(answer, str) else json.dumps(answer))
    return 0


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)
