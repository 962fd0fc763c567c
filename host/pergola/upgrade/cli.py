"""The command line. What is done is said line by line; the last line is a JSON object."""

import argparse
import os
import signal
import sys
from contextlib import nullcontext

from pergola import apps
from pergola.documents import answer
from pergola.errors import PergolaError, of_system
from pergola.upgrade import automatic, closing, major, plan, stale, updates
from pergola.upgrade.order import ORDER, Answer, Order, Plan
from pergola.upgrade.progress import PROGRAM, say

FAILURES = (PergolaError, OSError, ValueError, LookupError)
# What may have been begun when one of these fails.
PUT_BACK = ("postgresql", "back")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Updates of this server, and other versions of its PostgreSQL. Run it as root.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text)

    ask = verb("plan", "(Ansible) what would be done, and what prevents it (JSON)")
    ask.add_argument("--postgresql", default="", help="17, latest, back; empty: updates")
    ask.add_argument("--latest", type=int, default=0, help="the version that `latest` stands for")
    ask.add_argument("--remove-old", action="store_true")
    ask.add_argument("--no-rehearsal", action="store_true")
    ask.add_argument("--app", default="", help="whose name confirms")
    ask.add_argument("--confirmed", action="store_true")
    update = verb("update", "update the system's packages")
    update.add_argument("--backup", default="", help="a command that makes one first")
    night = verb("automatic", "(apt) install what automatic updates left out, while requests wait")
    night.add_argument("--wait", type=float, default=automatic.WAIT_SECONDS, metavar="SECONDS")
    verb("replaced", "(apt) note which services run what was replaced, for pergola-status")
    verb("hold", "(Ansible) hold updates that would stop an application")
    verb("ready", "wait until every application is ready")
    verb("postgresql", "(Ansible) upgrade the cluster; reads its order on stdin").add_argument(
        "version", type=int
    )
    verb("back", "(Ansible) put the cluster before back into service; reads its order on stdin")
    verb("remove-old", "remove the stopped cluster that an upgrade has left, and its packages")
    verb("undo", "put back what a program that was killed has left unfinished")
    return parser.parse_args()


def do(options: argparse.Namespace) -> Answer | Plan | None:
    """What the command line says; None: nothing is to be said of it."""
    if options.verb == "plan":
        return plan.plan(options)
    if options.verb == "replaced":
        stale.note()
        return None
    if options.verb == "undo":  # run after every other verb as well: it says nothing for nothing
        closing.undo()
        return None
    order = Order()
    if options.verb in PUT_BACK:
        order = ORDER.parse(sys.stdin.read() or "{}", "the order on standard input")
    if closing.undo():
        say("that was left by an earlier run")
    return change(options, order)


def change(options: argparse.Namespace, order: Order) -> Answer:
    """The verbs that change something."""
    if options.verb == "postgresql":
        return Answer(True, round(major.upgrade(options.version, order), 1))
    if options.verb == "back":
        return Answer(True, round(major.back(order), 1))
    if options.verb == "remove-old":
        say(f"removed cluster {major.remove()} and its packages")
        return Answer(True)
    if options.verb == "hold":
        return Answer(automatic.hold())
    if options.verb == "automatic":
        return automatic.automatic(options.wait)
    if options.verb == "update":
        return updates.update(options.backup)
    for app in apps.live():
        app.ready()
    return Answer(False)


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print(f"run me as root: sudo {PROGRAM}", file=sys.stderr)
        return 1
    # A cut SSH session must not stop this half-way.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    what, patience = "another version of PostgreSQL", updates.PATIENCE
    try:
        # No deploy migrates what is copied, and none begins before a failure is put back.
        with apps.locked(what, patience) if options.verb in PUT_BACK else nullcontext():
            return work(options)
    except PergolaError as error:  # of the lock
        print(error, file=sys.stderr)
        return 1


def work(options: argparse.Namespace) -> int:
    """What is printed as JSON, or said on standard error; the exit code."""
    try:
        said = do(options)
    except FAILURES as error:
        report(error, options.verb)
        return 1
    if said:
        print(answer(said), flush=True)
    return 0


def report(error: Exception, verb: str) -> None:
    """Say what failed, once everything that it had begun is put back."""
    told = in_words(error)
    if verb in PUT_BACK:
        say(f"FAILED: {told.splitlines()[0]}")
        try:
            closing.undo()
        except FAILURES as another:
            told += (
                f"\nAND IT COULD NOT BE PUT BACK: {in_words(another)}\nfix that, then: "
                f"sudo {PROGRAM} undo; the maintenance page stays until then"
            )
    print(told, file=sys.stderr)


def in_words(error: Exception) -> str:
    if isinstance(error, OSError):
        error = of_system(error)
    return str(error) if isinstance(error, PergolaError) else f"{type(error).__name__}: {error}"
