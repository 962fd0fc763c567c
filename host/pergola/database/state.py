"""What the server and its databases have, as they answer it themselves."""

from dataclasses import dataclass, field

from pergola.documents import parsed
from pergola.postgres import Cluster

SERVER_STATE = """
select json_build_object(
  'roles', (select json_object_agg(rolname, json_build_object('login', rolcanlogin,
              'limit', rolconnlimit,
              'powers', rolsuper or rolcreatedb or rolcreaterole)) from pg_roles),
  'databases', (select json_object_agg(d.datname, json_build_object('owner', r.rolname, 'granted',
              (select coalesce(json_agg(distinct case a.grantee when 0 then 'public'
                                        else a.grantee::regrole::text end), '[]')
               from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
               where a.privilege_type = 'CONNECT' or a.grantee = 0)))
              from pg_database d join pg_roles r on r.oid = d.datdba),
  'members', (select coalesce(json_agg(json_build_array(g.rolname, m.rolname)), '[]')
              from pg_auth_members a join pg_roles g on g.oid = a.roleid
              join pg_roles m on m.oid = a.member),
  'quiet', (select coalesce(json_agg(split_part(line, '=', 1)), '[]')
            from pg_db_role_setting, unnest(setconfig) line
            where setdatabase = 0 and setrole = current_user::regrole),
  'available', (select json_agg(name) from pg_available_extensions))
"""
DATABASE_STATE = """
select json_build_object(
  'extensions', (select coalesce(json_agg(extname), '[]') from pg_extension),
  'schemas', (select coalesce(json_agg(nspname), '[]') from pg_namespace
              where nspname !~ '^pg_' and nspname <> 'information_schema'),
  'defaults', (select coalesce(json_agg(json_build_array(r.rolname, d.defaclobjtype, g.rolname,
                                                         a.privilege_type)), '[]')
               from pg_default_acl d join pg_roles r on r.oid = d.defaclrole,
               aclexplode(d.defaclacl) a join pg_roles g on g.oid = a.grantee
               where d.defaclnamespace = 0))
"""


@dataclass(frozen=True)
class Role:
    """A role that there is; `powers`: over the whole server; `limit`: its sessions at once."""

    login: bool
    powers: bool
    limit: int | None = None


@dataclass(frozen=True)
class There:
    """A database that there is, and which roles may connect to it."""

    owner: str
    granted: list[str]


@dataclass(frozen=True)
class ServerState:
    """What SERVER_STATE answers."""

    roles: dict[str, Role]
    databases: dict[str, There]
    members: list[tuple[str, ...]]  # pairs of a group and its member
    available: list[str]
    quiet: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DatabaseState:
    """What DATABASE_STATE answers; at first, that of a database which is new."""

    extensions: list[str] = field(default_factory=lambda: ["plpgsql"])
    schemas: list[str] = field(default_factory=lambda: ["public"])
    defaults: list[tuple[str, ...]] = field(default_factory=list)


def of_server(server: Cluster) -> ServerState:
    return parsed(server.sql(SERVER_STATE), ServerState, "what the server has")


def of_database(server: Cluster, name: str) -> DatabaseState:
    """What a database that is there has."""
    return parsed(server.sql(DATABASE_STATE, name), DatabaseState, f"what {name} has")
