"""Ansible module: what a host uses already of all that would be named after an application."""

from __future__ import annotations

import contextlib
import grp
import pwd
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: name_taken
short_description: Say what a host already uses a name for that an application would have
description: It changes nothing. What Pergola made for this application does not count.
options:
  name: {description: The application's name., type: str, required: true}
"""

RETURN = r"""
taken: {description: What has the name\, in words; empty: nothing., returned: always, type: list}
"""

LIMIT = 20  # seconds of a program
MANAGED = "# Managed by Ansible (role app)"
ROLES = ("", "_read", "_write", "_migration")  # of an application's database
QUERY = (
    "select 'database ' || datname from pg_database where datname = '{name}' "
    "union all select 'role ' || rolname from pg_roles where rolname in ({roles})"
)


# What only Pergola makes, and a rebuild of the server brings back before any deploy does: the
# application's database, its owner of the same name, and the role of its readers.
RESTORED = (
    "select 1 from pg_database d join pg_roles o on o.oid = d.datdba "
    "where d.datname = '{name}' and o.rolname = '{name}' and exists "
    "(select 1 from pg_roles where rolname = '{name}_read')"
)


def is_ours(name: str, root: Path = Path("/")) -> bool:
    """Whether Pergola has made an application of this name here, or was about to."""
    with contextlib.suppress(OSError):
        if MANAGED in (root / f"etc/sysusers.d/{name}.conf").read_text():
            return True
    return (root / f"etc/pergola/applications/{name}.fact").exists()


def accounts(name: str, ours: bool) -> Iterator[str]:
    """Accounts and groups that it would have."""
    for account, home in (
        (name, f"/var/lib/{name}"),
        (f"{name}-build", f"/var/cache/{name}-build"),
    ):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(account)
            # One that was there before stays as it was: the application would run with its rights.
            if not ours or found.pw_dir != home:
                yield f"the account {account} (uid {found.pw_uid}, home {found.pw_dir})"
                continue
        if not ours:
            with contextlib.suppress(KeyError):
                yield f"the group {account} (gid {grp.getgrnam(account).gr_gid})"


def files(name: str, root: Path = Path("/")) -> Iterator[str]:
    """Files and directories that it would have, or that would hide the system's."""
    exact = [
        *(f"{where}/sysusers.d/{name}.conf" for where in ("etc", "run", "usr/lib")),
        *(f"{where}/tmpfiles.d/{name}.conf" for where in ("etc", "run", "usr/lib")),  # noqa: S108
        f"etc/caddy/{name}.caddy",
        f"etc/init.d/{name}",
        f"run/{name}",
    ]
    yield from (f"/{path}" for path in exact if (root / path).exists())
    for path in (f"srv/{name}", f"var/lib/{name}", f"var/cache/{name}-build"):
        place = root / path
        if place.is_dir() and {inside.name for inside in place.iterdir()} - {"lost+found"}:
            yield f"/{path}, which has files"
        elif place.exists() and not place.is_dir():
            yield f"/{path}"


def units(listed: Iterable[str], name: str) -> list[str]:
    """The units among systemd's lines that would be taken for the application's."""
    words = {line.split()[0] for line in listed if line.split()}
    return sorted(f"the unit {word}" for word in words if word.startswith((f"{name}@", f"{name}.")))


def said_by(*argv: str) -> list[str]:
    """What a program prints; nothing where it cannot."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, cwd="/")
        return done.stdout.splitlines() if done.returncode == 0 else []
    return []


def taken(name: str) -> list[str]:
    """What has the name, in words."""
    ours = is_ours(name)
    found = list(accounts(name, ours))
    if ours:
        return found
    patterns = (f"{name}@*", f"{name}.*")
    words = ("--plain", "--no-legend", "--no-pager", "--full")
    listed = said_by("systemctl", "list-unit-files", *words, *patterns)
    listed += said_by("systemctl", "list-units", "--all", *words, *patterns)
    roles = ", ".join(f"'{name}{ending}'" for ending in ROLES)
    query = QUERY.format(name=name, roles=roles)
    # No answer: no PostgreSQL runs here.
    ask = ("runuser", "-u", "postgres", "--", "psql", "-XAtqc")
    psql = [] if said_by(*ask, RESTORED.format(name=name)) else said_by(*ask, query)
    return [*found, *units(listed, name), *files(name), *(f"PostgreSQL's {line}" for line in psql)]


def main() -> None:
    """Ansible's entry point."""
    module = AnsibleModule({"name": {"type": "str", "required": True}}, supports_check_mode=True)
    module.exit_json(changed=False, taken=taken(module.params["name"]))


if __name__ == "__main__":
    main()
