"""The server has what its applications need, added up: conf.d/pergola_applications.conf."""

from pergola.database import needs, settings
from pergola.database.needs import FILE, Need
from pergola.database.server import Noted
from pergola.documents import parsed
from pergola.postgres import Cluster
from pergola.system import write

# Of what stands in the file, what a running server takes by a restart only.
BY_RESTART = ("max_connections", "shared_preload_libraries", "listen_addresses")
IN_FORCE = """
select json_object_agg(name, setting) from pg_settings
where name in ('max_connections', 'shared_preload_libraries', 'listen_addresses')
"""
# By name: what is in force, what is wanted.
Changes = dict[str, tuple[str, str]]


def written(cluster: Cluster) -> str:
    """The file as it is; empty where there is none."""
    path = cluster.conf_d / FILE
    return path.read_text() if path.exists() else ""


def wanted(
    cluster: Cluster, server: Noted, applications: dict[str, Need], lowers: bool = True
) -> str:
    """The file as it should be. `lowers`: no more connections than are needed.

    A restart only for fewer of them is left to a run that looks after the server.
    """
    own = cluster.conf_d / "pergola.conf"
    text = own.read_text() if own.exists() else ""
    libraries = settings.libraries(text)
    # Without a line PostgreSQL listens on localhost.
    listens = dict(needs.values(text)).get("listen_addresses", "localhost")
    before = dict(needs.values(written(cluster))).get("max_connections", "0")
    least = 0 if lowers else int(before)
    return needs.text(needs.shares(server, applications, libraries, least, listens))


def ours(cluster: Cluster, content: str | None = None) -> dict[str, str]:
    """The settings in all our files. `content`: of this one, as it will be; None: as it is."""
    instead = {} if content is None else {FILE: content}
    return dict(needs.values(settings.written(cluster.conf_d, instead)))


def settle(cluster: Cluster, content: str) -> bool:
    """Write the file, once the server's own program has checked it; whether it changed."""
    if not cluster.exists() or content == written(cluster):
        return False
    settings.check(cluster, {FILE: content})
    path = cluster.conf_d / FILE
    if content:
        write(path, content)
    else:
        path.unlink()
    return True


def restarts(cluster: Cluster, content: str) -> Changes:
    """What the running server would need a restart for, if the file had this content."""
    if not cluster.is_in_service():
        return {}
    in_force = parsed(cluster.sql(IN_FORCE), dict[str, str], "what the server is set to")
    said = ours(cluster, content)
    found = {name: (in_force[name], said[name]) for name in BY_RESTART if name in said}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}
