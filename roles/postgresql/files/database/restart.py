"""The running server takes its settings: by a reload where that is enough, else by a restart.

What a restart is needed for the server itself remembers, so one that was lost when a run was cut
off is made up for by the next. Meanwhile the applications of this host are paused: their sockets'
queues hold the requests.
"""

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from database.server import Server
from database.settings import check
from database.system import DatabaseError, last_lines, run

APPLICATIONS = Path("/srv")
PAUSE_SECONDS = 45  # less than Caddy waits for an answer's beginning
LOCK_SECONDS = 300  # a migration or a switch at work is waited for
LOOK_EVERY = 0.2
PENDING = """
select coalesce(json_object_agg(s.name, json_build_array(current_setting(s.name), f.setting)), '{}')
from pg_settings s
left join (select distinct on (lower(name)) lower(name) as name, setting
           from pg_file_settings order by lower(name), seqno desc) f on f.name = lower(s.name)
where s.pending_restart
"""


def reload(server: Server, only_look: bool) -> dict[str, Any]:
    """Have the server read its files if they are newer; say what needs a restart.

    pending: name -> [in force, in the files]; None in the files: their default again.
    """
    reread_unit(server, only_look)
    if not server.is_running():
        return {"changed": True, "reloaded": False, "running": False, "pending": {}}
    loaded = float(server.sql("select extract(epoch from pg_conf_load_time())"))
    stale = any(
        path.stat().st_mtime > loaded for path in [server.config, *server.config.rglob("*")]
    )
    if stale and not only_look:
        check(server)
        server.sql("select pg_reload_conf()")
        until = time.monotonic() + 10
        while float(server.sql("select extract(epoch from pg_conf_load_time())")) <= loaded:
            if time.monotonic() > until:
                raise DatabaseError(
                    "PostgreSQL did not reload its settings", hint=f"See {server.log}."
                )
            time.sleep(LOOK_EVERY / 4)
    pending = json.loads(server.sql(PENDING))
    return {
        "changed": stale or bool(pending),
        "reloaded": stale,
        "running": True,
        "pending": pending,
    }


def reread_unit(server: Server, only_look: bool) -> None:
    """Have systemd know the unit's files as they are; none of ours needs a restart for that."""
    shown = run("systemctl", "show", "--property=NeedDaemonReload", server.unit).stdout
    if "yes" in shown and not only_look:
        run("systemctl", "daemon-reload")


def restart(server: Server) -> dict[str, Any]:
    """Restart the server, or start it, while requests wait; how long that took, in seconds."""
    check(server)
    if server.is_running():
        # Most of what is to be written is written before anybody waits for it.
        server.sql("checkpoint")
    with held_applications() as held:
        began = time.monotonic()
        done = run("systemctl", "restart", server.unit)
        if done.returncode:
            log = server.log.read_text(errors="replace") if server.log.exists() else ""
            raise DatabaseError(
                "PostgreSQL did not start again",
                last_lines(log or done.stderr),
                f"See {server.log}.",
            )
        seconds = time.monotonic() - began
    if left := json.loads(server.sql(PENDING)):
        raise DatabaseError(f"PostgreSQL restarted without its new {', '.join(left)}")
    return {"changed": True, "seconds": round(seconds, 1), "held": held}


@contextlib.contextmanager
def held_applications() -> Iterator[list[str]]:
    """Pause what is live on this host, and let it go on whatever happens; the names of these.

    No phase of a deploy is at work meanwhile: a migration is not cut.
    """
    programs = sorted(APPLICATIONS.glob("*/bin/release"))
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(max(len(programs), 1)) as pool:
        for program in programs:
            deploy_lock(stack, program.parent.parent.name)
        try:
            paused = list(pool.map(pause, programs))
            yield [p.parent.parent.name for p, was in zip(programs, paused, strict=True) if was]
        finally:
            # Also one whose pause failed half-way.
            list(pool.map(go_on, programs))


def pause(program: Path) -> bool:
    """Whether there was something live to pause."""
    return run(str(program), "pause", "on", "--for", f"{PAUSE_SECONDS}s").returncode == 0


def go_on(program: Path) -> None:
    run(str(program), "pause", "off")


def deploy_lock(stack: contextlib.ExitStack, app: str) -> None:
    """Hold the kernel's lock of an application's deploys; DatabaseError when it stays another's."""
    path = Path(f"/run/{app}/.lock")
    if not path.exists():
        return
    file: IO[str] = stack.enter_context(path.open("a"))
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise DatabaseError(
                    f"a deploy of {app} has been at work for {LOCK_SECONDS} s; PostgreSQL was not "
                    "restarted",
                    hint="Wait for its end, then run this again.",
                ) from None
            time.sleep(LOOK_EVERY)
        else:
            return
