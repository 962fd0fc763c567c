"""Databases, their roles, extensions and privileges: what there is, and what makes it as wanted.

A database has an owner, by whose account the application signs in and its migrations run; a role
<name>_read, whose members may read all of it; and, if anybody is to, <name>_write, whose members
may change rows but no tables. Default privileges give both what the owner makes later.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from database.server import Server
from database.system import DatabaseError

ADMINISTRATION = "postgres"  # the database for what belongs to the whole server
# By the kind of object in pg_default_acl: its name in SQL, what readers get, what writers get.
PRIVILEGES = {
    "r": ("tables", {"SELECT"}, {"SELECT", "INSERT", "UPDATE", "DELETE"}),
    "S": ("sequences", {"SELECT"}, {"SELECT", "USAGE"}),
    "n": ("schemas", {"USAGE"}, {"USAGE"}),
}
SERVER_STATE = """
select json_build_object(
  'roles', (select json_object_agg(rolname, json_build_object('login', rolcanlogin,
              'powers', rolsuper or rolcreatedb or rolcreaterole)) from pg_roles),
  'databases', (select json_object_agg(d.datname, json_build_object('owner', r.rolname, 'granted',
              (select json_agg(distinct case a.grantee when 0 then 'public'
                                        else a.grantee::regrole::text end)
               from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
               where a.privilege_type = 'CONNECT' or a.grantee = 0)))
              from pg_database d join pg_roles r on r.oid = d.datdba),
  'members', (select coalesce(json_agg(json_build_array(g.rolname, m.rolname)), '[]')
              from pg_auth_members a join pg_roles g on g.oid = a.roleid
              join pg_roles m on m.oid = a.member),
  'available', (select json_agg(name) from pg_available_extensions))
"""
DATABASE_STATE = """
select json_build_object(
  'extensions', (select json_agg(extname) from pg_extension),
  'schemas', (select json_agg(nspname) from pg_namespace
              where nspname !~ '^pg_' and nspname <> 'information_schema'),
  'defaults', (select coalesce(json_agg(json_build_array(r.rolname, d.defaclobjtype, g.rolname,
                                                         a.privilege_type)), '[]')
               from pg_default_acl d join pg_roles r on r.oid = d.defaclrole,
               aclexplode(d.defaclacl) a join pg_roles g on g.oid = a.grantee
               where d.defaclnamespace = 0))
"""


@dataclass(frozen=True)
class Database:
    """One database as it is wanted."""

    name: str
    owner: str
    extensions: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)

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


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def server_steps(wanted: list[Database], found: Mapping[str, Any]) -> Iterator[Step]:
    """What is missing of roles, databases and memberships."""
    roles, databases = dict(found["roles"]), found["databases"]
    members = {tuple(pair) for pair in found["members"]}

    def step(sql: str, says: str, alone: bool = False) -> Step:
        return Step(ADMINISTRATION, sql, says, alone)

    def login(name: str) -> Iterator[Step]:
        if name not in roles:
            roles[name] = {"login": True, "powers": False}
            yield step(f"create role {quoted(name)} login", f"role {name}")

    for one in wanted:
        yield from login(one.owner)
        if not roles[one.owner]["login"] or roles[one.owner]["powers"]:
            limits = "login nosuperuser nocreatedb nocreaterole"
            yield step(f"alter role {quoted(one.owner)} {limits}", f"{one.owner}: {limits}")
        groups = one.groups(roles)
        for group in groups:
            if group not in roles:
                roles[group] = {"login": False, "powers": False}
                yield step(f"create role {quoted(group)} nologin", f"role {group}")
        there = databases.get(one.name)
        name = quoted(one.name)
        if there is None:
            made = f"create database {name} owner {quoted(one.owner)}"
            yield step(made, f"database {one.name}", alone=True)
            there = {"owner": one.owner, "granted": ["public"]}
        if there["owner"] != one.owner:
            sql = f"alter database {name} owner to {quoted(one.owner)}"
            yield step(sql, f"database {one.name}: owner {one.owner}")
        if "public" in there["granted"]:
            yield step(
                f"revoke all on database {name} from public", f"{one.name}: closed to others"
            )
        for group, wanted_members in groups.items():
            # Names come quoted from PostgreSQL where they must be.
            if not {group, quoted(group)} & set(there["granted"]):
                sql = f"grant connect on database {name} to {quoted(group)}"
                yield step(sql, f"{group} may connect to {one.name}")
            for member in wanted_members:
                yield from login(member)
                if (group, member) not in members:
                    yield step(f"grant {quoted(group)} to {quoted(member)}", f"{member} in {group}")
            for _, member in sorted(m for m in members if m[0] == group):
                if member not in wanted_members:
                    sql = f"revoke {quoted(group)} from {quoted(member)}"
                    yield step(sql, f"{member} not in {group} any more")


def database_steps(one: Database, found: Mapping[str, Any], roles: Iterable[str]) -> Iterator[Step]:
    """What is missing inside a database: extensions, and privileges on what is and will be made."""
    yield from extension_steps(one.name, one.extensions, found)
    defaults = {tuple(line) for line in found["defaults"]}
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
            for schema in found["schemas"]:
                target = quoted(schema)
                on = f"schema {target}" if kind == "n" else f"all {objects} in schema {target}"
                yield Step(one.name, f"grant {granted} on {on} to {who}", "")


def extension_steps(
    database: str, extensions: Iterable[str], found: Mapping[str, Any]
) -> Iterator[Step]:
    for name in extensions:
        if name not in found["extensions"]:
            sql = f"create extension if not exists {quoted(name)} cascade"
            yield Step(database, sql, f"{database}: extension {name}")


def unavailable(wanted: list[Database], available: Iterable[str]) -> set[str]:
    return {name for one in wanted for name in one.extensions} - set(available)


def bring(
    server: Server, wanted: list[Database], of_server: list[str], only_look: bool
) -> list[str]:
    """Make the databases as wanted; what was missing, in words. `of_server`: its own extensions."""
    found = json.loads(server.sql(SERVER_STATE))
    missing = unavailable(wanted, found["available"])
    if missing and not only_look:
        raise DatabaseError(
            f"postgresql_databases names extensions that this server does not have: "
            f"{', '.join(sorted(missing))}; nothing was changed",
            hint="Correct the name, or add the package that holds it to base_extra_packages "
            f"(`apt-cache search postgresql-{server.version}-` lists them).",
        )
    steps = list(server_steps(wanted, found))
    roles = {*found["roles"], *(f"{one.name}_write" for one in wanted if one.writers)}
    template = json.loads(server.sql(DATABASE_STATE))
    steps += extension_steps(ADMINISTRATION, of_server, template)
    empty = {"extensions": ["plpgsql"], "schemas": ["public"], "defaults": []}
    for one in wanted:
        exists = one.name in found["databases"]
        state = json.loads(server.sql(DATABASE_STATE, one.name)) if exists else empty
        steps += database_steps(one, state, roles)
    if not only_look:
        apply(server, steps)
    return [step.says for step in steps if step.says]


def apply(server: Server, steps: list[Step]) -> None:
    """Take the steps in their order, those of one database that follow each other all or none."""
    together: list[Step] = []

    def take() -> None:
        if together:
            options = [] if together[0].alone else ["--single-transaction"]
            script = "".join(f"{step.sql};\n" for step in together)
            server.sql(script, together[0].database, *options)
            together.clear()

    for step in steps:
        if together and (step.alone or together[0].alone or step.database != together[0].database):
            take()
        together.append(step)
    take()
