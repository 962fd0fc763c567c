"""What visitors get of each site: it is asked for, and the access log is counted."""

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pergola import apps, paths
from pergola.status.config import SECONDS
from pergola.status.seen import Answer, Answered, Application
from pergola.system import opened, run

UNAVAILABLE, BROKEN = 503, 500
# What an edge asks the hosts behind it (roles/app/templates/site.caddy.j2).
IN_SERVICE = "/.well-known/pergola/in-service"
# Bytes of an access log that one look reads at most, from its end.
LOG_BYTES = 4 * 2**20
STATUS = re.compile(rb'"status":(\d)(\d\d)')


def asked(here: Iterable[Application]) -> dict[str, Answer]:
    """The answers of every application that is live, all asked at once.

    By names such as `dns APP`, `slot APP` and `site APP`.
    """
    here = [app for app in here if app.web]
    if not here:
        return {}
    # What it needs takes a third of all time to import, and a host of databases alone needs none.
    from pergola.status import ask

    questions: dict[str, Callable[[], Answer]] = {}
    for app in here:
        if app.certificates == "auto" and not app.path and not app.behind:
            questions[f"dns {app.app}"] = partial(ask.resolved, app.domain)
        if app.release is not None:
            slot = apps.RUN / app.app / f"{app.colour}.sock"
            questions[f"slot {app.app}"] = partial(ask.over_socket, slot, app.health, app.domain)
        url = app.path or "/"
        if app.behind and app.release is not None:
            questions[f"site {app.app}"] = partial(ask.as_edge, app.behind, app.domain, url)
        elif app.edge or app.release is not None:
            questions[f"site {app.app}"] = partial(ask.over_https, app.domain, url)
        for name, place in app.upstreams.items():
            asking = partial(ask.as_edge, place, app.domain, IN_SERVICE)
            questions[f"upstream {app.app} {name}"] = asking
    return ask.at_once(questions)


def own_lines(app: Application, lines: Iterable[bytes]) -> Iterable[bytes]:
    """The lines of a site's log that are about this application, if it is not alone there."""
    taken = sorted(paths.of_domain(app.domain), key=len, reverse=True) if app.domain else []
    if not taken:
        return lines
    escaped = b"|".join(re.escape(path.encode()) for path in taken)
    of_path = re.compile(rb'"uri":"(?:(%s)[/?"])?' % escaped)
    return [line for line in lines if first(of_path.search(line)) == app.path]


def first(found: re.Match[bytes] | None) -> str:
    """The path that an application answers; empty: the site's own."""
    return (found[1] or b"").decode() if found else ""


def own_addresses() -> list[str]:
    """Those of this host."""
    return run("hostname", "-I", timeout=SECONDS).split()


def answered(
    here: Iterable[Application], positions: dict[str, tuple[int, int]] | None
) -> dict[str, Answered]:
    """Of each access log, how many answers there were since the last look, and of which kind.

    Counted, not parsed: a quote within a line's texts is escaped, so the pattern is found in none.
    """
    found = {}
    for app in here:
        try:
            with opened(Path(app.log)) as log:
                there = os.fstat(log.fileno())
                known = (positions or {}).get(app.log, (there.st_ino, there.st_size))
                inode, offset = known
                if inode != there.st_ino or offset > there.st_size:  # Caddy began a new file
                    offset = 0
                log.seek(max(offset, there.st_size - LOG_BYTES))
                text = log.read(LOG_BYTES)
                whole = text[: text.rfind(b"\n") + 1]
                at = log.tell() - len(text) + len(whole)
        except FileNotFoundError:  # nobody has asked yet
            continue
        whole = b"\n".join(own_lines(app, whole.splitlines()))
        statuses = [int(a + b) for a, b in STATUS.findall(whole)]
        if app.page:  # its answers say nothing about the application
            statuses = [status for status in statuses if status != UNAVAILABLE]
        errors = sum(status >= BROKEN for status in statuses)
        found[app.app] = Answered(app.log, (there.st_ino, at), len(statuses), errors)
    return found
