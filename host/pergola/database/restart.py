"""The running server takes its settings: by a reload where that is enough, else by a restart.

What a restart is needed for the server itself remembers, so one that was lost when a run was cut
off is made up for by the next. Meanwhile the applications of this host are paused: their sockets'
queues hold the requests.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pergola import apps
from pergola.database import drift, needs, shared
from pergola.database.server import noted
from pergola.database.settings import check
from pergola.documents import parsed
from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import Cluster
from pergola.system import reread, systemctl

# Those of this host, where PostgreSQL is on the network.
CERTIFICATES = Path("/etc/pergola/certificates")
LOOK_EVERY = 0.05
RELOAD_SECONDS = 10
LOADED = "select extract(epoch from pg_conf_load_time())"
PENDING = """
select coalesce(json_object_agg(s.name, json_build_array(current_setting(s.name), f.setting)), '{}')
from pg_settings s
left join (select distinct on (lower(name)) lower(name) as name, setting
           from pg_file_settings order by lower(name),
             -- Ours beat those of ALTER SYSTEM, which are taken back.
             sourcefile like '%/postgresql.auto.conf' and bool_or(
               sourcefile like '%/conf.d/pergola%.conf') over (partition by lower(name)),
             seqno desc) f on f.name = lower(s.name)
where s.pending_restart and current_setting(s.name) is distinct from f.setting
"""
# By name: what is in force, what the files say; None: its default again.
Pending = dict[str, tuple[str | None, ...]]


@dataclass(frozen=True)
class Reloaded:
    """The result of a reload; `put_right`: what somebody had changed by hand, a line each."""

    changed: bool
    reloaded: bool
    running: bool
    pending: Pending = field(default_factory=dict)
    put_right: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Restarted:
    """How long the server was away, and which applications could not be held, and why."""

    seconds: float
    not_held: dict[str, str]
    changed: bool = True


def reload(server: Cluster, only_look: bool) -> Reloaded:
    """Have it take its settings and its applications' needs; say what needs a restart."""
    content = shared.wanted(server, noted(), needs.noted())
    if not only_look:
        shared.settle(server, content)
        return read_again(server)
    coming = shared.restarts(server, content)
    found = read_again(server, only_look=True)
    return replace(
        found,
        changed=found.changed or content != shared.written(server),
        pending={**found.pending, **coming},
    )


def read_again(server: Cluster, only_look: bool = False) -> Reloaded:
    """Have the server read its files if they are newer; say what needs a restart."""
    put = drift.put_right(server, only_look)
    if not only_look:
        # None of our files of the unit needs a restart for that.
        reread(server.unit)
    if not server.is_in_service():
        return Reloaded(changed=True, reloaded=False, running=False, put_right=put)
    taken_back = drift.take_back(server, only_look)
    loaded = float(server.sql(LOADED))
    files = [server.configuration, *server.configuration.rglob("*"), *CERTIFICATES.glob("*")]
    stale = any(path.stat().st_mtime > loaded for path in files)
    if (stale or taken_back) and not only_look:
        check(server)
        server.sql("select pg_reload_conf()")
        wait_until_loaded(server, loaded)
    needed = pending(server)
    put += taken_back
    return Reloaded(stale or bool(needed or put), stale or bool(put), True, needed, put)


def wait_until_loaded(server: Cluster, before: float) -> None:
    until = time.monotonic() + RELOAD_SECONDS
    while float(server.sql(LOADED)) <= before:
        if time.monotonic() > until:
            raise PergolaError("PostgreSQL did not reload its settings", hint=f"see {server.log}")
        time.sleep(LOOK_EVERY)


def pending(server: Cluster) -> Pending:
    """What waits for a restart."""
    return parsed(server.sql(PENDING), Pending, "what waits for a restart")


def restart(server: Cluster) -> Restarted:
    """Restart the server, or start it, while requests wait."""
    check(server)
    # While it is down nobody is served anyway.
    runs = server.is_in_service()
    if runs:
        # Most of what is to be written is written before anybody waits for it.
        server.sql("checkpoint")
    with held(must=runs) as not_held:
        began = time.monotonic()
        done = systemctl("restart", server.unit)
        if done.returncode:
            log = server.log.read_text(errors="replace") if server.log.exists() else ""
            raise PergolaError(
                "PostgreSQL did not start again",
                last_lines(log or done.stderr),
                hint=f"see {server.log}",
            )
        seconds = time.monotonic() - began
    if left := pending(server):
        raise PergolaError(f"PostgreSQL restarted without its new {', '.join(left)}")
    return Restarted(round(seconds, 1), not_held)


@contextlib.contextmanager
def held(must: bool) -> Iterator[dict[str, str]]:
    """Hold the requests of all applications; PergolaError, and no restart, where that fails."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(apps.locked("a restart of PostgreSQL"))
            not_held = stack.enter_context(apps.paused(must))
        except PergolaError as error:
            raise PergolaError(
                f"{error.reason}; PostgreSQL was not restarted", error.evidence, hint=error.hint
            ) from None
        yield not_held
