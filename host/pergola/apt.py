"""The distribution's packages: which are installed, which there are, what each is called here."""

from collections.abc import Iterable
from pathlib import Path

from pergola.system import attempt

LISTS = Path("/var/lib/apt/lists")


def missing(names: Iterable[str]) -> list[str]:
    """The packages that are not installed."""
    form = "--showformat=${db:Status-Status}"
    return [
        name
        for name in names
        if attempt("dpkg-query", "--show", form, name).stdout.strip() != "installed"
    ]


def unknown(names: Iterable[str]) -> list[str]:
    """The packages that apt cannot install, as no archive that it reads has them."""
    return [
        name for name in names if "Candidate: (none)" in (said := policy(name)) or not said.strip()
    ]


def policy(name: str) -> str:
    return attempt("apt-cache", "policy", name).stdout


def is_read() -> bool:
    """Whether apt knows what there is: a new server's has not looked yet, or not at universe."""
    if not any(LISTS.glob("*_Packages*")):
        return False
    return any(LISTS.glob("*_universe_*")) or not any(map(is_of_ubuntu, LISTS.glob("*Release")))


def is_of_ubuntu(release: Path) -> bool:
    """Whether an archive that apt reads is Ubuntu's, most of which is in universe."""
    with release.open(encoding="utf-8", errors="replace") as file:
        return "\nOrigin: Ubuntu\n" in file.read(4096)


def alternatives(name: str) -> list[str]:
    """The packages of `a | b`."""
    return [one.strip() for one in name.split("|")]


def of_system(name: str) -> str | None:
    """The package that apt installs by a name, by the first of several that it knows; else None.

    Where libraries were renamed (libmagic1t64), the old names are provided by the new packages.
    """
    for one in alternatives(name):
        if not unknown([one]):
            return one
        said = attempt("apt-cache", "showpkg", one).stdout
        lines = said.partition("Reverse Provides:")[2].splitlines()
        providers = {line.split()[0] for line in lines if line.strip()}
        if len(providers) == 1:
            return providers.pop()
    return None


def brought_by(names: Iterable[str]) -> set[str]:
    """What an installation of packages would bring, those that they need among it."""
    said = attempt("apt-get", "--simulate", "--no-install-recommends", "install", *names).stdout
    return {line.split()[1] for line in said.splitlines() if line.startswith("Inst ")}


def names() -> list[str]:
    """Every package that apt knows."""
    return attempt("apt-cache", "pkgnames").stdout.split()
