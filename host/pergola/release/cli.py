"""The command line: prints one JSON object or a table, exits 0, or 1 with a report on stderr."""

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pergola import apprise, apps, lock
from pergola.apps import App
from pergola.documents import Json, answer, plain
from pergola.errors import PergolaError, of_system
from pergola.lock import HERE, Caller, HeldError, Lock, Patience
from pergola.records import Settings
from pergola.release import console, facts, rollback, tables
from pergola.release.calls import GIVEN_UP, AnsweredError, Call, Calls
from pergola.release.commands import NICE
from pergola.release.deploy import Deploy
from pergola.release.maintenance import Maintenance, Pause
from pergola.release.phases import PHASES
from pergola.release.releases import Releases
from pergola.release.report import report
from pergola.release.slots import Slots
from pergola.release.work import ORDER, Order

# Where the address of who is told is while Apprise runs.
NOTICES = Path("/run/pergola")

UNDER_LOCK = ("do", "abort", "rollback")
# How a report calls what a verb does.
SAID = {"choose": "rollback", "shell": "run"}


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="pergola release",
        description="The releases of one application on this host. Run it as root.",
    )
    add = main.add_argument
    add("--app", default="", help="which application; needed where there are several")
    add("--who", default=os.environ.get("SUDO_USER", ""), help="for the ledger")
    add("--run", default=f"{HERE}/{os.getpid()}", help=argparse.SUPPRESS)
    add("--alive", default="", help=argparse.SUPPRESS)
    add("--wait", type=int, default=0, help="seconds to wait for the end of another deploy")
    add("--attempt", default="", help=argparse.SUPPRESS)
    add("--action", default="deploy", choices=("deploy", "rollback"), help=argparse.SUPPRESS)
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text)

    verb("status", "what is live, what is good, the last ledger lines (JSON)")
    verb("releases", "what was deployed when by whom (a table)")
    verb("show", "everything known of one release").add_argument("release")
    back = verb("rollback", "go back to the last good release, or to a named one")
    back.add_argument("release", nargs="?", default="", help="empty: the last good one")
    back.add_argument("--force", action="store_true", help="also across a schema revision")
    add_verbs_for_ansible(verb)
    verb("drained", "(systemd) write down that the idle slot was killed at its time limit")
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
    return main


def add_verbs_for_ansible(verb: Callable[[str, str], argparse.ArgumentParser]) -> None:
    pick = verb("choose", "(Ansible) which release a rollback goes to")
    pick.add_argument("release", nargs="?", default="")
    pick.add_argument("--force", action="store_true")
    pick.add_argument("--rebuilt", action="store_true")
    phases = verb("do", "(Ansible) run phases of a deploy; prepare reads its order on stdin")
    phases.add_argument("phases", help=",".join(PHASES))
    phases.add_argument("release")
    verb("abort", "(Ansible) put back what a deploy of this run did").add_argument("reason")
    verb("plan", "(Ansible) what is live, for the plan of a deploy")
    verb("tell", "(Ansible) send a notice through Apprise; it is read on stdin")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    command_line = parser()
    options, more = command_line.parse_known_args(words)
    if more and options.verb != "psql":
        command_line.error(f"unknown: {shlex.join(more)}")
    options.more = more
    return options


# -- the verbs -------------------------------------------------------------------------------------


def change(releases: Releases, options: argparse.Namespace) -> Json:
    """The verbs that change what is live."""
    if options.verb == "abort":
        return abort(releases, options)
    release, order = options.release, None
    if options.verb == "rollback":
        options.action = "rollback"
        release = rollback.choose(releases, release, options.force).id
        options.phases = "gate,switch,bake,drain"
    elif "prepare" in options.phases.split(","):
        order = ordered()
        if order:  # nothing is known of this host before the first deploy
            releases.use(order.settings)
    taken = lock_for(releases, options, releases.settings, f"{options.action} of {release}")
    call = f"{options.action} {options.phases} {release}"
    calls = Calls(releases.app, attempt(options), call)
    calls.check()
    with taken.hold(calls.check):
        calls.begin(taken)
        os.nice(NICE)
        work = Deploy(releases, taken, options.action, release)
        return calls.once(
            lambda: work.run(options.phases.split(","), order),
            lambda error: report(releases, error, work.phase, release),
        )


def ordered() -> Order | None:
    """The order on standard input; None: there is none."""
    text = sys.stdin.read().strip()
    return ORDER.parse(text, "the order on standard input") if text not in ("", "null") else None


def lock_for(
    releases: Releases, options: argparse.Namespace, settings: Settings, what: str
) -> Lock:
    caller = Caller(
        options.run,
        releases.who,
        tuple(options.alive.split(",")),
        lasts=settings.lock_seconds,
        unconnected=settings.unconnected_seconds,
    )
    return Lock(releases.app.place, caller, what, Patience(options.wait))


def attempt(options: argparse.Namespace) -> str:
    """One deploy of one run, which may make several."""
    return f"{options.run} {options.attempt}"


def abort(releases: Releases, options: argparse.Namespace) -> Json:
    """Put back what this run did, after the end of a phase that is at work; say what is live."""
    changed, held = False, lock.holder(releases.app.place)
    if held and held.run == options.run:
        # The settings of the application, as nothing may ever have been deployed.
        taken = lock_for(releases, options, releases.app.settings, held.what)
        with taken.hold():
            # No call that is still under way to this server begins after this.
            Calls(releases.app, attempt(options), GIVEN_UP).note(Call())
            os.nice(NICE)
            changed = Deploy(releases, taken, options.action, "").abort(options.reason)
    return {"changed": changed, "live": releases.live()}


def look_or_tell(releases: Releases, options: argparse.Namespace) -> Json | str | int:
    """The verbs that no deploy keeps waiting."""
    length = getattr(options, "length", "")
    on = getattr(options, "state", "") == "on"
    page, pause = Maintenance(releases), Pause(releases)
    given: dict[str, Callable[[], Json | str | int]] = {
        "status": lambda: facts.status(releases),
        "releases": lambda: tables.releases(releases),
        "show": lambda: tables.release(releases, options.release),
        "choose": lambda: plain(
            rollback.choose(releases, options.release, options.force, options.rebuilt)
        ),
        "plan": lambda: facts.for_plan(releases),
        "tell": lambda: tell(json.load(sys.stdin)),
        "drained": lambda: {"changed": Slots(releases).drained()},
        "unlock": lambda: unlock(releases),
        "run": lambda: console.run(releases, options.command),
        "shell": lambda: console.run(releases, list(console.SHELL)),
        "psql": lambda: console.psql(releases, options.more),
        "maintenance": lambda: page.on(length, options.message, page_given()) if on else page.off(),
        "pause": lambda: pause.on(length) if on else pause.off(),
    }
    return given[options.verb]()


def page_given() -> str:
    """A page on standard input, unless that is a terminal."""
    return "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()


def tell(notice: dict[str, str]) -> Json:
    """Send a notice: `url`, `title`, `text`, `kind`."""
    apprise.send(**notice, folder=NOTICES)
    return {"changed": False}


def unlock(releases: Releases) -> Json:
    held = lock.unlock(releases.app.place)
    return {"changed": held is not None, "was": plain(held) if held else {}}


# -- the program -----------------------------------------------------------------------------------


def application(name: str) -> App:
    """The application of a name; the only one of this host for an empty one."""
    there = apps.every()
    found = [app for app in there if app.name == name] if name else there
    if len(found) == 1:
        return found[0]
    names = ", ".join(app.name for app in there) or "none"
    raise PergolaError(
        f"this host has no application {name}" if name else "which application?",
        f"applications here: {names}",
        hint="name one: pergola release --app=NAME VERB",
    )


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        fail(f"run me as root: sudo pergola release {shlex.join(sys.argv[1:])}")
    # A cut SSH session must not stop a switch half-way: the verb runs to its end without it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    try:
        releases = Releases(application(options.app), options.who)
    except PergolaError as error:
        fail(str(error))
    try:
        said = (change if options.verb in UNDER_LOCK else look_or_tell)(releases, options)
    except AnsweredError as known:
        if known.report:
            fail(known.report)
        said = known.answer or {}
    except (PergolaError, OSError) as error:
        failed = of_system(error) if isinstance(error, OSError) else error
        phase = "lock" if isinstance(failed, HeldError) else SAID.get(options.verb, options.verb)
        fail(report(releases, failed, phase, getattr(options, "release", "")))
    if isinstance(said, int):
        return said
    print(said if isinstance(said, str) else answer(said))
    return 0


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)
