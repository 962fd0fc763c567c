"""The files with which a caller reaches the machines."""

import json
import os
from pathlib import Path

from testhosts.image import USER
from testhosts.machine import Machine
from testhosts.shell import run

KEY = "id_ed25519"


def own(path: Path) -> None:
    """Give a file to the user behind sudo, who is going to read it."""
    if "SUDO_UID" in os.environ:
        os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def write(path: Path, text: str) -> None:
    """Write a file that only its user may read."""
    path.touch(mode=0o600)
    path.write_text(text)
    own(path)


def make_folder(folder: Path) -> None:
    """Create the folder of the access files if it is missing."""
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700)
        own(folder)


def public_key(folder: Path) -> str:
    """Return the public key in `folder`; an existing key pair is kept, a missing one made."""
    make_folder(folder)
    key = folder / KEY
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testhosts", "-f", key)
    public = key.with_suffix(".pub")
    if not public.exists():
        public.write_text(run("ssh-keygen", "-y", "-f", key))
    own(key)
    own(public)
    return public.read_text()


def known_hosts(machines: list[Machine]) -> str:
    """Return the host keys under address, name and aliases."""
    return "".join(f"{','.join([m.address, *m.names])} {m.host_key}\n" for m in machines)


def ssh_config(machines: list[Machine], folder: Path) -> str:
    """Return an OpenSSH client configuration that knows the machines and nothing else."""
    return "\n".join(
        f"Host {' '.join(m.names)}\n"
        f"  HostName {m.address}\n"
        f"  User {USER}\n"
        f'  IdentityFile "{folder / KEY}"\n'
        "  IdentitiesOnly yes\n"
        f'  UserKnownHostsFile "{folder / "known_hosts"}"\n'
        "  StrictHostKeyChecking yes\n"
        "  LogLevel ERROR\n"
        for m in machines
    )


def instance_config(machines: list[Machine], folder: Path) -> str:
    """Return what Molecule wants to know about its instances (JSON is YAML)."""
    instances = [
        {
            "instance": m.name,
            "address": m.address,
            "user": USER,
            "port": 22,
            "identity_file": str(folder / KEY),
        }
        for m in machines
    ]
    return json.dumps(instances, indent=2) + "\n"
