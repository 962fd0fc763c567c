"""The byte-code of a release: compiled once for each content, and shared by all that have it.

What is beside a module is a link into a store of root's, where byte-code has the digest of its
source as its name. Nothing that a build wrote comes into it: what a build has left in the way of
byte-code is thrown away, and what the store lacks is compiled in the sandbox by the Python that the
environment was made with, which runs none of it. It holds by content (PEP 552): a file that
somebody edits is read.
"""

import contextlib
import hashlib
import importlib.util
import math
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pergola.release import pythons, tree
from pergola.release.workshop import Workshop
from pergola.system import account_of, write

CACHE = "__pycache__"
# Which Python reads a file, by its name and its first bytes.
ABI = "import sys, importlib.util as u; print(sys.implementation.cache_tag, u.MAGIC_NUMBER.hex())"
CHECKED = (3).to_bytes(4, "little")  # it holds for the content that it was made from
# Not by an environment's Python, which runs what its packages have it run at the start (.pth).
# Some packages hold files that are no Python of this version. By a process for each CPU, with its
# share of the files: compileall's own -j is for directories, what it is told it compiles in turn.
COMPILE = (
    'xargs -d "\\n" -P "$2" -n "$3" "$1" -I -X "pycache_prefix=$4" -m compileall -qq '
    "--invalidation-mode checked-hash -- >/dev/null 2>&1 || true"
)


class Bytecode:
    """The byte-code of the virtual environment of a release that is being built.

    What is new stays beside the store until `keep`, for a power loss must not leave files there
    that are not whole.
    """

    def __init__(self, shop: Workshop, home: Path) -> None:
        self.shop, self.top = shop, shop.venv / "lib"
        store = home / "bytecode"
        self.tag, self.begins = abi(shop.python)
        self.store, self.fresh = store / self.tag, store / "fresh"
        shutil.rmtree(self.fresh, ignore_errors=True)
        # Other accounts of the server may not read what is made of an application's modules.
        for folder in (store, self.store, self.fresh):
            folder.mkdir(mode=0o700, exist_ok=True)

    def give(self) -> None:
        """Have every module's byte-code beside it.

        No process of the build account may be at work, as when nothing of the release has run yet,
        or nothing of it runs any more.
        """
        known = {Path(folder) / name: found for folder, name, found in self.modules()}
        lacking = {found: path for path, found in known.items() if not self.place(found)}
        if lacking:
            self.compile(lacking)
        self.link(known)

    def clear(self) -> None:
        """Throw all byte-code of the environment away, whoever made it."""
        self.link({})

    def keep(self) -> None:
        """Take what is new into the store, once it is on the disk."""
        for path in self.fresh.iterdir():
            path.replace(self.store / path.name)

    def place(self, digest: str) -> Path | None:
        """Where some source's byte-code is; None: nowhere."""
        places = (self.store / digest, self.fresh / digest)
        return next((place for place in places if place.exists()), None)

    def modules(self) -> Iterator[tuple[str, str, str]]:
        """Every module: its directory, its name there, and the digest of its content."""
        for folder, names, inside, at in os.fwalk(self.top):
            names[:] = sorted(name for name in names if name != CACHE)
            for name in inside:
                # Of another name a list of names would make something else.
                if name.endswith(".py") and f"{folder}{name}".isprintable():
                    with contextlib.suppress(OSError), tree.opened(name, tree.FILE, at) as file:
                        if stat.S_ISREG(os.fstat(file).st_mode):
                            yield folder, name, digest_of(file)

    def compile(self, lacking: Mapping[str, Path]) -> None:
        """Compile some modules, by the digests of their content, as the build account."""
        builder = account_of(self.shop.settings.build_user)
        made = self.shop.code.parent / "bytecode"
        tree.remove(made)
        made.mkdir(mode=0o700)
        os.chown(made, builder.pw_uid, builder.pw_gid)
        processes = os.cpu_count() or 1
        share = math.ceil(len(lacking) / processes)
        self.shop.run(
            ["sh", "-uc", COMPILE, "sh", self.shop.python, str(processes), str(share), str(made)],
            "compile it",
            text="".join(f"{path}\n" for path in lacking.values()),
        )
        for digest, path in lacking.items():
            found = made.joinpath(*path.parent.parts[1:], self.compiled(path.name))
            with contextlib.suppress(OSError), tree.open_plain(found) as file:
                content = file.read(tree.LONGEST_READ)
                if content.startswith(self.begins):
                    write(self.fresh / digest, content, durable=False)
        tree.remove(made)

    def link(self, known: Mapping[Path, str]) -> None:
        """Put links in the place of all byte-code that is there."""
        for folder, names, inside, at in os.fwalk(self.top):
            if CACHE in names:
                names.remove(CACHE)
            digests = {name: known.get(Path(folder) / name, "") for name in inside}
            places = {
                name: place
                for name, digest in digests.items()
                if digest and (place := self.place(digest))
            }
            remove_at(CACHE, at)
            if places:
                with made_at(CACHE, at) as cache:
                    for name, place in places.items():
                        os.link(place, self.compiled(name), dst_dir_fd=cache)

    def compiled(self, name: str) -> str:
        """The name of a module's byte-code."""
        return f"{name.removesuffix('.py')}.{self.tag}.pyc"


def prune(home: Path) -> None:
    """Remove what no release has any more: its only name is that in the store."""
    for folder in home.glob("bytecode/*"):
        for path in folder.iterdir():
            if path.stat().st_nlink == 1:
                path.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def abi(python: str) -> tuple[str, bytes]:
    """How an interpreter, which is root's, calls its byte-code, and what that begins with."""
    if Path(python) == Path(sys.executable).resolve():
        tag, magic = sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER
    else:
        tag, found = pythons.asked(python, ABI).split()
        magic = bytes.fromhex(found)
    return str(tag), magic + CHECKED


def digest_of(file: int) -> str:
    with os.fdopen(os.dup(file), "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def remove_at(name: str, at: int) -> None:
    """Remove a tree, or whatever has its name, from an open directory."""
    try:
        shutil.rmtree(name, dir_fd=at)
    except FileNotFoundError:
        pass
    except OSError:  # a file or a link
        os.unlink(name, dir_fd=at)


@contextlib.contextmanager
def made_at(name: str, at: int) -> Iterator[int]:
    """A new directory in an open one, of the same owner: who may remove that may remove this."""
    os.mkdir(name, 0o755, dir_fd=at)
    owner = os.fstat(at)
    with tree.opened(name, tree.DIRECTORY, at) as made:
        os.fchown(made, owner.st_uid, owner.st_gid)
        yield made
