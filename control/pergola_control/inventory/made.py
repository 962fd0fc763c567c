"""An inventory outside the clone: the files that one begins with."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from ansible.parsing.vault import VaultLib, VaultSecret

from pergola_control.here import ROOT
from pergola_control.refusal import RefusalError

TEMPLATE = ROOT / "inventory/prod"
SETTINGS = "group_vars/servers/settings.yml"
VAULT = "group_vars/servers/vault.yml"
# Ansible passes over names with a dot at the start, whatever its configuration says: in a directory
# of hosts any other file's lines are names of hosts.
SECRETS = ".secrets"
PASSWORD = f"{SECRETS}/vault-password"
PRIVATE = 0o600

CONFIGURATION = """\
# Made by `make inventory`: the settings of Pergola's own ansible.cfg, which lies in
# {clone}, with this inventory's password. If Pergola moves, correct its paths here.
"""
IGNORED = f"""\
# The vault's password, the key of the backups, the authorities: keep copies where neither this
# machine's nor the servers' loss reaches them.
/{SECRETS}/
"""
KEYS = f"""\
---
# Where the first run puts the key of the backups, and what signs certificates where several hosts
# need them: git ignores both, and Ansible reads no hosts there.
backup_key_file: "{{{{ inventory_dir }}}}/{SECRETS}/backup.key"
certificates_file: "{{{{ inventory_dir }}}}/{SECRETS}/authorities.pem"
"""
VAULTED = """\
---
# To be used in settings.yml, as in app_secrets: {{SECRET_KEY: "{{{{ vault_secret_key }}}}"}}
vault_secret_key: {random}
"""


def seen_from(folder: Path, path: Path) -> str:
    """A path from a directory, or the whole one where that is shorter."""
    return min(os.path.relpath(path, folder), str(path), key=len)


def configuration(folder: Path, root: Path = ROOT) -> str:
    """Pergola's own ansible.cfg with its paths as they are from a directory, and the password."""

    def from_folder(found: re.Match[str]) -> str:
        name, path = found.groups()
        return f"{name} = {seen_from(folder, root / path)}" if (root / path).exists() else found[0]

    text = (root / "ansible.cfg").read_text(encoding="utf-8")
    text = re.sub(r"^(library|\w+_path|\w+_plugins) = (.+)$", from_folder, text, flags=re.MULTILINE)
    text = text.replace("[defaults]\n", f"[defaults]\nvault_password_file = {PASSWORD}\n", 1)
    return CONFIGURATION.format(clone=seen_from(folder, root)) + text


def texts(folder: Path) -> Mapping[str, bytes]:
    """The files of an inventory by their names."""
    password = secrets.token_urlsafe(32)
    secret = VAULTED.format(random=secrets.token_urlsafe(32))
    vault = VaultLib([("default", VaultSecret(password.encode()))])
    settings = (TEMPLATE / SETTINGS).read_text(encoding="utf-8")
    settings = settings.replace("ansible-vault create …/vault.yml", f"ansible-vault edit {VAULT}")
    found = {
        "ansible.cfg": configuration(folder),
        ".gitignore": IGNORED,
        "hosts.yml": (TEMPLATE / "hosts.yml").read_text(encoding="utf-8"),
        SETTINGS: settings,
        "group_vars/servers/keys.yml": KEYS,
        PASSWORD: f"{password}\n",
    }
    return {name: text.encode() for name, text in found.items()} | {VAULT: vault.encrypt(secret)}


def make(folder: Path) -> None:
    """Make an inventory in a directory; RefusalError where something is in it."""
    another = f"name a directory that does not exist yet: make inventory DIR={folder}-2"
    if folder.exists() and not folder.is_dir():
        raise RefusalError(f"{folder} is not a directory, and nothing was changed.", "", another)
    # `git init` may come before.
    if there := sorted({path.name for path in folder.glob("*")} - {".git"}):
        what = f"{folder} has something in it, and nothing was changed: {', '.join(there)}"
        raise RefusalError(what, "", another)
    (folder / SECRETS).mkdir(parents=True, mode=0o700)
    (folder / VAULT).parent.mkdir(parents=True)
    for name, content in texts(folder.resolve()).items():
        path = folder / name
        path.touch(PRIVATE if name == PASSWORD else 0o644)
        path.write_bytes(content)
