"""The role by which an application's migrations sign in, and what lets its account in as it.

It acts as the application's own role (`SET role`), so all that it makes is that one's, but limits
are its own: the serving release's new connections never see them, and what is still at work after a
migration is known by its name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pergola import access, apps
from pergola.app.order import Order
from pergola.database.databases import Step, apply, step
from pergola.database.restart import wait_until_loaded
from pergola.documents import parsed
from pergola.postgres import Cluster, quoted

POWERS = "login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
# By a grant since 16; before, the member's own attribute says so.
GRANTS_SAY_HOW = 16
LOOK = """
with role as (select * from pg_roles where rolname = '{role}'),
  owner as (select * from pg_roles where rolname = '{owner}'),
  lines as (
    select setrole, coalesce(datname, '') as place, split_part(line, '=', 1) as name,
      substr(line, strpos(line, '=') + 1) as value
    from pg_db_role_setting left join pg_database on pg_database.oid = setdatabase,
      unnest(setconfig) line)
select json_build_object(
  'there', exists (select from role),
  'plain', coalesce((select rolcanlogin and rolinherit and not (rolsuper or rolcreatedb
              or rolcreaterole or rolreplication or rolbypassrls) from role), false),
  'member', coalesce((select pg_has_role(role.oid, owner.oid, 'USAGE')
              and pg_has_role(role.oid, owner.oid, '{becomes}') from role, owner), false),
  'settings', (select coalesce(json_agg(json_build_array(place, name, value)), '[]')
              from lines join role on setrole = role.oid),
  'of_owner', (select coalesce(json_agg(json_build_array(place, name, value)), '[]')
              from lines join owner on setrole = owner.oid),
  'password', coalesce((select rolpassword from pg_authid where rolname = '{role}'), ''),
  'hba_file', current_setting('hba_file'),
  'ident_file', current_setting('ident_file'),
  'loaded', extract(epoch from pg_conf_load_time()))
"""
# What the owner's sessions have set for them (a search path, say) holds for migrations as well,
# except for these.
NOT_TAKEN_OVER = {"role", "session_authorization"}
# A session ends when its client does, also in the middle of a statement.
LOOKS_EVERY = {"client_connection_check_interval": "1s"}
# PostgreSQL keeps these as names with commas between them, and wants each by itself
# (variable_is_guc_list_quote in its src/bin/pg_dump/dumputils.c).
LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
NAME = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')
# By its database ('': all) and name.
Settings = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Found:
    """What LOOK answers: `settings` of the role, and `of_owner`, as database, name and value."""

    there: bool
    plain: bool
    member: bool
    settings: list[tuple[str, ...]]
    of_owner: list[tuple[str, ...]]
    password: str
    hba_file: str
    ident_file: str
    loaded: float


def bring(order: Order, cluster: Cluster, only_look: bool = False, lines: bool = True) -> list[str]:
    """Have its migrations let in as they should be; what was missing, in words.

    `lines`: those of pg_hba.conf and pg_ident.conf are this one's to add.
    """
    if not has_role(order):
        return []
    role = access.migration_role(order.app)
    becomes = "SET" if cluster.version >= GRANTS_SAY_HOW else "MEMBER"
    script = LOOK.format(role=role, owner=order.app, becomes=becomes)
    found = parsed(cluster.sql(script), Found, f"what PostgreSQL has of {role}")
    steps = [*role_steps(order, cluster, found), *password_steps(order, found)]
    lets = [one for one in lines_of(order, found) if lines and not access.has_line(*one)]
    if not only_look:
        # A value is the application's to choose: it must end where its quotes do.
        apply(cluster, [step("set standard_conforming_strings = on", ""), *steps] if steps else [])
        let_in(cluster, lets, found)
    made = [one.says for one in steps if one.says]
    return [*made, *([f"{order.app} may sign in as {role}"] if lets else [])]


def has_role(order: Order) -> bool:
    """Whether there is a role to act as: the databases may be another one's altogether."""
    return any(order.app in (one.owner, *one.readers, *one.writers) for one in order.databases)


def role_steps(order: Order, cluster: Cluster, found: Found) -> Iterator[Step]:
    """What the role lacks; of a new one no more is said than that."""
    role = access.migration_role(order.app)

    def told(sql: str, says: str) -> Step:
        return step(sql, says if found.there else "")

    if not found.there:
        yield step(f"create role {quoted(role)}", f"role {role}")
    if not found.plain:
        yield told(f"alter role {quoted(role)} {POWERS}", f"{role}: {POWERS}")
    if not found.member:
        how = " with inherit true, set true" if cluster.version >= GRANTS_SAY_HOW else ""
        sql = f"grant {quoted(order.app)} to {quoted(role)}{how}"
        yield told(sql, f"{role} in {order.app}")
    for name, sql in changes(as_settings(found.settings), wanted(order, found)):
        # Without its value, which may be a secret.
        yield told(f"alter role {quoted(role)} {sql}", f"{role}: {name}")


def wanted(order: Order, found: Found) -> Settings:
    """The settings that the role should have."""
    limits = {name: f"{seconds}s" for name, seconds in order.migrate_limits.items()}
    own = {"role": order.app, **LOOKS_EVERY, **limits}
    of_owner = as_settings(found.of_owner).items()
    left_out = {*own, *NOT_TAKEN_OVER}
    should_be = {place: value for place, value in of_owner if place[1] not in left_out}
    return should_be | {("", name): value for name, value in own.items()}


def as_settings(rows: list[tuple[str, ...]]) -> Settings:
    return {(place, name): value for place, name, value in rows}


def changes(there: Settings, should_be: Settings) -> Iterator[tuple[str, str]]:
    """What makes a role's settings what they should be: a setting's name, and SQL."""
    for place, name in sorted({*there, *should_be}):
        before, after = (in_sql(name, some.get((place, name))) for some in (there, should_be))
        if before != after:
            where = f"in database {quoted(place)} " if place else ""
            what = f"set {quoted(name)} = {after}" if after else f"reset {quoted(name)}"
            yield name, where + what


def in_sql(name: str, value: str | None) -> str:
    """A setting's value, as pg_db_role_setting has it, in SQL; empty: there is none."""
    if value is None:
        return ""
    if name not in LISTS:
        return literal(value)
    names = [inside.replace('""', '"') or bare for inside, bare in NAME.findall(value)]
    return ", ".join(map(literal, names)) or "''"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def password_steps(order: Order, found: Found) -> Iterator[Step]:
    """The application's own password, where it has one: its account may sign in as either."""
    secret = access.password(apps.HOMES / order.app)
    if not (secret or order.tcp) or (secret and access.is_verifier_of(found.password, secret)):
        return
    role = access.migration_role(order.app)
    # Without one yet this is a look.
    sql = f"alter role {quoted(role)} password {literal(access.verifier(secret))}"
    yield step(sql, f"a password of {role}")


def lines_of(order: Order, found: Found) -> list[tuple[str, str, str]]:
    """The lines that let the application's account in: each one's file, itself, and why."""
    role = access.migration_role(order.app)
    names = ",".join(quoted(one.name) for one in order.databases)
    why = f"how migrations of {order.app} sign in"
    return [
        (found.hba_file, f"local {names} {quoted(role)} peer map={role}", why),
        (found.ident_file, f"{role} {quoted(order.app)} {quoted(role)}", why),
    ]


def let_in(cluster: Cluster, lets: list[tuple[str, str, str]], found: Found) -> None:
    """Add the lines that are missing, and wait until PostgreSQL goes by them."""
    if lets:
        with access.files_locked():
            for one in lets:
                access.put_first(*one)
        cluster.sql("select pg_reload_conf()")
        wait_until_loaded(cluster, found.loaded)
