"""An inventory of a test host on this machine, for an application that is tried there.

Two files of variables: `settings.yml`, which is for servers as well, and `try.yml`, which comes
after it and says what is different on a test host.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from pergola_control.guess.repository import Repository
from pergola_control.guess.written import one
from pergola_control.refusal import RefusalError

HOST = "try"
VARIABLES = "inventory/group_vars/servers"
SETTINGS = f"{VARIABLES}/settings.yml"
TRY = f"{VARIABLES}/try.yml"
SOURCE = "source"  # whose application it is, for the next run
HOSTS = """\
---
# A test host on this machine, started by `make try`.
servers:
  children:
{groups}  vars:
    ansible_user: deploy
    __try_dir: "{{{{ inventory_dir | dirname }}}}"
    ansible_ssh_common_args: >-
      -F {{{{ __try_dir }}}}/ssh_config -o ControlPath={{{{ __try_dir }}}}/ssh
"""
GROUP = "    {}:\n      hosts:\n        {}:\n"
HEAD = """\
---
# What is different on a test host: not for an inventory of servers.
"""
# Nobody is told of a try, and no authority certifies a .localhost name.
FIXED: Mapping[str, object] = {
    "app_certificates": "internal",
    "app_certificate": {},
    "app_domain_aliases": [],
    "app_redirected_domains": [],
    "app_trusted_proxies": [],
    "app_database_url": "",  # that of the servers, which a try must not reach
    "release_notify_urls": [],
    "release_notify_mail": {},
    "caddy_email": "",
    "base_operators": [],
    "monitoring_accepted": ["second copy"],
    "backup_key_file": "{{ inventory_dir }}/../backup.key",
    "backup_key_unattended": True,
}
# Of somebody's settings only those of the application are taken: those of a server could reach
# what belongs to that server, such as its backups.
OF_APPLICATION = re.compile(r"(app|release)_\w+:")
VAULTED = re.compile(r"\bvault_\w+")
# A value that is encrypted where it stands, with its name.
ENCRYPTED = re.compile(
    r"(\w+)([\"']?: +)!vault *\|[+-]? *\n[ \t]+\$ANSIBLE_VAULT;.*(?:\n[ \t]+[0-9a-f]+ *$)+",
    re.MULTILINE,
)
ELSEWHERE = re.compile(r"^app_database_url:(?! *(\"\"|'')? *(#.*)?$)", re.MULTILINE)


def refuse_other(folder: Path, shown: str) -> None:
    """Refuse to put another application in the place of the one that is tried."""
    file = folder / SOURCE
    before = file.read_text(encoding="utf-8").strip() if file.is_file() else shown
    if before != shown:
        raise RefusalError(
            f"{before} is tried here already, and nothing was changed.",
            "",
            "make try-down removes it; then try the other one",
        )


def write(
    folder: Path, repository: Repository, settings: str, vault: Mapping[str, str], database: bool
) -> None:
    """Write the inventory."""
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / VARIABLES).mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(settings, encoding="utf-8")
    groups = "".join(GROUP.format(name, HOST) for name in ("app", *(["db"] if database else [])))
    (folder / "inventory/hosts.yml").write_text(HOSTS.format(groups=groups), encoding="utf-8")
    (folder / TRY).touch(0o600)
    (folder / TRY).write_text(overriding(folder, repository, settings, vault), encoding="utf-8")
    (folder / SOURCE).write_text(f"{repository.shown}\n", encoding="utf-8")


def overriding(
    folder: Path, repository: Repository, settings: str, vault: Mapping[str, str]
) -> str:
    """What is different on a test host, with a value for each name of the vault."""
    before = yaml.safe_load((folder / TRY).read_text(encoding="utf-8")) or {}
    name = name_in(settings)
    values: dict[str, object] = {
        "app_domain": f"{name}.localhost",
        "app_source": repository.source,
        "app_version": repository.version,
        **FIXED,
    }
    if ELSEWHERE.search(settings):
        values["app_database_tcp"] = True  # so that its URL has a host as well
    for key in sorted(set(VAULTED.findall(settings))):
        # The same as before: what is encrypted with it is in the database.
        values[key] = before.get(key) or vault.get(key) or secrets.token_urlsafe(32)
    return HEAD + "".join(one(key, value) for key, value in values.items())


def name_in(text: str) -> str:
    found = re.search(r"^app_name:\s*[\"']?([a-z][a-z0-9-]*)", text, re.MULTILINE)
    if not found:
        raise RefusalError("The settings have no app_name.", "app_name", "set it to a name")
    return found[1]


def own_settings(path: Path) -> str:
    """The application's settings of a file, or of an inventory's files that are not encrypted."""
    if not path.exists():
        raise RefusalError(
            f"There is no {path}.", "", "name a file of settings, or an inventory: SETTINGS=…"
        )
    texts = [readable(file) for file in files(path)]
    parts = [part for text in texts for part in re.split(r"^(?=[\w-]+:)", text, flags=re.MULTILINE)]
    taken = [part.rstrip() for part in parts if OF_APPLICATION.match(part)]
    if not taken:
        raise RefusalError(
            f"{path} has no setting of an application (app_…).", "", "name another file"
        )
    return "---\n" + "".join(f"{part}\n" for part in taken)


def readable(path: Path) -> str:
    """A file's text: what is encrypted inside it is a name of the vault instead."""
    text = path.read_text(encoding="utf-8")
    rest = ENCRYPTED.sub(lambda found: "\n" * found[0].count("\n"), text)
    if other := re.search(r"^[^#\n]*(?<!\S)!vault\b", rest, re.MULTILINE):
        raise RefusalError(
            f"{path}:{rest.count(chr(10), 0, other.start()) + 1} has a value that is encrypted in "
            "a form that a try cannot replace.",
            "",
            'write it as `NAME: !vault |`; or put it into vault.yml, and write "{{ vault_name }}"',
        )
    return ENCRYPTED.sub(
        lambda found: f'{found[1]}{found[2]}"{{{{ vault_{found[1].lower()} }}}}"', text
    )


def bring_environment_file(text: str, own: Path, folder: Path) -> None:
    """Put the file of variables that settings name beside the hosts of the try as well."""
    found = re.search(r"^app_environment_file:\s*[\"']?([\w./-]+)", text, re.MULTILINE)
    tops = [own, *own.resolve().parents][:4]  # an inventory, or a file in its group_vars/servers
    there = [top / found[1] for top in tops if (top / found[1]).is_file()] if found else []
    if found and there:
        copy = folder / "inventory" / found[1]
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch(0o600)
        copy.write_bytes(there[0].read_bytes())


def files(path: Path) -> Iterator[Path]:
    """A file itself; of an inventory those of its group `servers`."""
    if path.is_file() and path.name != "hosts.yml":
        yield path
        return
    top = path if path.is_dir() else path.parent
    for file in sorted((top / "group_vars/servers").glob("*.yml")):
        if not file.read_text(encoding="utf-8").startswith("$ANSIBLE_VAULT"):
            yield file
