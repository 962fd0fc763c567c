"""The drill: each application's newest backup of files is restored beside, and looked at."""

import os
import random
import stat

from pergola import apps
from pergola.apps import App
from pergola.backup.files import databases, repositories
from pergola.backup.files.back import Plan, fetch
from pergola.backup.files.make import (
    COPIES,
    NONE,
    WORK,
    alone,
    collected,
    has_files,
    remove,
    together,
)
from pergola.backup.files.repositories import Repository
from pergola.errors import PergolaError
from pergola.people import size
from pergola.results import recorded


def drill() -> None:
    """Restore and look at the files of all applications, each from one of its repositories."""
    with recorded("files-drill") as result, alone(), together() as failed:
        said = []
        for app in filter(has_files, apps.every()):
            with collected(failed):
                # Whichever: over the weeks it is each one's turn.
                there = [one for one in repositories.of(app.name) if one.is_there()]
                if there:
                    said.append(drill_one(app, random.choice(there)))  # noqa: S311
        result.says = "; ".join(said) or NONE


def drill_one(app: App, repository: Repository) -> str:
    """A sentence on one application's; PergolaError says what is wrong."""
    found = repository.snapshots()
    if not found:
        raise PergolaError(f"there is no backup of the files of {app.name} in {repository.name}")
    target = WORK / f"{app.name}.drill"
    sizes = repository.sizes(found[-1])
    wanted = sorted(sizes.values())
    try:
        tree = fetch(Plan(app, repository, found[-1]), target)
        found_there = (
            os.lstat(os.path.join(folder, name))  # noqa: PTH118 - of many
            for folder, _, names in os.walk(tree)
            for name in names
        )
        restored = sorted(one.st_size for one in found_there if stat.S_ISREG(one.st_mode))
        if restored != wanted:
            raise PergolaError(
                f"{len(restored)} files ({size(sum(restored))}) of {app.name} were restored from "
                f"{repository.name}, and its backup {found[-1].id} has {len(wanted)} "
                f"({size(sum(wanted))})"
            )
        looked_at = databases.checked(app.name, tree)
    finally:
        remove(target)
    # What was damaged on the disk is so in the backup; what SQLite has copied must be whole.
    copies = f"{WORK / app.name / COPIES}/"
    if wrong := [one for one in looked_at if one.wrong and copies + one.path in sizes]:
        names = ", ".join(f"{one.path} ({one.wrong})" for one in wrong)
        raise PergolaError(f"SQLite's files of {app.name} are damaged in the backup: {names}")
    return (
        f"{app.name}: {len(wanted)} files ({size(sum(wanted))}, {len(looked_at)} of SQLite) "
        f"restored from {repository.name}, all in order"
    )
