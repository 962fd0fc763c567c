"""The systems that a test host can run, and which one is meant."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testhosts.shell import HostsError

KEYRINGS = Path("/usr/share/keyrings")


@dataclass(frozen=True)
class Suite:
    """One release of a distribution."""

    codename: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution.capitalize()} {self.version}"

    @property
    def components(self) -> str:
        """The archive's parts that every server has switched on; what needs more asks for it."""
        return "main"

    @property
    def sources_file(self) -> str:
        """The name of the file that the distribution itself writes its sources to."""
        # Debian's images and its installer write several; the roles must not depend on one.
        return "ubuntu.sources" if self.distribution == "ubuntu" else "system.sources"

    @property
    def keyring(self) -> Path:
        """The archive's public keys, at the same path here and on the hosts."""
        return KEYRINGS / f"{self.distribution}-archive-keyring.gpg"

    @property
    def keyring_package(self) -> str:
        """The package that brings the keyring."""
        return "ubuntu-keyring" if self.distribution == "ubuntu" else "debian-archive-keyring"


# The first of each distribution is its default on a machine of another release.
SUITES = (
    Suite("trixie", "debian", "13"),
    Suite("bookworm", "debian", "12"),
    Suite("forky", "debian", "14"),  # testing
    Suite("noble", "ubuntu", "24.04"),
    Suite("resolute", "ubuntu", "26.04"),
)


def read_os_release(path: Path = Path("/etc/os-release")) -> dict[str, str]:
    """Return the keys of an os-release file."""
    pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def find(name: str) -> Suite:
    """Return the suite called `name` (codename or version); raise HostsError if unknown."""
    for suite in SUITES:
        if name.lower() in (suite.codename, suite.version):
            return suite
    known = ", ".join(f"{suite.codename} ({suite.version})" for suite in SUITES)
    raise HostsError(f"unknown suite {name}: use one of {known}")


def default(os_release: Mapping[str, str]) -> Suite:
    """Return the suite of this machine's own family; raise HostsError elsewhere.

    On Ubuntu its own release: the workflow sees a release by running on it. On Debian the newest,
    whatever the machine has, as other steps bring the one before.
    """
    family = [os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()]
    # "ubuntu" first: Ubuntu's own ID_LIKE is "debian", a derivative's is "ubuntu debian".
    for distribution in ("ubuntu", "debian"):
        if distribution in family:
            known = [suite for suite in SUITES if suite.distribution == distribution]
            own = known if distribution == "ubuntu" else []
            # A derivative has a version of its own and names Ubuntu's release by this.
            names = (os_release.get("UBUNTU_CODENAME"), os_release.get("VERSION_ID"))
            return next((one for one in own if {one.codename, one.version} & {*names}), known[0])
    name = os_release.get("PRETTY_NAME", "this machine")
    raise HostsError(f"{name} is neither Debian nor Ubuntu: test hosts can't be built on it")
