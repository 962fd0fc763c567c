"""Databases on other hosts of the environment, asked as their applications ask."""

import time
from collections.abc import Iterable, Iterator

from pergola import apps
from pergola.apps import App
from pergola.people import last_lines
from pergola.postgres import client
from pergola.status.config import Site
from pergola.status.look import CRITICAL, OK, Finding, Look
from pergola.status.seen import Reached
from pergola.system import TookTooLongError, attempt

SECONDS = 10
OPTIONS = ("-XqAt", "-v", "ON_ERROR_STOP=1", "-c", "select 1")


# -- seen ------------------------------------------------------------------------------------------


def seen(sites: Iterable[Site]) -> list[Reached]:
    """Each application's that has one elsewhere, and a release that is live."""
    found = [App(apps.HOMES / site.app) for site in sites]
    return [
        asked(app)
        for app in found
        if app.is_live() and app.database and not app.has_local_database()
    ]


def asked(app: App) -> Reached:
    began = time.monotonic()
    command = (client(), *OPTIONS, "-d", app.database)
    try:
        done = attempt(*command, account=app.settings.user, timeout=SECONDS)
        error = last_lines(done.stderr) if done.returncode else ""
    except TookTooLongError:
        error = f"no answer within {SECONDS} s"
    return Reached(app.name, round(time.monotonic() - began, 3), error)


# -- judged ----------------------------------------------------------------------------------------


def database(look: Look) -> Iterator[Finding]:
    for one in look.seen.reached or []:
        name = f"database {one.app}"
        if one.error:
            says = (
                f"its database does not answer: {one.error}; see status.yml for the host of the "
                "group db, and whether the two hosts reach each other"
            )
            yield Finding(name, CRITICAL, says)
        else:
            yield Finding(name, OK, f"answers in {one.seconds * 1000:.0f} ms")


CHECKS = (database,)
