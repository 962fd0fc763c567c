"""The check of a command as a whole, when its playbook begins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible import constants, context
from ansible.inventory.manager import InventoryManager
from ansible.playbook import Playbook
from ansible.playbook.block import Block
from ansible.playbook.play import Play

from pergola_control.command.hosts import misspelt_groups, wrong_sources, wrong_tags
from pergola_control.command.known import named_by_inventory, names_of_ansible, settings_of_roles
from pergola_control.command.questions import QUESTIONS
from pergola_control.command.values import checks_no_settings, unfilled, wrong_moment
from pergola_control.command.variables import cut, misspelt, unread
from pergola_control.here import ROOT

# Molecule skips these in every run, whether a task has them or not.
SKIPPED_BY_MOLECULE = {"notest", "molecule-notest", "molecule-idempotence-notest"}


def wrong_of(playbook: Playbook) -> Iterator[str]:
    """What would not be done as typed."""
    plays = playbook.get_plays()
    if not plays:
        return
    manager = plays[0].get_variable_manager()
    variables = manager.extra_vars
    sources = list(context.CLIARGS.get("inventory") or [])
    yield from cut(context.CLIARGS.get("extra_vars") or ())
    path = Path(playbook._file_name).resolve()
    ours = path.stem in QUESTIONS and path.parent in (ROOT, ROOT / "playbooks")
    # A playbook of the user's own that imports one of these has variables of its own.
    if ours and variables:
        own = named_by_inventory(variables, sources)
        yield from unread(path.stem, variables, settings_of_roles(), own)
        yield from misspelt([name for name in variables if not own[name]], names_of_ansible())
    if ours:
        yield from wrong_hosts(manager._inventory, plays, sources)
        yield from wrong_tags_of(plays)
    if ours and path.stem == "restore":
        yield from wrong_moment(variables)
    if ours and checks_no_settings(plays):
        yield from unfilled(plays, sources)


def wrong_hosts(
    inventory: InventoryManager, plays: Sequence[Play], sources: Sequence[str]
) -> Iterator[str]:
    """An inventory that is none, or has no host that a play is for."""
    named = list(sources) != list(constants.DEFAULT_HOST_LIST)
    wrong = list(wrong_sources(sources, named))
    if not wrong:
        groups = {
            name: [host.name for host in group.get_hosts()]
            for name, group in inventory.groups.items()
        }
        wrong += misspelt_groups(groups)
    yield from wrong
    if wrong or any(inventory.get_hosts(play.hosts) for play in plays):
        return
    meant = [[play.hosts] if isinstance(play.hosts, str) else play.hosts for play in plays]
    # Of several the first one is what the play is about.
    firsts = (group.partition(":")[0] for each in meant for group in each)
    names = " or ".join(dict.fromkeys(f"`{group}`" for group in firsts))
    where = ", ".join(source if "," in source else os.path.relpath(source) for source in sources)
    limit = context.CLIARGS.get("subset")
    if limit and any(inventory.get_hosts(play.hosts, ignore_limits=True) for play in plays):
        yield f"--limit {limit}: none of its hosts is in the group {names}"
    else:
        yield f"-i {where}: the group {names} has no host"


def wrong_tags_of(plays: Sequence[Play]) -> Iterator[str]:
    """Tags that no task of the plays has."""
    only = [tag for tag in context.CLIARGS.get("tags") or () if tag != "all"]
    skipped = set(context.CLIARGS.get("skip_tags") or ()) - SKIPPED_BY_MOLECULE
    if not only and not skipped:
        return
    there: set[str] = set()
    for play in plays:
        there |= set(play.tags)
        for block in play.compile():
            there |= tags_of(block)
    yield from wrong_tags(only, there, "--tags")
    yield from wrong_tags(sorted(skipped), there, "--skip-tags")


def tags_of(block: Block) -> set[str]:
    """All tags of the tasks of a block."""
    found = set(block.tags)
    for task in (*block.block, *block.rescue, *block.always):
        found |= tags_of(task) if hasattr(task, "block") else set(task.tags)
    return found
