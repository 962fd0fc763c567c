"""A clone of Pergola with a filled-in inventory, and a shell in it; no server is reached."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from runs import PROGRAMS, ROOT, clean_environment

Texts = Mapping[str, str]
NONE: Texts = {}
PARTS = (
    *("ansible.cfg", "callback_plugins", "control", "group_vars", "host", "inventory"),
    *("library", "playbooks", "plugins", "roles", "site.yml", "vars_plugins", "requirements.yml"),
    *("CHANGELOG.md", "VERSION", "docs"),
)
SETTINGS = "inventory/prod/group_vars/servers/settings.yml"
HOSTS = "inventory/prod/hosts.yml"
ADDRESS = "198.51.100.7"
FILLED_IN = {
    "app_name": "notes",
    "app_domain": "www.example.org",
    "app_source": "~/app",
    "app_asgi": "notes.main:app",
    "caddy_email": "you@example.org",
}


def answers(text: str) -> str:
    """A server's answer by which ssh ends."""
    return f"echo '{text}' >&2; exit 255"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def git(path: Path, *words: str) -> None:
    identity = ("-c", "user.name=T", "-c", "user.email=t@app.test")
    subprocess.run(("git", *identity, *words), cwd=path, check=True)


def application(path: Path, *files: str) -> None:
    """A repository of one commit."""
    path.mkdir()
    for name in files:
        (path / name).write_text("")
    for words in (("init", "-qb", "main"), ("add", "-A"), ("commit", "-qm", "First")):
        git(path, *words)


def filled_in(text: str) -> str:
    for name, value in FILLED_IN.items():
        text = re.sub(rf"^{name}: CHANGE-ME", f"{name}: {value}", text, flags=re.MULTILINE)
    return text


class Desk:
    """Where somebody sits who has cloned Pergola, filled in the settings, and types a command."""

    def __init__(self, top: Path) -> None:
        self.top, self.clone, self.home = top, top / "clone", top / "home"
        for name in PARTS:
            take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            options = {"symlinks": True} if take is shutil.copytree else {}
            self.clone.mkdir(exist_ok=True)
            take(ROOT / name, self.clone / name, **options)
        self.home.mkdir()
        application(self.home / "app", "pyproject.toml", "uv.lock")
        application(self.home / "unlocked", "pyproject.toml")
        program(top / "bin/ssh", f"echo called >>{top}/contacts\n. {top}/answer")
        program(top / "bin/sudo", "echo sudo: a password is required >&2\nexit 1")
        settings, hosts = self.clone / SETTINGS, self.clone / HOSTS
        settings.write_text(filled_in(settings.read_text()))
        hosts.write_text(hosts.read_text().replace("CHANGE-ME", ADDRESS))
        self.encrypted = self.vault()
        shutil.copytree(self.clone / "inventory", top / "inventory")

    def vault(self) -> str:
        for name in ("right", "wrong"):
            (self.home / name).write_text(f"{name}\n")
        file = self.top / "vault"
        file.write_text("vault_key: hush\n")
        encrypt = [PROGRAMS / "ansible-vault", "encrypt", "--vault-password-file"]
        subprocess.run([*encrypt, self.home / "right", file], check=True, capture_output=True)
        return file.read_text()

    def make(
        self, settings: Texts = NONE, hosts: Texts = NONE, files: Texts = NONE, ssh: str = ""
    ) -> None:
        """The inventories as they were, but for these texts, and what the server answers."""
        shutil.rmtree(self.clone / "inventory")
        shutil.copytree(self.top / "inventory", self.clone / "inventory")
        for name, changes in ((SETTINGS, settings), (HOSTS, hosts)):
            text = (self.clone / name).read_text()
            for right, wrong in changes.items():
                if right not in text:
                    raise ValueError(right)
                text = text.replace(right, wrong)
            (self.clone / name).write_text(text)
        for name, text in files.items():
            (self.clone / name).parent.mkdir(exist_ok=True)
            (self.clone / name).write_text(self.encrypted if text == "$ENCRYPTED" else text)
        (self.top / "contacts").unlink(missing_ok=True)
        (self.top / "answer").write_text(ssh)

    def type(
        self, command: str, directory: str = ".", typed: str = "", **environment: str
    ) -> tuple[int, str]:
        """The exit code, and all that the terminal shows; `typed` is what its reader answers."""
        path = f"{self.top / 'bin'}:{PROGRAMS}:{os.environ['PATH']}"
        whole = clean_environment(HOME=str(self.home), PATH=path, **environment)
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.clone / directory,
            env=whole,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout

    def files(self) -> dict[Path, str]:
        """The digest of each file of the clone and the home, without caches."""
        found = {}
        for path in sorted(path for top in (self.clone, self.home) for path in top.rglob("*")):
            caches = {"__pycache__", ".ansible", ".cache"} & set(path.relative_to(self.top).parts)
            if path.is_file() and not caches:
                found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def contacted(self) -> bool:
        """Whether anything was sent to a server."""
        return (self.top / "contacts").exists()
