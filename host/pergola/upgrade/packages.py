"""Packages, through apt: what would be updated, and from which release of the system."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from pergola.errors import PergolaError
from pergola.system import attempt, run
from pergola.upgrade.progress import say

LOCK_SECONDS, LOCK_PAUSE_SECONDS = 300, 3
# In English, as run() asks for it.
LOCKED = re.compile(r"(?m)^E: (?:Could not get lock|Unable to lock directory)")
APT = [
    "apt-get",
    "--yes",
    "--quiet",
    # Another program's lock, such as an automatic update's, is waited for.
    f"--option=DPkg::Lock::Timeout={LOCK_SECONDS}",
    # A file that was changed here stays as it is.
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
]
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    # What must restart is restarted here, in its own way.
    "NEEDRESTART_SUSPEND": "1",
}
INSTALLED = re.compile(r"^Inst (\S+)(?: \[(\S+)\])? \((\S+) ", re.MULTILINE)
SERVER = re.compile(r"postgresql-(\d+)")
CREATION = Path("/etc/postgresql-common/createcluster.d")


@dataclass(frozen=True)
class Update:
    """One package that another version is installed of."""

    name: str
    before: str  # empty: it is new
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before or '(new)'} -> {self.after}"


def apt(*arguments: str) -> str:
    return run(*APT, *arguments, environment=ENVIRONMENT)


def refresh() -> None:
    """Read what the archives have now; PergolaError if that fails or stays locked.

    apt waits for dpkg's lock only; that of its lists is the daily run's, for seconds.
    """
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            apt("update")
        except PergolaError as error:
            if not LOCKED.search(error.evidence) or time.monotonic() > until:
                raise
            say("another program reads the archives' lists; waiting for it")
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return


def pending() -> list[Update]:
    """What an update would install: all newer versions, removing nothing."""
    said = apt("--simulate", "upgrade", "--with-new-pkgs")
    return [Update(*found) for found in INSTALLED.findall(said)]


def servers(updates: list[Update]) -> list[str]:
    """The packages among some updates that stop a PostgreSQL server while they are installed."""
    return [update.name for update in updates if SERVER.fullmatch(update.name) and update.before]


def owner(path: Path) -> str:
    """The package that a file came with; empty: none did."""
    for name in (path, Path("/", *path.parts[2:])):  # dpkg may know it from before /usr was one
        found = attempt("dpkg-query", "--search", name).stdout
        if owned := re.match(r"([a-z0-9][a-z0-9+.-]+)(?::\S+)?: ", found):
            return owned[1]
    return ""


def kept_back() -> list[str]:
    """Packages with newer versions that could not be had without removing others."""
    said = apt("--simulate", "upgrade", "--with-new-pkgs")
    found = re.search(r"have been kept back:\n((?:  .*\n)+)", said)
    return found[1].split() if found else []


def foreign_releases() -> list[str]:
    """Releases of the system that apt's sources name and that are not the one that runs."""
    os_release = Path("/etc/os-release").read_text()
    own = re.search(r"(?m)^VERSION_CODENAME=\"?(\w+)", os_release)
    named = re.findall(r"release .*\bo=(?:Debian|Ubuntu),.*\bn=(\w+)", run("apt-cache", "policy"))
    return sorted(set(named) - {own[1] if own else ""})


def candidate(name: str) -> str:
    """The version of a package that could be installed; empty when there is none."""
    found = re.search(r"Candidate: (\S+)", attempt("apt-cache", "policy", name).stdout)
    return "" if found is None or found[1] == "(none)" else found[1]


def of_version(version: int) -> list[str]:
    """The installed packages of one major version of PostgreSQL."""
    said = run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n", "postgres*")
    lines = [line.split() for line in said.splitlines()]
    names = [words[1] for words in lines if words[0] == "ii"]
    return [name for name in names if re.search(rf"-{version}(-|$)", name)]


def for_version(old: int, new: int) -> list[str]:
    """Those that another major version needs, by what is installed for the old one."""
    return [re.sub(rf"-{old}(-|$)", rf"-{new}\1", name) for name in of_version(old)]


def install_server(old: int, new: int) -> None:
    """Install another major version beside the old one, without the cluster that it would make."""
    file = CREATION / "pergola-upgrade.conf"
    CREATION.mkdir(parents=True, exist_ok=True)
    file.write_text("# Made by pergola-upgrade, for a moment.\ncreate_main_cluster = false\n")
    try:
        apt("install", "--no-install-recommends", *for_version(old, new))
    finally:
        file.unlink()
