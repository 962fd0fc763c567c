"""One machine: its files, its start, and the wait for its SSH server."""

import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from testhosts import cgroups, network
from testhosts.image import USER
from testhosts.network import Network
from testhosts.shell import HostsError, run

BOOT_PATIENCE = 120  # seconds; a loaded 2-core machine needs 10 at worst
# Mounted in a mount namespace of the machine's own, the overlay disappears with its last process:
# nothing is left to unmount, however the machine ends.
BOOT = """
exec </dev/null >>"$2/console.log" 2>&1
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root" || exit 1
folder=$2; shift 2
exec systemd-nspawn --directory="$folder/root" "$@"
"""


@dataclass
class Machine:
    """What a run's record keeps of a machine."""

    name: str
    aliases: list[str]
    suite: str
    address: str
    unit: str
    image: str
    folder: str
    host_key: str = ""
    boot_seconds: float = 0.0

    @property
    def port(self) -> str:
        """The cable's end on the real machine; systemd-nspawn names it."""
        return f"vb-{self.unit.removeprefix('pg-')}"

    @property
    def names(self) -> list[str]:
        """The name and the aliases."""
        return [self.name, *self.aliases]


def hosts_file(machines: list[Machine]) -> str:
    """Return /etc/hosts: every name means the network address, on its own machine too."""
    loopback = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    return loopback + "".join(f"{m.address} {' '.join(m.names)}\n" for m in machines)


def network_file(machine: Machine, net: Network, nameservers: list[str]) -> str:
    """Return systemd-networkd's settings of the machine's only interface."""
    return (
        "[Match]\nName=host0\n\n[Network]\n"
        f"Address={machine.address}/{net.subnet.prefixlen}\nGateway={net.gateway}\n"
        # Read once systemd-resolved is installed, which takes /etc/resolv.conf over.
        + "".join(f"DNS={server}\n" for server in nameservers)
        + "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )


def prepare(
    machine: Machine,
    machines: list[Machine],
    net: Network,
    nameservers: list[str],
    public_key: str,
    own_name: str = "",
) -> None:
    """Write the machine's upper layer, and its SSH host key into `machine`.

    It calls itself by its name here unless it has an `own_name`.
    """
    folder, image = Path(machine.folder), Path(machine.image)
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "upper").chmod(0o755)
    layer = Layer(folder / "upper", image)
    layer.write("etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    layer.write("etc/hostname", f"{own_name or machine.name}\n")
    loopback = f"127.0.1.1 {own_name}\n" if own_name else ""
    layer.write("etc/hosts", hosts_file(machines) + loopback)
    layer.write("etc/resolv.conf", "".join(f"nameserver {server}\n" for server in nameservers))
    layer.write("etc/systemd/network/10-host0.network", network_file(machine, net, nameservers))
    key = layer.path("etc/ssh/ssh_host_ed25519_key")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.name, "-f", key)
    machine.host_key = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    layer.write(f"home/{USER}/.ssh/authorized_keys", public_key, 0o600)


class Layer:
    """The upper layer over an image."""

    def __init__(self, upper: Path, image: Path) -> None:
        self.upper = upper
        self.image = image

    def path(self, name: str) -> Path:
        """Return where to write `name`; folders above get the image's owner and mode.

        overlayfs shows the upper folder's, so that a plain mkdir would change them.
        """
        for parent in reversed(Path(name).parents[:-1]):
            if not (self.upper / parent).exists():
                shown = (self.image / parent).stat()
                (self.upper / parent).mkdir()
                (self.upper / parent).chmod(shown.st_mode & 0o7777)
                os.chown(self.upper / parent, shown.st_uid, shown.st_gid)
        return self.upper / name

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file that belongs to the owner of its folder."""
        path = self.path(name)
        path.write_text(text)
        path.chmod(mode)
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def start(machine: Machine, bridge: str) -> None:
    """Switch the machine on; it boots in the background."""
    network.remove_port(machine.port)
    nspawn = [
        "--quiet",
        "--boot",
        "--settings=no",  # no .nspawn file of the real machine may add capabilities
        "--register=no",
        "--keep-unit",
        f"--machine={machine.unit.removeprefix('pg-')}",
        f"--hostname={machine.name}",
        f"--network-bridge={bridge}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
        # For systemd's filters of addresses and devices (IPAddressDeny=, DevicePolicy=). Nothing
        # more, and no option for it: CAP_SYS_TIME, say, would set the real machine's clock.
        "--capability=CAP_BPF,CAP_PERFMON",
        "--system-call-filter=bpf",
    ]
    environment = [
        "UNIFIED_CGROUP_HIERARCHY=1",
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
        "SYSTEMD_NSPAWN_LOCK=0",  # its lock files would survive a power loss
    ]
    boot = ["sh", "-c", BOOT, "testhosts", machine.image, machine.folder, *nspawn]
    cgroups.start(
        machine.unit, ["env", *environment, "unshare", "--mount", "--propagation=slave", *boot]
    )


def has_ssh(machine: Machine) -> bool:
    """Return whether an SSH server greets at the machine's address, within 1 s."""
    try:
        with socket.create_connection((machine.address, 22), 1) as connection:
            connection.settimeout(1)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_for_ssh(machines: list[Machine], since: float, ssh_config: Path | None) -> None:
    """Wait until every machine lets `deploy` log in; `since` is a time.monotonic() value.

    Without `ssh_config` a greeting is enough. Raise HostsError with the console's end.
    """
    waiting = list(machines)
    while waiting:
        for machine in list(waiting):
            # The greeting comes a moment before systemd lets anyone but root in.
            if has_ssh(machine) and (ssh_config is None or can_log_in(machine, ssh_config)):
                machine.boot_seconds = round(time.monotonic() - since, 1)
                waiting.remove(machine)
            elif not cgroups.is_alive(machine.unit):
                raise HostsError(f"{machine.name} died while booting:\n{console(machine)}")
        if waiting and time.monotonic() - since > BOOT_PATIENCE:
            ends = "".join(f"--- {m.name}\n{console(m)}\n" for m in waiting)
            raise HostsError(f"no SSH after {BOOT_PATIENCE} s; consoles:\n{ends}")
        time.sleep(0.05)


def can_log_in(machine: Machine, ssh_config: Path) -> bool:
    """Return whether the files that the caller gets are enough for a login."""
    try:
        run("ssh", "-F", ssh_config, "-o", "BatchMode=yes", machine.name, "true")
    except HostsError as error:
        if "Host key verification failed" in str(error):
            raise
        return False
    return True


def console(machine: Machine) -> str:
    """Return the last lines that the machine wrote on its console."""
    file = Path(machine.folder, "console.log")
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return "\n".join(lines[-20:])
