"""Who may sign in where applications come over the network: pg_hba.conf and pg_ident.conf.

There both files are Pergola's as a whole. On the socket the system's accounts are let in as on
every server; from another host an application is, by the certificate that bears its name, as itself
and as its migrations; nobody else. A server that is not on the network keeps the distribution's
files.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pergola import access
from pergola.database.needs import Need
from pergola.database.server import Noted
from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import ACCOUNT, Cluster, quoted
from pergola.system import attempt, read

HEAD = "# Written by Pergola; lines of others: postgresql_hba and postgresql_ident, settings.\n"
# Those of the distribution's file, word by word.
USUAL = (
    ("local", "all", "postgres", "peer"),
    ("local", "all", "all", "peer"),
    ("host", "all", "all", "127.0.0.1/32", "scram-sha-256"),
    ("host", "all", "all", "::1/128", "scram-sha-256"),
    ("local", "replication", "all", "peer"),
    ("host", "replication", "all", "127.0.0.1/32", "scram-sha-256"),
    ("host", "replication", "all", "::1/128", "scram-sha-256"),
)
MARK = "# Pergola: "
LOADED = "select extract(epoch from pg_conf_load_time())"
WRONG = "select line_number, error from pg_hba_file_rules where error is not null"
RULES = "select count(*) from pg_hba_file_rules"
RELOAD_SECONDS, LOOK_EVERY = 10, 0.05


@dataclass(frozen=True)
class Files:
    """The texts of pg_hba.conf and pg_ident.conf."""

    hba: str
    ident: str


def wanted(server: Noted, needs: Mapping[str, Need]) -> Files:
    """Both files as they should be."""
    return Files(
        HEAD + "".join(f"{line}\n" for line in rules(server, needs)),
        HEAD + "".join(f"{line}\n" for line in [*maps(needs), *server.ident]),
    )


def rules(server: Noted, needs: Mapping[str, Need]) -> Iterator[str]:
    yield f"local all {ACCOUNT} peer"
    # For copies of the whole cluster, which an upgrade rehearses on.
    yield f"local replication {ACCOUNT} peer"
    with_database = {app: need for app, need in sorted(needs.items()) if need.databases}
    for app, need in with_database.items():
        names = ",".join(quoted(one.name) for one in need.databases)
        if need.here:
            role = access.migration_role(app)
            yield f"local {names} {quoted(role)} peer map={role}"
    yield "local all all peer"
    for app, need in with_database.items():
        names = ",".join(quoted(one.name) for one in need.databases)
        roles = f"{quoted(app)},{quoted(access.migration_role(app))}"
        if need.tcp:
            yield f"host {names} {roles} 127.0.0.1/32 scram-sha-256"
        for address in need.clients:
            bits = 128 if ":" in address else 32
            yield f"hostssl {names} {roles} {address}/{bits} cert map={app}"
    yield from server.hba


def maps(needs: Mapping[str, Need]) -> Iterator[str]:
    for app, need in sorted(needs.items()):
        role = access.migration_role(app)
        if need.databases and need.here:
            yield f'{role} "{app}" "{role}"'
        if need.databases and need.clients:
            yield f'{app} "{app}" "{app}"'
            yield f'{app} "{app}" "{role}"'


def foreign(text: str) -> list[str]:
    """The lines of such a file that are neither the distribution's nor Pergola's."""
    if HEAD in text:
        return []
    lines = [line.strip() for line in text.splitlines() if MARK not in line]
    return [line for line in lines if line and line[0] != "#" and tuple(line.split()) not in USUAL]


def bring(
    cluster: Cluster, server: Noted, needs: Mapping[str, Need], only_look: bool = False
) -> list[str]:
    """Have the server let in who should be; what changed, in words. PergolaError when it does not.

    Nothing on a server that is not on the network.
    """
    if not server.address or not cluster.is_in_service():
        return []
    paths = {kind: Path(cluster.sql(f"show {kind}_file")) for kind in ("hba", "ident")}
    with access.files_locked():
        now = {kind: read(path) for kind, path in paths.items()}
        for kind, kept in (("hba", server.hba), ("ident", server.ident)):
            if lines := [line for line in foreign(now[kind]) if line not in kept]:
                raise PergolaError(
                    f"{paths[kind]} has lines of somebody's own, which the server would no longer "
                    "have: " + "; ".join(lines),
                    hint=f"write those that are still needed into postgresql_{kind}, a list, and "
                    "remove them from the file; then run this again",
                )
        files = wanted(server, needs)
        new = {"hba": files.hba, "ident": files.ident}
        changed = [kind for kind in new if new[kind] != now[kind]]
        if not changed:
            return []
        if not only_look:
            for kind in changed:
                save(paths[kind], new[kind])
            try:
                reload(cluster, new["hba"])
            except PergolaError:
                for kind in changed:
                    save(paths[kind], now[kind])
                cluster.sql("select pg_reload_conf()")
                raise
    return [f"who may sign in ({paths[kind].name})" for kind in changed]


def save(path: Path, text: str) -> None:
    """Write a file as PostgreSQL's own account, whose directory it lies in."""
    command = 'umask 027 && cat >"$1.pergola" && mv "$1.pergola" "$1"'
    words = ("sh", "-euc", command, "sh", path)
    done = attempt(*words, account=ACCOUNT, stdin=text, timeout=RELOAD_SECONDS)
    if done.returncode:
        raise PergolaError(f"{path} could not be written", last_lines(done.stderr))


def reload(cluster: Cluster, text: str) -> None:
    """Have the server read them; PergolaError unless it says that all is in force."""
    # The server reads the file for this view, also where it has refused it.
    if wrong := cluster.rows(WRONG):
        raise PergolaError(
            "PostgreSQL cannot read who may sign in: " + "; ".join(wrong),
            hint="correct postgresql_hba, or see pg_hba_file_rules on the server",
        )
    lines = [line for line in text.splitlines() if line and line[0] != "#"]
    if int(cluster.sql(RULES)) != len(lines):
        raise PergolaError("PostgreSQL reads another pg_hba.conf than was written")
    before = float(cluster.sql(LOADED))
    cluster.sql("select pg_reload_conf()")
    until = time.monotonic() + RELOAD_SECONDS
    while float(cluster.sql(LOADED)) <= before:
        if time.monotonic() > until:
            raise PergolaError(
                "PostgreSQL did not take who may sign in", hint=f"see the end of {cluster.log}"
            )
        time.sleep(LOOK_EVERY)
