"""Where this machine's own distribution comes from: its apt sources.

Test hosts are made from the archive that the machine already uses, so that no mirror is named
in the project and a company's own mirror just works.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testhosts.settings import Settings
from testhosts.shell import HostsError
from testhosts.suites import Suite

# Names under which a machine may follow its release instead of the codename.
SYMBOLIC = ("stable", "oldstable", "testing")


@dataclass(frozen=True)
class Source:
    """One URI and suite of a `deb` entry."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None


@dataclass(frozen=True)
class Archive:
    """Where a distribution's packages and security updates come from."""

    main: str
    security: str
    signed_by: str | None = None


def parse_one_line(text: str) -> list[Source]:
    """Return the entries of a `sources.list`: `deb [options] URI suite component…`."""
    sources = []
    for line in text.splitlines():
        entry = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)", line)
        if entry:
            options, uri, suite, components = entry.groups()
            signed_by = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
            sources.append(
                Source(uri, suite, tuple(components.split()), signed_by[1] if signed_by else None)
            )
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Return the entries of a `.sources` file; one for each pair of URI and suite."""
    sources = []
    uncommented = "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("#")
    )
    for stanza in re.split(r"\n[ \t]*\n", uncommented):
        # A line that starts with a blank continues the field above.
        fields = {
            name.lower(): value.strip()
            for name, value in re.findall(r"^([A-Za-z-]+):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off"):
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        sources += [
            Source(
                uri,
                suite,
                tuple(fields.get("components", "").split()),
                fields.get("signed-by") or None,
            )
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return sources


def read_machine(folder: Path = Path("/etc/apt")) -> list[Source]:
    """Return every entry of this machine, in apt's own order."""
    sources = []
    for file in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if file.suffix == ".list" and file.exists():
            sources += parse_one_line(file.read_text())
        elif file.suffix == ".sources":
            sources += parse_deb822(file.read_text())
    return sources


def resolve_uri(uri: str) -> str | None:
    """Return an http(s) URI of the archive, or None if hosts can't reach it over the network.

    `mirror+file:` names a list on this machine, as the hosted CI runners have it: take its first.
    """
    if uri.startswith("mirror+file:"):
        listing = Path("/" + uri.removeprefix("mirror+file:").lstrip("/"))
        lines = listing.read_text().split() if listing.exists() else []
        uri = next((word for word in lines if word.startswith("http")), "")
    return uri if re.match(r"https?://", uri) else None


def find_archive(sources: Iterable[Source], codename: str) -> Archive | None:
    """Return the archive of the release `codename` among `sources`, or None."""
    entries = [source for source in sources if "main" in source.components]
    releases = (codename, *SYMBOLIC)
    updates = {source.uri for source in entries if source.suite.endswith("-updates")}
    # Vendors use the codename and "main" too, but only a distribution has "-updates".
    bases = sorted(
        (source for source in entries if source.suite in releases),
        key=lambda source: source.uri not in updates,
    )
    for base in bases:
        main = resolve_uri(base.uri)
        secured = [resolve_uri(s.uri) for s in entries if s.suite == f"{base.suite}-security"]
        if main and any(secured):
            return Archive(main, next(uri for uri in secured if uri), base.signed_by)
    return None


def archive_for(
    suite: Suite, settings: Settings, os_release: dict[str, str], sources: Iterable[Source]
) -> Archive:
    """Return where to take `suite` from; raise HostsError saying what to set or install."""
    own = suite.distribution == os_release.get("ID")
    found = find_archive(sources, os_release.get("VERSION_CODENAME", "")) if own else None
    main = settings.mirror or (found and found.main)
    security = settings.mirror_security or (found and found.security)
    if suite.distribution == "ubuntu":
        security = security or main  # Ubuntu's mirrors carry the security suite as well
    if not main:
        raise HostsError(
            f"{suite}: this machine's apt sources name no http archive for it: set TESTHOSTS_MIRROR"
        )
    if not security:
        raise HostsError(
            f"{suite}: this machine's apt sources name no archive of its security updates: "
            "set TESTHOSTS_MIRROR_SECURITY"
        )
    signed_by = found.signed_by if found and not settings.mirror else None
    if signed_by is None and not suite.keyring.exists():
        raise HostsError(
            f"{suite}: {suite.keyring} is missing. "
            f"Install with: apt-get install {suite.keyring_package}"
        )
    return Archive(main, security, signed_by)


def render(suite: Suite, archive: Archive) -> str:
    """Return the deb822 text of the hosts' apt sources."""
    name, signed_by = suite.codename, archive.signed_by or str(suite.keyring)
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {suite.components}\n"
        f"Signed-By: {signed_by}\n"
        for uri, suites in (
            (archive.main, f"{name} {name}-updates"),
            (archive.security, f"{name}-security"),
        )
    )
