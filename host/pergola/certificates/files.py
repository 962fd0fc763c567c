"""The files of this host's certificates: which are not as they should be, and why."""

import grp
import os
import pwd
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from pergola.certificates import order as place
from pergola.certificates.look import found, openssl, why_not
from pergola.certificates.order import Order, Wanted, blocks, fingerprints
from pergola.errors import PergolaError
from pergola.system import write

FOLDER_MODE, PUBLIC_MODE, KEY_MODE = 0o755, 0o644, 0o640


@dataclass(frozen=True)
class File:
    """One of them. `content`: None stays as it is; `group`: empty is root's."""

    path: Path
    mode: int
    group: str = ""
    content: str | None = None

    def is_right(self) -> bool:
        """Whether it is there with these rights and this content."""
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(there.st_mode) or stat.S_IMODE(there.st_mode) != self.mode:
            return False
        if (there.st_uid, there.st_gid) != (os.geteuid(), group_of(self.group)):
            return False
        return self.content is None or self.path.read_text(errors="replace") == self.content

    def put_right(self) -> None:
        """Have it so. A new key is nobody else's until it has its group."""
        if self.content is not None:
            write(self.path, self.content, self.mode if not self.group else 0o600)
        os.chown(self.path, os.geteuid(), group_of(self.group), follow_symlinks=False)
        self.path.chmod(self.mode)


def group_of(name: str) -> int:
    """The number of an account's own group, or of a group without such an account; empty: root's.

    PergolaError when there is neither.
    """
    if not name:
        return os.getegid()
    try:
        return pwd.getpwnam(name).pw_gid
    except KeyError:
        pass
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise PergolaError(f"this host has no account and no group {name}") from None


def bundle(trust: str) -> Path:
    return place.HOME / f"{trust}.crt"


def bundles(order: Order) -> list[File]:
    """Those of the authorities. They are trusted before what they have signed is there."""
    texts = order.authorities.bundles()
    return [File(bundle(name), PUBLIC_MODE, content=text) for name, text in texts.items()]


def own(order: Order) -> list[File]:
    """Keys and certificates that are there, with what is signed now."""
    listed = []
    for one in order.certificates:
        if one.key.exists():
            listed.append(File(one.key, KEY_MODE, one.group))
        text = order.signed.get(one.name)
        if text is not None or one.certificate.exists():
            listed.append(File(one.certificate, PUBLIC_MODE, content=text))
    return listed


def folder_is_right() -> bool:
    home = place.HOME
    return home.is_dir() and stat.S_IMODE(home.stat().st_mode) == FOLDER_MODE


def lacking(wanted: Wanted, order: Order) -> str:
    """Why another certificate is needed; empty where the one that is there is good."""
    if not (wanted.key.exists() and wanted.certificate.exists()):
        return "there is none yet"
    there = wanted.certificate.read_text(errors="replace")
    return why_not(there, wanted, order, time.time())


def check_authorities(order: Order) -> None:
    """Refuse authorities that have nothing in common with those that this host trusts.

    With others in their place it would answer none of the hosts that it answers now.
    """
    for trust, text in order.authorities.bundles().items():
        path = bundle(trust)
        here = path.read_text() if path.exists() else ""
        if here and not fingerprints(here) & fingerprints(text):
            raise PergolaError(
                f"this host's certificates are of the authorities of {owner(here)}, and those of "
                f"this run are of {owner(text)}",
                f"{path} has none of the authorities that this run knows of",
                hint="certificates_file must name the file that has the first ones: put it back on "
                "this control node, or name that of the other inventory of these servers. If it is "
                "lost, run with -e certificates_replace=true for all hosts at once",
            )


def owner(text: str) -> str:
    """The environment that authorities were made for, and the first one's name: both from it."""
    first = next(blocks(text), "")
    options = ("x509", "-noout", "-subject", "-nameopt", "sep_multiline,lname,utf8")
    said = openssl(*options, stdin=first) if first else ""
    environment, name = (
        found(rf"^\s*{part}\s*=\s*(.*)$", said) for part in ("organizationName", "commonName")
    )
    return f"'{environment}' ({name})" if environment else "another environment"
