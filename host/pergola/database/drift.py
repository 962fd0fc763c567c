"""What somebody changed by hand beside the settings is put right before it is built upon."""

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pergola.documents import parsed
from pergola.postgres import ACCOUNT, Cluster, quoted

# The part of the data's path that belongs to root alone.
BASE = Path("/var/lib")
# PostgreSQL starts with these modes of its directory only.
DATA_MODES, ABOVE_MODES = (0o700, 0o750), (0o755, 0o750, 0o700)
# ALTER SYSTEM wins over all files; where it decides what our files set as well, it is taken back.
OVERRIDES = """
select coalesce(json_agg(json_build_object('name', a.name, 'value', a.setting, 'ours', o.setting)
  order by a.name), '[]')
from (select distinct on (lower(name)) lower(name) as name, setting from pg_file_settings
  where sourcefile like '%/postgresql.auto.conf' order by lower(name), seqno desc) a
join (select distinct on (lower(name)) lower(name) as name, setting from pg_file_settings
  where sourcefile like '%/conf.d/pergola%.conf' order by lower(name), seqno desc) o using (name)
where a.setting is distinct from o.setting
"""


@dataclass(frozen=True)
class Override:
    """What ALTER SYSTEM has set of what our files set as well."""

    name: str
    value: str | None
    ours: str | None


def put_right(server: Cluster, only_look: bool) -> list[str]:
    """The modes of the data's directories; what was, or would be, put right, a line each."""
    owner = pwd.getpwnam(ACCOUNT) if server.data.exists() else None
    return [] if owner is None else list(modes(server.data, owner, only_look))


def modes(data: Path, owner: pwd.struct_passwd, only_look: bool) -> Iterator[str]:
    """Walk down to the data by descriptors: below BASE PostgreSQL's account could put a link."""
    if not data.is_relative_to(BASE):  # whoever moved it there looks after its modes
        return
    names = data.relative_to(BASE).parts
    above = os.open(BASE, os.O_PATH | os.O_DIRECTORY)
    path = BASE
    try:
        for name in names:
            path /= name
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            try:
                folder = os.open(name, flags, dir_fd=above)
            except OSError:  # a link: the same
                return
            os.close(above)
            above = folder
            allowed = DATA_MODES if path == data else ABOVE_MODES
            there = os.fstat(folder)
            mode = stat.S_IMODE(there.st_mode)
            whose = (there.st_uid, there.st_gid)
            if mode in allowed and whose == (owner.pw_uid, owner.pw_gid):
                continue
            yield (
                f"{path} had mode {mode:04o} and owner {whose[0]}:{whose[1]}; set is "
                f"{allowed[0]:04o} {owner.pw_name}"
            )
            if not only_look:
                os.fchown(folder, owner.pw_uid, owner.pw_gid)
                os.fchmod(folder, allowed[0])
    finally:
        os.close(above)


def take_back(server: Cluster, only_look: bool) -> list[str]:
    """What ALTER SYSTEM set over our settings; the caller has the server read its files again."""
    found = parsed(server.sql(OVERRIDES), list[Override], "what ALTER SYSTEM has set")
    if found and not only_look:
        # Each on its own: it cannot be run within a transaction, as several in one message are.
        server.sql("\n".join(f"alter system reset {quoted(one.name)};" for one in found))
    return [
        f"ALTER SYSTEM had set {one.name} = {one.value} over {one.ours}; to keep it, set "
        f"postgresql_settings: {{{one.name}: {one.value}}}"
        for one in found
    ]
