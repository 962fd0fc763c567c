"""Backups between hosts, over pgBackRest's own TLS: who this host is, and whom it knows.

Each host makes its key and a certificate signed by itself, once; the key never leaves it. Role
backup carries the certificates to the others. There is no authority that could sign a stranger's,
and nothing but the host's own certificate is trusted for the host.
"""

import hashlib
import ipaddress
import re
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pergola.backup.files.readers import have_group
from pergola.backup.repository import MISMATCH, Repositories, make_room
from pergola.backup.settings import FILE, KEPT, of_others, of_server, of_this_host
from pergola.errors import PergolaError
from pergola.people import DAY
from pergola.postgres import ACCOUNT
from pergola.system import attempt, is_active, journal, reread, run, show, systemctl, write

HOME = Path("/etc/pergola/backup-tls")
KEY, CERTIFICATE = HOME / "own.key", HOME / "own.crt"
PEERS, BUNDLE = HOME / "peers", HOME / "peers.crt"
CONFIGURATION = Path("/etc/pgbackrest")
# What the daemon of a host that keeps copies finds in the place of CONFIGURATION: who is let in,
# but not the keys of the backups, which a client could read otherwise.
DAEMONS = Path("/etc/pergola/backup-daemon")
DAEMONS_OWN = ("tls-server-", "io-timeout=", "lock-path=", "log-level-")
OURS = "# Managed by Ansible (role backup)"
UNIT = "pgbackrest.service"
# What the running daemon has read: the digest of its files.
READ = Path("/run/pergola-backup-peers")

DAYS = 3650
RENEW_SECONDS = 30 * DAY
RELOAD_SECONDS = 0.5


@dataclass(frozen=True)
class Identity:
    """What peers must know of this host.

    `changed`: whether its certificate is new; `name`: by which peers let it in; `pgbackrest`,
    `version`: the versions of that and of PostgreSQL, 0 without one.
    """

    changed: bool
    name: str
    certificate: str
    pgbackrest: str
    version: int


def identity(address: str) -> Identity:
    """Of this host; its certificate is made, or made again, when needed.

    `address` is how peers reach it.
    """
    changed = not is_good(address)
    if changed:
        make_certificate([*names(), address])
    return Identity(
        changed,
        subject(),
        CERTIFICATE.read_text(),
        run("pgbackrest", "version").split()[-1],
        of_this_host().version if FILE.exists() else 0,
    )


def openssl(*arguments: object) -> str:
    return run("openssl", *arguments, what=f"openssl {arguments[0]}")


def is_good(address: str) -> bool:
    """There is a certificate, it names the address, and it is valid for a month to come."""
    if not (KEY.exists() and CERTIFICATE.exists() and address in names()):
        return False
    look = ["x509", "-in", CERTIFICATE, "-noout", "-checkend", RENEW_SECONDS]
    return attempt("openssl", *look).returncode == 0


def names() -> list[str]:
    """The names and addresses that the certificate has so far: another environment's too."""
    if not CERTIFICATE.exists():
        return []
    text = openssl("x509", "-in", CERTIFICATE, "-noout", "-ext", "subjectAltName")
    entries = text.splitlines()[-1].strip().split(", ")
    return [entry.removeprefix("DNS:") for entry in entries if entry.startswith("DNS:")]


def subject() -> str:
    """The certificate's common name, by which peers let this host in."""
    text = openssl("x509", "-in", CERTIFICATE, "-noout", "-subject", "-nameopt", "multiline")
    return text.splitlines()[-1].partition("= ")[2]


def make_certificate(addresses: Sequence[str]) -> None:
    """Make a key and a certificate; each address is in it as a name too.

    pgBackRest compares it with names only before 2.50.
    """
    host = socket.gethostname()
    found = dict.fromkeys([host, *addresses])
    alternatives = [f"DNS:{name}" for name in found]
    alternatives += [f"IP:{name}" for name in found if is_address(name)]
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", str(DAYS), "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName={','.join(alternatives)}"]
    # keyCertSign: strict clients want it of what they trust, and this signs itself.
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key"), Path(folder, "certificate")
        openssl(*command, "-keyout", key, "-out", certificate)
        write(KEY, key.read_bytes(), 0o600, ACCOUNT, ACCOUNT)
        write(CERTIFICATE, certificate.read_bytes(), 0o644, ACCOUNT, ACCOUNT)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def listen(peers: Sequence[str]) -> bool:
    """Trust the peers' certificates, answer them; return whether anything was changed.

    PergolaError for a peer that has never been in a run together with this host.
    """
    if unknown := [name for name in peers if not (PEERS / f"{name}.crt").exists()]:
        raise PergolaError(
            f"the certificate of {', '.join(unknown)} is not known here yet",
            hint="run site.yml once for all hosts, without --limit",
        )
    have_group()
    if FILE.exists():
        forget_configurations(keep=peers)
        new_room = False
    else:
        new_room = write_daemons_own()
    certificates = [path.read_text() for path in sorted(PEERS.glob("*.crt"))]
    write(BUNDLE, "".join(certificates))
    digest = digest_of_files()
    stale = reread(UNIT)
    # A running daemon sees the archive that was there when it started.
    if stale or new_room or not is_active(UNIT):
        start()
    elif READ.exists() and READ.read_text() == digest:
        return False
    else:
        # Not a restart: a backup that is being made goes on.
        systemctl("reload", UNIT)
        time.sleep(RELOAD_SECONDS)
    write(READ, digest)
    return True


def digest_of_files() -> str:
    """The digest of what the daemon reads."""
    directory = CONFIGURATION if FILE.exists() else DAEMONS
    files = [CERTIFICATE, BUNDLE, *sorted(directory.rglob("*.conf"))]
    found = [file.read_bytes() for file in files if file.exists()]
    return hashlib.sha256(b"".join(found)).hexdigest()


def note_start() -> None:
    """Note what the daemon reads, before it does: systemd starts it too, at a boot for example."""
    write(READ, digest_of_files())


def write_daemons_own() -> bool:
    """Write what the daemon reads of the configuration, and have the archive that it writes to.

    Returns whether there was none before.
    """
    archives = [f"{one.path}/archive" for settings in of_others() for one in settings.local]
    new = [archive for archive in dict.fromkeys(archives) if not Path(archive).exists()]
    for archive in new:
        make_room(str(Path(archive).parent))
        make_room(archive)
    lines = [
        line
        for path in sorted(CONFIGURATION.rglob("*.conf"))
        for line in path.read_text().splitlines()
        if line.startswith(DAEMONS_OWN)
    ]
    write(DAEMONS / "pgbackrest.conf", "\n".join(["[global]", *dict.fromkeys(lines), ""]))
    return bool(new)


def start() -> None:
    """Have the daemon run, now and from each boot on."""
    for verb in ("enable", "restart"):
        if systemctl(verb, UNIT).returncode:
            raise PergolaError(f"systemctl {verb} {UNIT} failed", journal(UNIT))


def alone() -> bool:
    """Stop answering where nobody keeps copies any more; return whether anything was changed."""
    changed = forget_configurations(keep=[])
    if show(UNIT, "UnitFileState").startswith("enabled"):
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
        settings = of_server(stanza)
        for repository in settings.local:
            make_room(repository.path)
        repositories = Repositories(settings)
        changed |= not repositories.info().get("db")
        if repositories.run("stanza-create").returncode == MISMATCH and is_behind(repositories):
            repositories.do("stanza-upgrade")
        repositories.do("stanza-create")
    return changed


def is_behind(repositories: Repositories) -> bool:
    """Whether the server has gone on with another major version: its archive has, by itself.

    The server cannot write to the backups here; see follow.
    """
    name = repositories.settings.stanza
    (repository,) = repositories.settings.local
    histories = []
    for file in (f"archive/{name}/archive.info", f"backup/{name}/backup.info"):
        done = repositories.run("repo-get", f"--repo={repository.number}", file)
        found = re.search(r"^db-system-id=(\d+)$", done.stdout, re.MULTILINE)
        histories.append(found[1] if found else None)
    return None not in histories and histories[0] != histories[1]


def forget(stanzas: Sequence[str]) -> bool:
    """Make no more backups of other servers; those that there are stay."""
    paths = [KEPT / f"{stanza}.json" for stanza in stanzas]
    paths += [CONFIGURATION / "conf.d" / f"{stanza}.conf" for stanza in stanzas]
    there = [path for path in paths if path.exists()]
    for path in there:
        path.unlink()
    return bool(there)
