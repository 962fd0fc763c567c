"""What people type: an inventory, and a verb for each playbook."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pergola_control.here import ROOT, seen_from_here
from pergola_control.people.inventories import Inventory, found, names
from pergola_control.people.lines import NOTHING, Asked, extra, program, run
from pergola_control.people.options import OPTIONS_OF_LOOKS
from pergola_control.people.servers import Server, one, servers
from pergola_control.people.words import Look, Verb, Verbs

OPTIONS = "Options of ansible-playbook (--check, --diff, -v, --limit HOST, -e …) are passed on."
AGO = re.compile(r"(\d+) ?(s|m|h|d)(?:ec|econd|in|inute|our|ay)?s? ago")


app = typer.Typer(
    cls=Verbs,
    subcommand_metavar="VERB …",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


verb = partial(app.command, cls=Verb, epilog=OPTIONS)
look = partial(app.command, cls=Look, epilog=OPTIONS_OF_LOOKS)


def main(argv: Sequence[str]) -> None:
    """Run a command of people's."""
    app(args=list(argv), prog_name="pergola")


def completed(incomplete: str) -> list[str]:
    return [name for name in names(Path.cwd()) if name.startswith(incomplete)]


@app.callback(invoke_without_command=True)
def choose(
    ctx: typer.Context,
    inventory: Annotated[
        str,
        typer.Argument(
            autocompletion=completed,
            metavar="INVENTORY",
            help="prod: inventory/prod here, further up, or in Pergola's directory; or a path.",
        ),
    ],
) -> None:
    """Run a playbook of Pergola's for an inventory; the line that runs is printed first."""
    if ctx.invoked_subcommand is None:
        ctx.fail(f"say what to do: {', '.join(VERBS)}")
    ctx.obj = found(inventory, Path.cwd(), os.environ)
    if ctx.obj is None:
        ctx.fail(f"there is no inventory {inventory}; there are {', '.join(names(Path.cwd()))}")


def play(ctx: typer.Context, book: str, asked: Asked = NOTHING) -> NoReturn:
    """Run a playbook of Pergola's with what it is asked."""
    inventory: Inventory = ctx.obj
    words = [program("ansible-playbook"), seen_from_here(ROOT / book), *inventory.words]
    run([*words, *extra(asked), *ctx.meta["ansible"]], inventory.environment)


def server(ctx: typer.Context, group: str) -> Server:
    """The server of a group that is meant."""
    try:
        return one(servers(ctx.obj, group, ctx.meta["ansible"]))
    except ValueError as error:
        ctx.fail(str(error))


Rebuild = Annotated[bool, typer.Option("--rebuild", help="Begin with the newest backup.")]
Confirm = Annotated[str, typer.Option(help="The application's name: you mean it.")]
Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="A branch, tag or commit; else app_version.")
]


@verb()
def site(ctx: typer.Context, version: Version = "", rebuild: Rebuild = False) -> None:
    """Make the servers what they should be, and deploy."""
    play(ctx, "site.yml", {"version": version, "rebuild": rebuild})


@verb()
def provision(ctx: typer.Context, rebuild: Rebuild = False) -> None:
    """Make the servers what they should be, without a deploy."""
    play(ctx, "playbooks/provision.yml", {"rebuild": rebuild})


@verb()
def deploy(ctx: typer.Context, version: Version = "") -> None:
    """Deploy a version of the application."""
    play(ctx, "playbooks/deploy.yml", {"version": version})


@verb()
def rollback(
    ctx: typer.Context,
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="Its id; else the last good one.")
    ] = "",
    env: Annotated[str, typer.Option(help="current: with today's settings.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Whatever the schema is.")] = False,
) -> None:
    """Go back to an earlier release."""
    play(ctx, "playbooks/rollback.yml", {"release": release, "env": env, "force": force})


@verb()
def releases(ctx: typer.Context) -> None:
    """Show what was deployed when, and by whom."""
    play(ctx, "playbooks/releases.yml")


@verb()
def status(ctx: typer.Context) -> None:
    """Show the state of the servers, problems first."""
    play(ctx, "playbooks/status.yml")


@verb("run")
def run_command(
    ctx: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- COMMAND", help="Such as: -- linkboard stats"),
    ],
) -> None:
    """Run a command in the live release."""
    one_word = len(command) == 1
    play(ctx, "playbooks/run.yml", {"cmd": command[0] if one_word else shlex.join(command)})


class State(StrEnum):
    """What becomes of the maintenance page, or of a pause."""

    ON = "on"
    OFF = "off"
    PAUSE = "pause"
    RESUME = "resume"


@verb()
def maintenance(
    ctx: typer.Context,
    state: Annotated[State, typer.Argument(metavar="STATE")],
    duration: Annotated[str, typer.Option(help="It ends by itself: 90s, 10m, 2h.")] = "",
    message: Annotated[str, typer.Option(help="What the page says.")] = "",
) -> None:
    """Turn the maintenance page on or off, or let requests wait for a moment."""
    asked = {"state": state.value, "duration": duration, "message": message}
    play(ctx, "playbooks/maintenance.yml", asked)


@verb()
def restore(
    ctx: typer.Context,
    to: Annotated[
        list[str] | None,
        typer.Argument(metavar="WHEN", help="2026-11-24T10:00:00Z, or: 5 minutes ago"),
    ] = None,
    point: Annotated[str, typer.Option(help="A named point.")] = "",
    xid: Annotated[str, typer.Option(help="The last transaction's number.")] = "",
    repo: Annotated[str, typer.Option(help="The only repository to restore from.")] = "",
    timeline: Annotated[str, typer.Option(help="The timeline to go along.")] = "",
    into: Annotated[str, typer.Option(help="scratch: beside the live server.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Back to the data before.")] = False,
    what: Annotated[str, typer.Option(help="files: of an application, and no database.")] = "",
    app: Annotated[str, typer.Option(help="Whose files, unless the inventory's own.")] = "",
    confirm: Confirm = "",
) -> None:
    """Restore the databases, or files, to a moment or to the latest state; --check: the plan."""
    moment = " ".join(to or ())
    ago = AGO.fullmatch(moment)
    to_which = {
        "what": what,
        "app": app,
        "to": f"-{ago[1]}{ago[2]}" if ago else moment,
        "point": point,
        "xid": xid,
    }
    how = {"repo": repo, "timeline": timeline, "into": into, "confirm": confirm}
    play(ctx, "playbooks/restore.yml", {**to_which, "undo": undo, **how})


@verb()
def upgrade(
    ctx: typer.Context,
    postgresql: Annotated[str, typer.Option(help="A major version, latest, or back.")] = "",
    reboot: Annotated[bool, typer.Option("--reboot", help="Where updates need it.")] = False,
    remove_old: Annotated[bool, typer.Option("--remove-old", help="The former cluster.")] = False,
    confirm: Confirm = "",
) -> None:
    """Install the system's updates, or another major version of PostgreSQL."""
    which = {"postgresql": postgresql, "confirm": confirm}
    play(ctx, "playbooks/upgrade.yml", {**which, "reboot": reboot, "remove_old": remove_old})


@verb()
def remove(ctx: typer.Context, confirm: Confirm = "") -> None:
    """Remove the application from its servers."""
    play(ctx, "playbooks/remove.yml", {"confirm": confirm})


@look()
def logs(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
) -> None:
    """Show the log of the application, its processes and its schedules."""
    there = server(ctx, "app")
    run(there.ssh(there.journal(follow)), {})


@look()
def psql(ctx: typer.Context) -> None:
    """Open a console of the database, to read it."""
    there = server(ctx, "db")
    run(there.ssh(there.psql()), {})


VERBS = [each.name or each.callback.__name__ for each in app.registered_commands if each.callback]
