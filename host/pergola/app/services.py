"""Services of an application beside its database: an instance and an account of its own for each.

/run/<app>/valkey/valkey.sock             where only the application and this account get in
/srv/<app>/services/valkey                what it keeps, if it is to
/etc/systemd/system/<app>@valkey.service  its unit

No deploy restarts one unless its settings change, and none stops it under a release that has it.
"""

import contextlib
import pwd
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pergola import apps
from pergola.apps import service_unit
from pergola.errors import PergolaError
from pergola.system import UNITS, disable, enable, is_active, journal, systemctl, write

# The same program as the server's, which comes in a package that starts one for all by TCP. What it
# is called when it starts says what it does.
PROGRAMS = (Path("/usr/bin/valkey-check-rdb"), Path("/usr/bin/redis-check-rdb"))
# Beside the data: clients' buffers, and copies of pages while a child writes them down.
OWN_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Service:
    """One of them. `memory_bytes`: for its data; `eviction`: what makes room when that is full."""

    name: str
    memory_bytes: int = 256 * 2**20
    eviction: str = "noeviction"
    persistent: bool = False


UNIT = """# Made by Pergola; do not edit.
[Unit]
Description={app}, {name}
StartLimitIntervalSec=0

[Service]
Type=notify
User={account}
Group={account}
# Who gets into it reaches the socket: the application, and the service itself.
ExecStartPre=+/usr/bin/install -d -m 0750 -o {account} -g {app} /run/{app}/{name}
ExecStart=@{program} {called} --supervised systemd --daemonize no --port 0 \\
  --unixsocket {socket} --unixsocketperm 777 \\
  --maxmemory {memory} --maxmemory-policy {eviction} --save "" {keeps}
Restart=always
RestartSec=200ms
TimeoutStartSec=300
SyslogIdentifier={app}.{name}
MemoryMax={most}
TasksMax=64
{writes}
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
PrivateUsers=yes
PrivateNetwork=yes
PrivateIPC=yes
RemoveIPC=yes
ProtectProc=invisible
ProcSubset=pid
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX
KeyringMode=private
DevicePolicy=closed
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @debug @mount @swap @reboot @raw-io @obsolete @keyring
SystemCallErrorNumber=EPERM
InaccessiblePaths=-/boot -/etc/ssh -/etc/sudoers.d -/root -/var/lib/postgresql -/var/lib/caddy
LimitCORE=0
LimitNOFILE=65536
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def account_of(app: str) -> str:
    """Who runs them: a name of 31 letters at most, and an application's may have 25."""
    return f"{app}-store"


def data_of(app: str, name: str) -> Path:
    return apps.HOMES / app / "services" / name


def text_of(app: str, service: Service) -> str:
    """The file of its unit, with the program that the system has."""
    program = next((path for path in PROGRAMS if path.exists()), PROGRAMS[0])
    # It is not there before its first command, which makes it.
    folders, keeps = [f"-/run/{app}/{service.name}"], "--appendonly no --dir /"
    if service.persistent:
        data = data_of(app, service.name)
        folders.append(str(data))
        keeps = f"--appendonly yes --appendfsync everysec --dir {data}"
    return UNIT.format(
        app=app,
        name=service.name,
        socket=socket_of(app, service.name),
        account=account_of(app),
        program=program,
        called=program.name.replace("check-rdb", "server"),
        memory=service.memory_bytes,
        eviction=service.eviction,
        keeps=keeps,
        most=2 * service.memory_bytes + OWN_BYTES,
        writes=f"ReadWritePaths={' '.join(folders)}",
    )


def socket_of(app: str, name: str) -> str:
    return f"/run/{app}/{name}/{name}.sock"


def goes_on(app: str, name: str, services: Sequence[Service]) -> bool:
    """Whether it is not wanted any more, but runs and the live release was told of it."""
    if name in {one.name for one in services} or not (UNITS / service_unit(app, name)).exists():
        return False
    file = apps.App(apps.HOMES / app).slot / "environment"
    return file.exists() and socket_of(app, name) in file.read_text()


def differ(app: str, services: Iterable[Service]) -> Iterator[tuple[str, str]]:
    """The units that are not as wanted: each with its text; empty: it is not wanted any more."""
    services = list(services)
    wanted = {service_unit(app, one.name): text_of(app, one) for one in services}
    for name in apps.SERVICES:
        unit = service_unit(app, name)
        path = UNITS / unit
        there = path.read_text() if path.exists() else ""
        if there != wanted.get(unit, "") and not goes_on(app, name, services):
            yield unit, wanted.get(unit, "")


def makes(app: str, services: Iterable[Service]) -> list[str]:
    """What `apply` would make, in words."""
    return [said(unit, text) for unit, text in differ(app, services)]


def said(unit: str, text: str) -> str:
    if not text:
        return f"{unit} stops (it is not in app_services)"
    if not (UNITS / unit).exists():
        return f"{unit} starts"
    return f"{unit} restarts with other settings: what it has in memory only is lost"


def apply(app: str, services: Iterable[Service]) -> list[str]:
    """Have those run that are wanted, and no other; what changed, in words."""
    services = list(services)
    changed = list(differ(app, services))
    made = [said(unit, text) for unit, text in changed]
    for unit, text in changed:
        if text:
            write(UNITS / unit, text)
            continue
        disable(unit)
        systemctl("stop", unit)
        (UNITS / unit).unlink()
    if changed:
        systemctl("daemon-reload")
    for service in services:
        unit = service_unit(app, service.name)
        if unit in dict(changed) or not is_active(unit):
            enable(unit)
            restart(unit)
    return made


def restart(unit: str) -> None:
    systemctl("reset-failed", unit)
    if systemctl("restart", unit).returncode:
        raise PergolaError(
            f"{unit} does not start (app_services)",
            journal(unit),
            hint="correct what it names, and run this again",
        )


def wrong(app: str, services: Iterable[Service]) -> Iterator[str]:
    """Why they cannot be: somebody else has the account."""
    account, home = account_of(app), str(apps.HOMES / app / "services")
    if not list(services):
        return
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(account)
        if found.pw_dir != home:
            yield (
                f"app_services: they would run as the account {account}, which is there already "
                f"(uid {found.pw_uid}, home {found.pw_dir}). Choose another app_name"
            )


def left(app: str, services: Sequence[Service]) -> list[str]:
    """Directories with data that none of them keeps any more."""
    kept = {one.name for one in services if one.persistent}
    kept |= {name for name in apps.SERVICES if goes_on(app, name, services)}
    found = [data_of(app, name) for name in apps.SERVICES if name not in kept]
    return [str(path) for path in found if path.is_dir() and any(path.iterdir())]
