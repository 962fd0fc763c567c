"""Damaged pages of PostgreSQL: which file of the cluster is which table or index."""

import re
from collections.abc import Sequence

from pergola.backup.server import Server
from pergola.errors import PergolaError

# base/<database>/<node>, global/<node>, pg_tblspc/<tablespace>/PG_17_…/<database>/<node>; each may
# end with a fork's name and a segment's number.
FILE = re.compile(
    r"^(?:base/(?P<database>\d+)|(?P<shared>global)|pg_tblspc/(?P<space>\d+)/PG_[^/]+/(?P<other>\d+))"
    r"/(?P<node>\d+)(?:_[a-z]+)?(?:\.\d+)?$"
)
SHARED = 1664  # the tablespace pg_global
NAMED = 10
LIVE = "older backups are kept until one succeeds; a restore begins with the newest without damage"
HINT = """\
check the disk first (dmesg, smartctl). An index: reindex it. A table: restore beside the server to
a moment before the damage (-e into=scratch), copy its rows from there. See docs/backups.md."""
DATABASE = "select datname from pg_database where oid = {oid}"
# The table of a TOAST table: nobody knows that by its own name.
RELATION = """
select case found.relkind when 'i' then 'index' when 't' then 'TOAST table of' else 'table' end
  || ' ' || coalesce(owner.oid, found.oid)::regclass
from pg_class found left join pg_class owner on owner.reltoastrelid = found.oid
where found.oid = pg_filenode_relation({space}, {node})
"""


class DamagedError(PergolaError):
    """A backup was made, and PostgreSQL's own files in it are damaged."""


def named(server: Server, files: Sequence[str]) -> str:
    """Files of the cluster for people, with what is in them where the live server can tell."""
    shown = [f"{file}{content(server, file)}" for file in files[:NAMED]]
    more = len(files) - NAMED
    return ", ".join(shown + ([f"and {more} more"] if more > 0 else []))


def content(server: Server, file: str) -> str:
    """In brackets the relation that a file holds, and its database; "" where nobody knows."""
    found = FILE.match(file)
    if not found or not server.data.exists():
        return ""
    try:
        database = "postgres"
        if oid := found["database"] or found["other"]:
            database = server.ask(DATABASE.format(oid=oid))
        space = SHARED if found["shared"] else found["space"] or 0
        relation = server.ask(RELATION.format(space=space, node=found["node"]), database)
    except PergolaError:
        return ""
    return f" ({relation} of the database {database})" if relation else ""
