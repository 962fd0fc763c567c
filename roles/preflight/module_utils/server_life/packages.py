"""Programs and settings of the server's own choosing that do a job already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .finding import HEADER, Finding, is_ours, output, read

REMOVED = re.compile(r"^Remv (\S+)", re.MULTILINE)
APT = Path("/etc/apt/apt.conf.d")
OURS = "52pergola-updates"
STOCK = {"0": "false", "1": "true"}


def installed() -> dict[str, set[str]]:
    """Packages that are installed, each with what it provides."""
    shown = output(
        "dpkg-query", "--show", "--showformat=${db:Status-Status}\t${Package}\t${Provides}\n"
    )
    found = {}
    for line in shown.splitlines():
        status, name, provides = line.split("\t")
        if status == "installed":
            found[name] = {one.split()[0] for one in provides.split(",") if one.strip()}
    return found


def time_daemon(there: dict[str, set[str]]) -> str:
    """The package that keeps the clock already; empty: none."""
    return next((name for name, gives in sorted(there.items()) if "time-daemon" in gives), "")


def removed(wanted: list[str], there: dict[str, set[str]]) -> Iterator[Finding]:
    """Packages that apt would take away for those that are wanted."""
    missing = [name for name in dict.fromkeys(wanted) if name not in there]
    known = set(output("apt-cache", "--generate", "pkgnames").split()) if missing else set()
    coming = [name for name in missing if name in known]
    if not coming:
        return
    text = output("apt-get", "--simulate", "--no-install-recommends", "install", *coming)
    for name in REMOVED.findall(text):
        yield Finding(
            f"package-{name}",
            f"apt would remove the package {name} to install {' '.join(coming)}",
            "see `apt-get --simulate install` with these names for the reason, and choose one",
        )


def updates(wanted: dict[str, str]) -> Iterator[Finding]:
    """How this server updates itself, where that is not what Pergola would say.

    Only what a file of the server's own says counts: the last one that sets it wins.
    """
    if (APT / OURS).exists():
        return  # it was said before
    # Those that come after ours win over it.
    own = [path for path in sorted(APT.glob("*")) if path.is_file() and path.name < OURS]
    for name, value in wanted.items():
        key = re.compile(rf'^\s*{re.escape(name)}\s+"?([^";]*)"?\s*;', re.MULTILINE)
        last = next(
            ((path, found[-1]) for path in reversed(own) if (found := key.findall(read(path)))),
            None,
        )
        if last and STOCK.get(last[1], last[1]) != STOCK.get(value, value):
            yield Finding(
                "updates",
                f'{last[0]} says {name} "{last[1]}", Pergola would say "{value}"',
                "set base_automatic_updates and base_automatic_reboot_time to what it does",
            )


def journal(wanted: dict[str, str]) -> Iterator[Finding]:
    """How long this server keeps its journal, where Pergola would keep it otherwise."""
    text = output("systemd-analyze", "cat-config", "systemd/journald.conf")
    if HEADER in text:
        return  # it was said before
    for name, value in wanted.items():
        own = re.findall(rf"^{name}=(.+)$", text, re.MULTILINE)
        if own and own[-1].strip() != value:
            yield Finding(
                "journal",
                f"this server has set {name}={own[-1].strip()} for its journal, Pergola would set "
                f"{value}: what is older or more would be deleted",
                "set base_journal_max_size and base_journal_max_age to what it has",
            )


def timezone() -> str:
    """The server's time zone; empty: it has none."""
    link = Path("/etc/localtime")
    if not link.is_symlink():
        return read("/etc/timezone").strip() if link.exists() else ""
    return str(link.readlink()).partition("zoneinfo/")[2]


def locale() -> str:
    """The locale that the server's own people chose; empty: none."""
    for path in (Path("/etc/locale.conf"), Path("/etc/default/locale")):
        text = "" if is_ours(path) else read(path)
        if found := re.findall(r'^\s*LANG="?([^"\s]+)', text, re.MULTILINE):
            return str(found[-1])
    return ""
