"""Ansible module: a component of the distribution's archive, such as Ubuntu's universe, is on.

apt is asked whether it has the component, whatever its sources are written in and called. Only if
it has not, the entries of the distribution's archive get it, in the files that hold them.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: apt_component
short_description: Switch a component of the distribution's archive on
options:
  component:
    description: Its name.
    type: str
    required: true
  release:
    description: The codename of the system's release.
    type: str
    required: true
"""

RETURN = r"""
files:
  description: The files that were changed.
  returned: always
  type: list
unread:
  description: Whether apt has yet to read what the component has (apt-get update).
  returned: always
  type: bool
"""

ETC = Path("/etc/apt")
POCKETS = ("", "-updates", "-security", "-backports")
# Vendors name their suites after the release too; only a distribution has these.
OWN = ("-updates", "-security")
ONE_LINE = re.compile(
    r"(?P<before>\s*deb\s+(?:\[[^]]*\]\s+)?)(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>[^#\n]*)"
)
NONE = (
    "apt has no {component}, and no entry of {etc} is the archive of {release}, so there is "
    "nothing to add it to. Write {etc}/sources.list.d/ubuntu.sources with your archive's address:\n"
    "Types: deb\nURIs: ADDRESS\nSuites: {release} {release}-updates {release}-security\n"
    "Components: main {component}\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg"
)


@dataclass(frozen=True)
class Entry:
    """A line of a .list file, or a stanza of a .sources file."""

    path: Path
    start: int
    text: str
    uris: frozenset[str]
    suites: frozenset[str]
    components: tuple[str, ...]

    def with_component(self, component: str) -> str:
        """Its text with a further component."""
        if self.path.suffix == ".list":
            return re.sub(
                r"([^\s#])(\s*(?:#[^\n]*)?\n?)$", rf"\1 {component}\2", self.text, count=1
            )
        return re.sub(
            r"(?im)^(Components:.*(?:\n[ \t].*)*)", rf"\1 {component}", self.text, count=1
        )


def one_line(path: Path, text: str) -> list[Entry]:
    """The entries of a file in the form `deb [options] URI suite component…`."""
    found, start = [], 0
    for line in text.splitlines(keepends=True):
        if entry := ONE_LINE.match(line):
            uris = frozenset([entry["uri"].rstrip("/")])
            suites = frozenset([entry["suite"]])
            found.append(Entry(path, start, line, uris, suites, tuple(entry["rest"].split())))
        start += len(line)
    return found


def deb822(path: Path, text: str) -> list[Entry]:
    """The stanzas of a file of fields that are in use."""
    found = []
    for stanza in re.finditer(r"(?:^(?![ \t]*\n).*(?:\n|\Z))+", text, re.MULTILINE):
        plain = re.sub(r"(?m)^#.*\n?", "", stanza[0])
        fields = {
            name.lower(): value.split()
            for name, value in re.findall(r"(?m)^([A-Za-z-]+):(.*(?:\n[ \t].*)*)", plain)
        }
        off = fields.get("enabled", ["yes"])[0].lower() in ("no", "false", "0", "off")
        if off or "deb" not in fields.get("types", []):
            continue
        uris = frozenset(uri.rstrip("/") for uri in fields.get("uris", []))
        suites = frozenset(fields.get("suites", []))
        components = tuple(fields.get("components", []))
        found.append(Entry(path, stanza.start(), stanza[0], uris, suites, components))
    return found


def entries(etc: Path) -> list[Entry]:
    """All that apt reads."""
    found = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix == ".list" and path.is_file():
            found += one_line(path, path.read_text())
        elif path.suffix == ".sources":
            found += deb822(path, path.read_text())
    return found


def of_the_archive(found: list[Entry], release: str) -> list[Entry]:
    """The entries of the distribution's own archive."""
    archive = {
        uri
        for entry in found
        if entry.suites & {release + pocket for pocket in OWN}
        for uri in entry.uris
    }
    suites = {release + pocket for pocket in POCKETS}
    return [
        entry
        for entry in found
        if entry.uris & archive and entry.suites & suites and "main" in entry.components
    ]


def lacking(etc: Path, release: str, component: str) -> dict[Path, str] | None:
    """The files that must change, with their new texts; None: there is no archive to add it to."""
    own = of_the_archive(entries(etc), release)
    if not own:
        return None
    texts: dict[Path, str] = {}
    # From the end, so that places stay what they are.
    for entry in sorted(own, key=lambda one: one.start, reverse=True):
        if component not in entry.components:
            text = texts.get(entry.path) or entry.path.read_text()
            end = entry.start + len(entry.text)
            texts[entry.path] = text[: entry.start] + entry.with_component(component) + text[end:]
    return texts


def known(release: str, component: str) -> list[str]:
    """Where apt keeps what it read of the component; empty: its sources do not have it."""
    wanted = ["Created-By: Packages", f"Release: {release}", f"Component: {component}"]
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(FILENAME)", *wanted],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def unread(files: list[str]) -> bool:
    """Whether one of apt's lists has not been fetched; they may be compressed."""
    return any(not [*Path(name).parent.glob(f"{Path(name).name}*")] for name in files)


def main() -> None:
    module = AnsibleModule(
        {
            "component": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    release, component = module.params["release"], module.params["component"]
    if files := known(release, component):
        module.exit_json(changed=False, files=[], unread=unread(files))
    texts = lacking(ETC, release, component)
    if texts is None:
        module.fail_json(msg=NONE.format(component=component, release=release, etc=ETC))
    diff = [
        {"before": path.read_text(), "after": text, "before_header": str(path),
         "after_header": str(path)}
        for path, text in texts.items()
    ]  # fmt: skip
    if not module.check_mode:
        for path, text in texts.items():
            fresh = path.with_name(f".{path.name}.new")  # apt reads no such name
            fresh.write_text(text)
            fresh.chmod(path.stat().st_mode & 0o777)
            fresh.replace(path)
    files = sorted(map(str, texts))
    module.exit_json(changed=bool(texts), files=files, unread=bool(texts), diff=diff)


if __name__ == "__main__":
    main()
