"""Where a build's commands run: a transient unit that sees the release being made, and no other.

A build runs what strangers wrote: build scripts of packages, the release's own commands. It gets
the build account, a sandbox like the application's, and of /srv, /var, /run, /home nothing but the
directories that it is to write. When its command ends, all that it started is killed with it.
"""

import os
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pergola.release.commands import NICE, environment_text, limited, unexpanded
from pergola.release.releases import Releases
from pergola.system import UNITS, write

# The places that hold other applications' code, data, logs and sockets; a build finds them empty.
EMPTY = ("/srv", "/var", "/run", "/mnt", "/media")
SANDBOX = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateMounts": "yes",
    "PrivateUsers": "yes",
    "PrivateIPC": "yes",
    "RemoveIPC": "yes",
    "ProtectProc": "invisible",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "LockPersonality": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictNamespaces": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "KeyringMode": "private",
    "DevicePolicy": "closed",
    "SystemCallArchitectures": "native",
    # Not as strict as the application's: compilers and Node.js write code and run it.
    "SystemCallFilter": [
        "@system-service",
        "~@privileged @debug @mount @swap @reboot @raw-io @obsolete @cpu-emulation @clock @module",
        "~@keyring userfaultfd io_uring_setup io_uring_enter io_uring_register",
    ],
    "SystemCallErrorNumber": "EPERM",
    "TemporaryFileSystem": [*(f"{path}:ro" for path in EMPTY), "/dev/shm:mode=1777"],  # noqa: S108
    "InaccessiblePaths": "-/boot -/etc/ssh -/etc/sudoers.d",
    # What serves comes first: a build that takes too much is the one that ends.
    "MemoryMax": "75%",
    "TasksMax": "1024",
    "CPUWeight": "20",
    "IOWeight": "20",
    "OOMScoreAdjust": "500",
    "LimitCORE": "0",
    "LimitNOFILE": "65536",
    "UMask": "0022",
}
LOOPBACK = ("127.0.0.0/8", "::1/128")
LINK_LOCAL = ("169.254.0.0/16", "fe80::/64")
NETWORK = re.compile(r"[0-9a-fA-F.:]+(/\d+)?")
LOOPBACK_NAMED = re.compile(r"127(?:\.\d{1,3}){3}|localhost|::1")
OUTPUT_KEPT = 64 * 1024  # bytes; a build may print as much as it likes
SECONDS_TO_DIE = 10
# systemd's own exit codes for what it could not set up before the command began.
SETUP_FAILED = range(200, 250)
KILLED = 255  # what systemd-run ends with when a signal ended the command


class Sandbox:
    """Runs commands of one build.

    `visible` are the directories of its own, `host` is what the host's own environment says to what
    fetches something.
    """

    def __init__(
        self, releases: Releases, visible: Sequence[Path], host: Mapping[str, str]
    ) -> None:
        self.app, self.settings = releases.app, releases.settings
        self.visible, self.host = visible, host
        self.environment_file = self.app.run_dir / "build.environment"

    def run(
        self,
        command: Sequence[object],
        directory: Path,
        environment: Mapping[str, str],
        *,
        more: Sequence[Path] = (),
        stdin: int | IO[bytes] = subprocess.DEVNULL,
    ) -> tuple[int, str]:
        """Run a command to its end, and the end of all that it started: (exit code, output)."""
        limit = self.settings.prepare_timeout_seconds
        # Not on the command line: that can be read by every account.
        write(self.environment_file, environment_text(environment), 0o600, durable=False)
        try:
            process = subprocess.Popen(
                [
                    *("systemd-run", "--quiet", "--pipe", "--wait", "--collect"),
                    f"--description={self.app.name}, build",
                    *(
                        f"--property={line}"
                        for line in self.properties(directory, environment, more)
                    ),
                    *("--", *unexpanded([*limited(limit), *command])),
                ],
                cwd="/",
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            output = tail(process.stdout)
            return process.wait(), output
        finally:
            self.environment_file.unlink(missing_ok=True)

    def properties(
        self, directory: Path, environment: Mapping[str, str], more: Sequence[Path]
    ) -> list[str]:
        """The unit's lines."""
        limit, account = self.settings.prepare_timeout_seconds, self.settings.build_user
        lines: dict[str, object] = {
            "Type": "exec",
            "User": account,
            "Group": account,
            "WorkingDirectory": str(directory),
            "EnvironmentFile": str(self.environment_file),
            "Nice": str(NICE),
            # With the command ends all that it started, at once.
            "KillMode": "control-group",
            "KillSignal": "SIGKILL",
            "TimeoutStopSec": str(SECONDS_TO_DIE),
            "RuntimeMaxSec": str(limit + SECONDS_TO_DIE),
            **SANDBOX,
            "BindPaths": " ".join(map(str, [*self.visible, *more])),
            "BindReadOnlyPaths": [f"-{path}" for path in needed_of_host(self.host)],
            **addresses(environment, UNITS / f"{self.app.name}@.service"),
            **self.settings.build_sandbox,
        }
        return [
            f"{name}={one}"
            for name, value in lines.items()
            for one in (value if isinstance(value, list) else [value])
        ]


def tail(output: IO[bytes] | None) -> str:
    """The end of what a command prints, as text without what a terminal obeys."""
    if output is None:
        return ""
    kept: deque[bytes] = deque()
    length = 0
    while chunk := os.read(output.fileno(), OUTPUT_KEPT):
        kept.append(chunk)
        length += len(chunk)
        while length - len(kept[0]) >= OUTPUT_KEPT:
            length -= len(kept.popleft())
    output.close()
    text = b"".join(kept)[-OUTPUT_KEPT:].decode(errors="replace").replace("\r\n", "\n")
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def needed_of_host(host: Mapping[str, str], resolver: Path = Path("/etc/resolv.conf")) -> list[str]:
    """Files below what is hidden that names and downloads need, such as authorities."""
    named = [str(resolver.resolve())]
    named += [value for value in host.values() if value.startswith("/")]
    hidden = tuple(f"{path}/" for path in (*EMPTY, "/home", "/root"))
    return sorted({path for path in named if path.startswith(hidden) and " " not in path})


def addresses(
    environment: Mapping[str, str], slots: Path, resolver: Path = Path("/etc/resolv.conf")
) -> dict[str, str]:
    """Which addresses a build reaches: none of this server's own, but a resolver's or a proxy's.

    What the application must not reach, a build must not either.
    """
    denied = [*LOOPBACK, *LINK_LOCAL]
    if slots.exists():
        for line in slots.read_text().splitlines():
            name, _, value = line.partition("=")
            words = value.split() if name == "IPAddressDeny" else []
            denied += [word for word in words if NETWORK.fullmatch(word)]
    named = resolver.read_text() if resolver.exists() else ""
    allowed = set()
    for text in (named, *environment.values()):
        for found in LOOPBACK_NAMED.findall(text):
            allowed |= {"127.0.0.1", "::1"} if found == "localhost" else {found}
    return {
        "IPAddressDeny": " ".join(dict.fromkeys(denied)),
        **({"IPAddressAllow": " ".join(sorted(allowed))} if allowed else {}),
    }
