"""What the sandbox keeps from it, with the setting that opens just that."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pergola.release.remedies.seen import Seen

DENIED = re.compile(r"\[Errno (1|2|13|30)\] [\w -]+: '([^'\n]+)'")
BIND = r"bind on address \('[^']*', (\d+)[^\n]*"
PORT_REFUSED = re.compile(rf"\[Errno 1\][^\n]*{BIND}", re.IGNORECASE)
NO_DIRECTORY = re.compile(r"[Dd]irectory '([^'\n{}]+)' does not exist")
WRITABLE = ("/tmp/", "/var/tmp/", "/dev/shm/")  # noqa: S108 - compared only
FAMILIES = "AF_UNIX AF_INET AF_INET6"


def files(seen: Seen) -> Iterator[str]:
    """Files that the sandbox keeps from it."""
    for number, path in DENIED.findall(seen.lines):
        inside = not path.startswith("/") or path.startswith((f"{seen.home}/", f"{seen.code}/"))
        if number == "30" and inside:
            yield written(seen, path)
        elif number == "30":
            folder = Path(path).parent if Path(path).suffix else path
            yield (
                f"Setting: app_writable_paths: it may not write to {path}; "
                f"app_writable_paths: [{folder}] lets it, and a deploy makes the directory"
            )
        elif number == "13" and path.startswith((*WRITABLE, seen.state, f"{seen.home}/shared/")):
            yield (
                f"Setting: app_sandbox_overrides: what it can write it cannot execute: {path}; "
                'app_sandbox_overrides: {NoExecPaths: ""}'
            )
        elif number in ("2", "13") and path.startswith(("/home/", "/root")):
            yield (
                f"Setting: app_sandbox_overrides: it sees no home directories: {path}; "
                'app_sandbox_overrides: {ProtectHome: "read-only"}'
            )
        elif number == "2" and not inside and not Path(path).parent.exists():
            folder = Path(path).parent
            yield (
                f"Setting: app_writable_paths: the server has no {folder}; if the application "
                f"writes there: app_writable_paths: [{folder}] lets it, and a deploy makes it"
            )
        elif number == "2" and not inside and Path(path).exists():
            yield f"the server has {path}, but the sandbox hides it (app_sandbox_overrides)"
    if re.search(r"unable to open database file|attempt to write a readonly database", seen.lines):
        yield (
            "Setting: app_shared_directories: its SQLite file is where it may not write: name the "
            "directory that it is in, such as app_shared_directories: [data], or keep it in "
            f"{seen.state}"
        )
    for path in NO_DIRECTORY.findall(seen.lines):
        if folder := shareable(seen, path, is_folder=True):
            yield (
                f"Setting: app_shared_directories: the release has no directory {folder}; if the "
                f"application fills it itself: app_shared_directories: [{folder}]"
            )


def written(seen: Seen, path: str) -> str:
    """What to do about a file that it writes in its release."""
    elsewhere = f"$STATE_DIRECTORY ({seen.state}), which stays, or to $TMPDIR"
    if folder := shareable(seen, path):
        return (
            f"Setting: app_shared_directories: it writes to {path}, but a release is read-only; "
            f"app_shared_directories: [{folder}] lets it, and {folder} stays from release to "
            "release"
        )
    return f"it writes to {path}, but a release is read-only: let it write to {elsewhere}"


def shareable(seen: Seen, path: str, *, is_folder: bool = False) -> str:
    """The directory of a file, from the application's own; empty: none that can be shared.

    A name with an ending is taken for a file's, any other for a directory's.
    """
    full = seen.code / path  # as it is, where it begins with /
    if not full.is_relative_to(seen.code):
        return ""
    inside = Path(os.path.normpath(full.relative_to(seen.code)))
    folder = inside if is_folder or not inside.suffix else inside.parent
    if folder.parts[:1] in ((), ("..",)) or any((seen.code / folder).rglob("*.py")):
        return ""
    return str(folder)


def others(seen: Seen) -> Iterator[str]:
    """System calls, ports and kinds of sockets that the sandbox keeps from it."""
    for port in PORT_REFUSED.findall(seen.lines):
        yield (
            f"Setting: app_listen_ports: it may not open port {port}; app_listen_ports: [{port}] "
            "lets it"
        )
    if "[Errno 97]" in seen.lines or "Address family not supported" in seen.lines:
        yield (
            "Setting: app_sandbox_overrides: it opens a socket of a kind that the sandbox does not "
            f'have; app_sandbox_overrides: {{RestrictAddressFamilies: "{FAMILIES} AF_NETLINK"}}'
        )
    if re.search(r"write\+execute memory|cannot allocate executable memory", seen.lines, re.I):
        yield (
            "Setting: app_sandbox_overrides: it makes machine code while it runs; "
            'app_sandbox_overrides: {MemoryDenyWriteExecute: "no"}'
        )
    if "failed to map segment from shared object" in seen.lines:
        yield (
            "Setting: app_sandbox_overrides: it loads a library from where it can write; "
            'app_sandbox_overrides: {NoExecPaths: ""}'
        )
    if "ExecMainStatus=31" in seen.result and "ExecMainCode=1" not in seen.result:
        yield (
            "Setting: app_sandbox_overrides: a system call ended it (SIGSYS); `journalctl -k "
            "--grep SECCOMP` has its number, SystemCallFilter is the directive"
        )
    elif "operation not permitted" in seen.lines.lower() and not PORT_REFUSED.search(seen.lines):
        yield (
            "Operation not permitted: is it the sandbox? app_listen_ports has the ports that it "
            "may open, app_sandbox_overrides changes the rest"
        )
