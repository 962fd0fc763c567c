"""Who listens on this server, as the kernel has it (/proc): TCP, UDP and bare protocols."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .finding import output, read

PROC = Path("/proc")
LISTEN, UNCONNECTED = "0A", "07"  # the kernel's states of TCP and UDP sockets
ICMP, ICMPV6, SEND_ONLY = 1, 58, 255
PAUSE = 0.5  # seconds after which a client's socket is likely to be gone


@dataclass(frozen=True)
class Listener:
    """A socket that waits for packets from anybody. `kind` is tcp, udp or protocol."""

    kind: str
    port: int
    address: str
    inode: str
    pid: int = 0
    program: str = ""
    unit: str = ""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.port}"

    @property
    def who(self) -> str:
        """For people: the unit and the program."""
        if self.unit and self.program and self.unit.split(".")[0] != self.program:
            return f"{self.unit} ({self.program})"
        return self.unit or self.program or "the kernel itself, or a program that is not seen"


def address(text: str) -> str:
    """An address as /proc writes it: words of four bytes, each in the machine's order."""
    raw = bytes.fromhex(text)
    words = [raw[at : at + 4][::-1] for at in range(0, len(raw), 4)]
    found = ipaddress.ip_address(b"".join(words))
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def sockets(proc: Path = PROC) -> Iterator[Listener]:
    """All sockets that take packets from anybody, without their owners."""
    tables = {"tcp": LISTEN, "tcp6": LISTEN, "udp": UNCONNECTED, "udp6": UNCONNECTED}
    tables |= {"raw": "", "raw6": ""}
    for table, state in tables.items():
        for line in read(proc / "net" / table).splitlines()[1:]:
            fields = line.split()
            where, _, port = fields[1].rpartition(":")
            number = int(port, 16)
            if state and fields[3] != state:
                continue
            if not state and number in (ICMP, ICMPV6, SEND_ONLY):
                continue
            kind = table.removesuffix("6") if state else "protocol"
            yield Listener(kind, number, address(where), fields[9])


def is_loopback(one: Listener) -> bool:
    return ipaddress.ip_address(one.address).is_loopback


def owners(proc: Path = PROC) -> dict[str, list[int]]:
    """Which processes hold a socket, by its inode; the newest last."""
    held: dict[str, list[int]] = {}
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):  # it was closed
                    if found := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())):
                        held.setdefault(found[1], []).append(int(process.name))
    return {inode: sorted(pids) for inode, pids in held.items()}


def unit_of(pid: int, proc: Path = PROC) -> str:
    """The unit of systemd that a process belongs to; empty: none."""
    for line in read(proc / str(pid) / "cgroup").splitlines():
        controllers, _, path = line.split(":", 1)[1].partition(":")
        if controllers in ("", "name=systemd"):
            names = [name for name in path.split("/") if name.endswith((".service", ".scope"))]
            if names:
                return names[-1]
    return ""


def of_systemd() -> dict[str, str]:
    """Sockets that systemd itself holds, by their address as it writes them: who is started."""
    try:
        found = json.loads(output("systemctl", "list-sockets", "--output=json") or "[]")
    except ValueError:
        return {}
    return {str(one.get("listen")): str(one.get("activates") or one.get("unit")) for one in found}


def listeners(proc: Path = PROC) -> list[Listener]:
    """All that listen on more than the loopback, with their owners."""
    bare = [*sockets(proc)]
    low, high = ephemeral(proc)
    if any(one.kind == "udp" and low <= one.port <= high for one in bare):
        time.sleep(PAUSE)  # a name being looked up has such a socket too, but not for long
        still = {(one.kind, one.port, one.inode) for one in sockets(proc)}
        bare = [one for one in bare if (one.kind, one.port, one.inode) in still]
    held = owners(proc)
    waiting = of_systemd() if any(held.get(one.inode) == [1] for one in bare) else {}
    found = []
    for one in bare:
        pids = held.get(one.inode, [])
        pid = next((pid for pid in pids if pid != 1), pids[0] if pids else 0)
        program = read(proc / str(pid) / "comm").strip() if pid else ""
        unit = unit_of(pid, proc) if pid else ""
        if pid == 1:
            ends = [who for where, who in waiting.items() if where.endswith(f":{one.port}")]
            unit = ends[0] if ends else unit
        found.append(
            Listener(one.kind, one.port, one.address, one.inode, pid, program, unit)
        )  # fmt: skip
    return found


def ephemeral(proc: Path = PROC) -> tuple[int, int]:
    """The ports that the kernel gives to clients."""
    text = read(proc / "sys/net/ipv4/ip_local_port_range").split()
    return (int(text[0]), int(text[1])) if len(text) == 2 else (32768, 60999)


def ancestors(pid: int, proc: Path = PROC) -> list[int]:
    """The processes that a process comes from, nearest first, without the first of all."""
    found = []
    while pid > 1:
        stat = read(proc / str(pid) / "stat")
        if not stat:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
        if pid > 1:
            found.append(pid)
    return found


def ssh_ports(me: int, there: list[Listener], proc: Path = PROC) -> list[int]:
    """Ports by which SSH must stay reachable: this very connection's, and its server's.

    The server of SSH is the program among our ancestors that listens; others of the same file
    are servers of SSH as well. `me` is this process.
    """
    ports, programs = set(), set()
    for pid in [me, *ancestors(me, proc)]:
        environment = read(proc / str(pid) / "environ").split("\0")
        for one in environment:
            if one.startswith("SSH_CONNECTION="):
                ports.add(int(one.split()[-1]))
        if any(one.pid == pid for one in there):
            programs.add(executable(pid, proc))
    programs.discard("")
    came_in = ports | set()
    for one in there:
        if one.kind == "tcp" and (
            executable(one.pid, proc) in programs
            or (one.pid == 1 and one.port in came_in)
        ):  # fmt: skip
            ports.add(one.port)
    return sorted(ports)


def executable(pid: int, proc: Path = PROC) -> str:
    """The program's file; empty where it cannot be told."""
    try:
        return str((proc / str(pid) / "exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""
