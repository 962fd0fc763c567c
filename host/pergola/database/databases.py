"""Databases, their roles, extensions and privileges: what there is, and what makes it as wanted.

A database has an owner, by whose account the application signs in and its migrations run; a role
<name>_read, whose members may read all of it; and, if anybody is to, <name>_write, whose members
may change rows but no tables. Default privileges give both what the owner makes later.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pergola.database import state
from pergola.database.state import DatabaseState, Role, ServerState, There
from pergola.errors import PergolaError
from pergola.postgres import Cluster, quoted

ADMINISTRATION = "postgres"  # the database for what belongs to the whole server
# Databases of the server's own, and the role whose members look at the server through them.
SERVERS_OWN = ("postgres", "template1")
WATCHERS = "pg_monitor"
# By the kind of object in pg_default_acl: its name in SQL, what readers get, what writers get.
PRIVILEGES = {
    "r": ("tables", {"SELECT"}, {"SELECT", "INSERT", "UPDATE", "DELETE"}),
    "S": ("sequences", {"SELECT"}, {"SELECT", "USAGE"}),
    "n": ("schemas", {"USAGE"}, {"USAGE"}),
}
# Extensions of the server's own database: this one shows the statements of all databases.
OF_SERVER = ("pg_stat_statements",)
QUIET = "log_min_error_statement"


@dataclass(frozen=True)
class Database:
    """One database as it is wanted."""

    name: str
    owner: str
    extensions: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)
    connections: int | None = None  # what its owner may open at once; None: as it is

    def groups(self, roles: Iterable[str]) -> dict[str, list[str]]:
        """Its roles and their members; that of the writers only where there are or were some."""
        groups = {f"{self.name}_read": self.readers}
        if self.writers or f"{self.name}_write" in roles:
            groups[f"{self.name}_write"] = self.writers
        return groups


@dataclass(frozen=True)
class Step:
    """A change: where, how, and in words. `alone`: not in a transaction with others."""

    database: str
    sql: str
    says: str
    alone: bool = False


def step(sql: str, says: str, alone: bool = False) -> Step:
    return Step(ADMINISTRATION, sql, says, alone)


def quiet_steps(found: ServerState) -> Iterator[Step]:
    """Keep the superuser's failed statements out of the log: passwords are set there.

    The errors themselves stay in it, and so do other roles' statements.
    """
    if QUIET not in found.quiet:
        sql = f"alter role current_user set {QUIET} = panic"
        yield step(sql, "statements of the superuser that fail are not logged")


def closed_steps(found: ServerState) -> Iterator[Step]:
    """Close the server's own databases to everybody but its superuser and what watches it.

    What is made in template1 is in each new database, and a session in either hinders others.
    """
    for name in SERVERS_OWN:
        if name in found.databases and "public" in found.databases[name].granted:
            granted = f"grant connect on database {name} to {WATCHERS}"
            revoked = f"revoke connect, temporary on database {name} from public"
            yield step(
                f"{granted}; {revoked}" if name == ADMINISTRATION else revoked,
                f"{name}: closed to applications",
            )


def server_steps(wanted: list[Database], found: ServerState) -> Iterator[Step]:
    """What is missing of roles, databases and memberships."""
    yield from closed_steps(found)
    server = Wanting(wanted, found)
    for one in wanted:
        yield from server.steps(one)


class Wanting:
    """The server as it is after the steps so far."""

    def __init__(self, wanted: list[Database], found: ServerState) -> None:
        self.roles, self.databases = dict(found.roles), found.databases
        self.members = set(found.members)
        self.owners = {one.owner for one in wanted}

    def steps(self, one: Database) -> Iterator[Step]:
        """What is missing of one database."""
        yield from self.owner(one)
        groups = one.groups(self.roles)
        for group in groups:
            if group not in self.roles:
                self.roles[group] = Role(login=False, powers=False)
                yield step(f"create role {quoted(group)} nologin", f"role {group}")
        there = self.databases.get(one.name) or There(one.owner, ["public"])
        yield from self.database(one, there)
        for group, members in groups.items():
            # Names come quoted from PostgreSQL where they must be.
            if not {group, quoted(group)} & set(there.granted):
                sql = f"grant connect on database {quoted(one.name)} to {quoted(group)}"
                yield step(sql, f"{group} may connect to {one.name}")
            yield from self.membership(group, members)

    def owner(self, one: Database) -> Iterator[Step]:
        yield from self.login(one.owner)
        role, name = self.roles[one.owner], quoted(one.owner)
        if not role.login or role.powers:
            limits = "login nosuperuser nocreatedb nocreaterole"
            yield step(f"alter role {name} {limits}", f"{one.owner}: {limits}")
        if one.connections not in (None, role.limit):
            sql = f"alter role {name} connection limit {one.connections}"
            yield step(sql, f"{one.owner}: {one.connections} connections at most")

    def database(self, one: Database, there: There) -> Iterator[Step]:
        name, owner = quoted(one.name), quoted(one.owner)
        if one.name not in self.databases:
            sql = f"create database {name} owner {owner}"
            yield step(sql, f"database {one.name}", alone=True)
        if there.owner != one.owner:
            sql = f"alter database {name} owner to {owner}"
            yield step(sql, f"database {one.name}: owner {one.owner}")
        if "public" in there.granted:
            sql = f"revoke all on database {name} from public"
            yield step(sql, f"{one.name}: closed to others")

    def login(self, name: str) -> Iterator[Step]:
        if name not in self.roles:
            self.roles[name] = Role(login=True, powers=False)
            yield step(f"create role {quoted(name)} login", f"role {name}")
        elif not self.roles[name].login and name not in self.owners:
            self.roles[name] = replace(self.roles[name], login=True)
            yield step(f"alter role {quoted(name)} login", f"{name} may sign in again")

    def membership(self, group: str, wanted: list[str]) -> Iterator[Step]:
        for member in wanted:
            yield from self.login(member)
            if (group, member) not in self.members:
                sql = f"grant {quoted(group)} to {quoted(member)}"
                yield step(sql, f"{member} in {group}")
        for pair in sorted(pair for pair in self.members if pair[0] == group):
            member = pair[1]
            if member not in wanted:
                sql = f"revoke {quoted(group)} from {quoted(member)}"
                yield step(sql, f"{member} not in {group} any more")
                self.members.discard(pair)
                yield from self.shut_out(member)

    def shut_out(self, name: str) -> Iterator[Step]:
        """Who was a member only, and is none any more, signs in no more, and has no session."""
        others = any(pair[1] == name for pair in self.members)
        owns = name in self.owners or any(one.owner == name for one in self.databases.values())
        if not (others or owns or self.roles[name].powers) and self.roles[name].login:
            text = name.replace("'", "''")
            sessions = f"from pg_stat_activity where usename = '{text}'"
            self.roles[name] = replace(self.roles[name], login=False)
            yield step(f"alter role {quoted(name)} nologin", f"{name} may not sign in any more")
            yield step(f"select pg_terminate_backend(pid) {sessions}", "")


def database_steps(one: Database, found: DatabaseState, roles: Iterable[str]) -> Iterator[Step]:
    """What is missing inside a database: extensions, and privileges on what is and will be made."""
    yield from extension_steps(one.name, one.extensions, found)
    defaults = set(found.defaults)
    for group in one.groups(roles):
        for kind, (objects, read, write) in PRIVILEGES.items():
            wanted = read if group == f"{one.name}_read" else write
            if all((one.owner, kind, group, privilege) in defaults for privilege in wanted):
                continue
            granted = ", ".join(sorted(wanted))
            who = quoted(group)
            yield Step(
                one.name,
                f"alter default privileges for role {quoted(one.owner)} "
                f"grant {granted} on {objects} to {who}",
                f"{one.name}: {granted} on {objects} to {group}",
            )
            # Only with the rule for later ones: what a migration takes back stays taken.
            for schema in found.schemas:
                target = quoted(schema)
                on = f"schema {target}" if kind == "n" else f"all {objects} in schema {target}"
                yield Step(one.name, f"grant {granted} on {on} to {who}", "")


def extension_steps(
    database: str, extensions: Iterable[str], found: DatabaseState
) -> Iterator[Step]:
    for name in extensions:
        if name not in found.extensions:
            sql = f"create extension if not exists {quoted(name)} cascade"
            yield Step(database, sql, f"{database}: extension {name}")


def unavailable(wanted: list[Database], available: Iterable[str]) -> set[str]:
    return {name for one in wanted for name in one.extensions} - set(available)


def bring(server: Cluster, wanted: list[Database], only_look: bool) -> list[str]:
    """Make the databases as wanted; what was missing, in words."""
    found = state.of_server(server)
    if not only_look and (wrong := [*lacking(server, wanted, found)]):
        raise PergolaError("; ".join(wrong))
    steps = [*quiet_steps(found), *server_steps(wanted, found)]
    roles = {*found.roles, *(f"{one.name}_write" for one in wanted if one.writers)}
    administration = state.of_database(server, ADMINISTRATION)
    steps += extension_steps(ADMINISTRATION, OF_SERVER, administration)
    for one in wanted:
        is_there = one.name in found.databases
        inside = state.of_database(server, one.name) if is_there else DatabaseState()
        steps += database_steps(one, inside, roles)
    if not only_look:
        apply(server, steps)
    return [one.says for one in steps if one.says]


def taken(
    wanted: list[Database], found: ServerState, own: Container[str], of_others: Container[str]
) -> Iterator[str]:
    """Why a database cannot be the application's.

    `own`: databases that it has had before. `of_others`: databases and roles of other applications.
    """
    for one in wanted:
        there, owner = found.databases.get(one.name), found.roles.get(one.owner)
        if one.name in (*SERVERS_OWN, "template0"):
            yield f"app_databases: {one.name} is the server's own database"
        elif one.name in of_others or one.owner in of_others:
            yield f"app_databases: {one.name} or its owner, {one.owner}, is another application's"
        elif owner and owner.powers and one.name not in own:
            yield f"app_databases: {one.owner}, the owner of {one.name}, may do more than own it"
        elif there and there.owner != one.owner and one.name not in own:
            yield f"app_databases: there is a database {one.name} already, which {there.owner} owns"


def lacking(
    server: Cluster, wanted: list[Database], found: ServerState, coming: Iterable[str] = ()
) -> Iterator[str]:
    """Why an extension cannot be had. `coming`: those whose packages this run installs."""
    if missing := unavailable(wanted, found.available) - set(coming):
        yield (
            f"app_databases names extensions that this server does not have: "
            f"{', '.join(sorted(missing))}. Correct the name, or add the package that holds it to "
            f"base_extra_packages (`apt-cache search postgresql-{server.version}-` lists them)"
        )


def apply(server: Cluster, steps: list[Step]) -> None:
    """Take the steps in their order, those of one database that follow each other all or none."""
    together: list[Step] = []

    def take() -> None:
        if together:
            options = [] if together[0].alone else ["--single-transaction"]
            script = "".join(f"{one.sql};\n" for one in together)
            server.sql(script, together[0].database, *options)
            together.clear()

    for one in steps:
        if together and (one.alone or together[0].alone or one.database != together[0].database):
            take()
        together.append(one)
    take()
