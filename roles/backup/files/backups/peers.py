"""Backups between hosts, over pgBackRest's own TLS: who this host is, and whom it knows.

Each host makes its key and a certificate signed by itself, once; the key never leaves it. Role
backup carries the certificates to the others. There is no authority that could sign a stranger's,
and nothing but the host's own certificate is trusted for the host.
"""

import hashlib
import ipaddress
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backups.repository import Repositories
from backups.settings import FILE, KEPT, Settings
from backups.system import BackupError, checked, systemctl, write

HOME = Path("/etc/pergola/backup-tls")
KEY, CERTIFICATE = HOME / "own.key", HOME / "own.crt"
PEERS, BUNDLE = HOME / "peers", HOME / "peers.crt"
CONFIGURATION = Path("/etc/pgbackrest")
OURS = "# Managed by Ansible (role backup)"
UNIT = "pgbackrest.service"
# What the running daemon has read: the digest of its files.
READ = Path("/run/pergola-backup-peers")

DAYS = 3650
RENEW_SECONDS = 30 * 86400
RELOAD_SECONDS = 0.5


def identity(address: str) -> dict[str, Any]:
    """What peers must know of this host; its certificate is made, or made anew, when needed.

    `address` is how they reach it. `changed` says whether the certificate is new.
    """
    changed = not is_good(address)
    if changed:
        make_certificate([*names(), address])
    version = subprocess.run(
        ["pgbackrest", "version"], capture_output=True, text=True, check=True
    ).stdout
    own = Settings.read() if FILE.exists() else None
    return {
        "changed": changed,
        "name": subject(),
        "certificate": CERTIFICATE.read_text(),
        "pgbackrest": version.split()[-1],
        "stanza": own.stanza if own else "",
        "version": own.version if own else 0,
    }


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    return checked(done, f"openssl {arguments[0]}")


def is_good(address: str) -> bool:
    """There is a certificate, it names the address, and it is valid for a month to come."""
    if not (KEY.exists() and CERTIFICATE.exists() and address in names()):
        return False
    command = ["openssl", "x509", "-in", CERTIFICATE, "-noout", "-checkend", str(RENEW_SECONDS)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def names() -> list[str]:
    """The names and addresses that the certificate has so far: another environment's too."""
    if not CERTIFICATE.exists():
        return []
    text = openssl("x509", "-in", str(CERTIFICATE), "-noout", "-ext", "subjectAltName")
    entries = text.splitlines()[-1].strip().split(", ")
    return [entry.removeprefix("DNS:") for entry in entries if entry.startswith("DNS:")]


def subject() -> str:
    """The certificate's common name, by which peers let this host in."""
    text = openssl("x509", "-in", str(CERTIFICATE), "-noout", "-subject", "-nameopt", "multiline")
    return text.splitlines()[-1].partition("= ")[2]


def make_certificate(addresses: Sequence[str]) -> None:
    """Make a key and a certificate; each address is in it as a name too.

    pgBackRest compares it with names only before 2.50.
    """
    HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    host = socket.gethostname()
    found = dict.fromkeys([host, *addresses])
    alternatives = [f"DNS:{name}" for name in found]
    alternatives += [f"IP:{name}" for name in found if is_address(name)]
    key, certificate = HOME / "own.key.new", HOME / "own.crt.new"
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", str(DAYS), "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName={','.join(alternatives)}"]
    # keyCertSign: strict clients want it of what they trust, and this signs itself.
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    key.touch(mode=0o600)
    openssl(*command, "-keyout", str(key), "-out", str(certificate))
    for fresh, place in ((key, KEY), (certificate, CERTIFICATE)):
        shutil.chown(fresh, "postgres", "postgres")
        fresh.replace(place)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def listen(peers: Sequence[str]) -> bool:
    """Trust the peers' certificates, answer them; return whether anything was changed.

    BackupError for a peer that has never been in a run together with this host.
    """
    if unknown := [name for name in peers if not (PEERS / f"{name}.crt").exists()]:
        raise BackupError(
            f"the certificate of {', '.join(unknown)} is not known here yet",
            hint="run site.yml once for all hosts, without --limit",
        )
    if FILE.exists():
        forget_configurations(keep=peers)
    certificates = [path.read_text() for path in sorted(PEERS.glob("*.crt"))]
    write(BUNDLE, "".join(certificates))
    files = [CERTIFICATE, BUNDLE, *sorted(CONFIGURATION.rglob("*.conf"))]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stale = "yes" in systemctl("show", "--property=NeedDaemonReload", UNIT)
    if stale:
        systemctl("daemon-reload")
    if stale or not systemctl("is-active", UNIT).startswith("active"):
        start()
    elif READ.exists() and READ.read_text() == digest:
        return False
    else:
        # Not a restart: a backup that is being made goes on.
        systemctl("reload", UNIT)
        time.sleep(RELOAD_SECONDS)
    write(READ, digest)
    return True


def start() -> None:
    """Have the daemon run, now and from each boot on."""
    for verb in ("enable", "restart"):
        done = subprocess.run(
            ["systemctl", verb, UNIT], capture_output=True, text=True, check=False
        )
        checked(done, f"systemctl {verb} {UNIT}", f"see `journalctl -u {UNIT}` on the server")


def alone() -> bool:
    """Stop answering where nobody keeps copies any more; return whether anything was changed."""
    changed = forget_configurations(keep=[])
    if systemctl("is-enabled", UNIT).startswith("enabled"):
        systemctl("disable", "--now", UNIT)
        READ.unlink(missing_ok=True)
        changed = True
    return changed


def forget_configurations(keep: Sequence[str]) -> bool:
    """Drop the repositories of hosts that keep no copies any more; whether there were any."""
    found = (CONFIGURATION / "conf.d").glob("*.conf")
    stale = [path for path in found if path.stem not in keep and path.read_text().startswith(OURS)]
    for path in stale:
        path.unlink()
    return bool(stale)


def prepare(stanzas: Sequence[str]) -> bool:
    """Make room for the backups of other servers; return whether there was none before."""
    changed = False
    for stanza in stanzas:
        settings = Settings.kept(stanza)
        for repository in settings.local:
            make_room(repository.path)
        repositories = Repositories(settings)
        changed |= not repositories.info().get("db")
        repositories.do("stanza-create")
    return changed


def make_room(path: str) -> None:
    """Have the directory of a repository."""
    directory = Path(path)
    if not directory.exists():
        directory.mkdir(mode=0o750, parents=True)
        shutil.chown(directory, "postgres", "postgres")


def forget(stanzas: Sequence[str]) -> bool:
    """Make no more backups of other servers; those that there are stay."""
    paths = [KEPT / f"{stanza}.json" for stanza in stanzas]
    paths += [CONFIGURATION / "conf.d" / f"{stanza}.conf" for stanza in stanzas]
    there = [path for path in paths if path.exists()]
    for path in there:
        path.unlink()
    return bool(there)
