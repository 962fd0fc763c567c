"""The words of the command: which are a verb's, which are Ansible's, which are in a wrong place."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import typer
from typer.core import TyperCommand, TyperGroup

from pergola_control.people.inventories import found, names
from pergola_control.people.options import FLAGS, OF_LOOKS, WITH_VALUE, parted

INVENTORY = "INVENTORY"


class Typed(typer.Context):
    """A verb with the inventory that was typed before it."""

    @property
    def command_path(self) -> str:
        inventory = self.parent.params.get("inventory") if self.parent else None
        return f"pergola {inventory or INVENTORY} {self.info_name}"


def plain(pieces: Sequence[str]) -> list[str]:
    """What a usage consists of as other programs write it: Typer puts names into braces."""
    return [piece.replace("{", "").replace("}", "").replace("...", "…") for piece in pieces]


# Typer has no public name for what its own methods take, hence the comments below.
class Verbs(TyperGroup):
    """The verbs; one that there is not is answered with all that there are."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return plain(super().collect_usage_pieces(ctx))

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if ctx.resilient_parsing:  # the shell completes it
            return super().parse_args(ctx, args)
        if args and args[0] in self.commands and not found(args[0], Path.cwd(), os.environ):
            ctx.fail(f"the inventory comes before the verb: {in_order(args)}")
        verb = args[1] if len(args) > 1 else ""
        if verb and not verb.startswith("-") and verb not in self.commands:
            ctx.fail(f"there is no verb {verb}; there are {', '.join(self.commands)}")
        return super().parse_args(ctx, args)


class Verb(TyperCommand):
    """A verb, which keeps the options that are Ansible's."""

    context_class = Typed
    passed_on = FLAGS | WITH_VALUE

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return plain(super().collect_usage_pieces(ctx))

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        own = {name for each in self.get_params(ctx) for name in each.opts}
        try:
            mine, ctx.meta["ansible"] = parted(args, own, self.passed_on)
        except ValueError as error:
            ctx.fail(str(error))
        try:
            return super().parse_args(ctx, mine)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


class Look(Verb):
    """A verb that runs no playbook: of Ansible's options it takes those that choose a server."""

    passed_on = OF_LOOKS


def in_order(args: Sequence[str]) -> str:
    """The line that was meant where the verb was typed first."""
    verb, *rest = args
    there = names(Path.cwd())
    given = [word for word in rest if word in there]
    inventory = given[0] if given else INVENTORY
    if given:
        rest.remove(inventory)
    which = "" if given else f"; there are {', '.join(there)}"
    return f"pergola {shlex.join([inventory, verb, *rest])}{which}"
