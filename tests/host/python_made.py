"""A build of Python as uv wants it, made of the machine's own, and served over loopback."""

import functools
import hashlib
import http.server
import json
import os
import platform
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

OWN = Path("/usr/bin/python3").resolve()
LEFT_OUT = shutil.ignore_patterns(
    *("__pycache__", "test", "tests", "config-*", "idlelib", "tkinter", "lib2to3", "ensurepip"),
    *("pydoc_data", "dist-packages", "sitecustomize.py", "turtledemo", "unittest"),
)


@dataclass(frozen=True)
class Made:
    """`key`: uv's name of it; `entry`: what uv's list of builds says of it."""

    key: str
    version: str
    entry: dict[str, object]
    folder: Path

    @property
    def minor(self) -> str:
        return self.version.rpartition(".")[0]


def made(folder: Path, address: str) -> Made:
    """Pack the machine's own interpreter with its library, as relocatable as uv's builds are."""
    version = subprocess.run(
        [OWN, "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    minor, machine = version.rpartition(".")[0], platform.machine()
    top = folder / "python"
    (top / "bin").mkdir(parents=True)
    shutil.copy2(OWN, top / f"bin/python{minor}")
    (top / "bin/python3").symlink_to(f"python{minor}")
    library = f"lib/python{minor}"
    # The distribution links some of its files to places elsewhere.
    shutil.copytree(
        f"/usr/{library}", top / library, ignore=LEFT_OUT, ignore_dangling_symlinks=True
    )
    name = f"cpython-{version}+20990101-{machine}-unknown-linux-gnu-install_only_stripped.tar.gz"
    path = folder / "20990101" / name
    path.parent.mkdir()
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(top, "python")
    shutil.rmtree(top)
    major, middle, patch = map(int, version.split("."))
    entry = {
        "name": "cpython",
        "arch": {"family": machine, "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": major,
        "minor": middle,
        "patch": patch,
        "prerelease": "",
        "url": f"{address}/20990101/{name.replace('+', '%2B')}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "variant": None,
        "build": "20990101",
    }
    return Made(f"cpython-{version}-linux-{machine}-gnu", version, entry, folder)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of requests."""

    def log_message(self, *_: object) -> None:
        """Leave it out."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a directory; its address."""
    folder.mkdir(exist_ok=True)
    handler = functools.partial(Quiet, directory=os.fspath(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def listed(build: Made) -> str:
    """It as a list of builds in uv's form."""
    return json.dumps({build.key: build.entry})
