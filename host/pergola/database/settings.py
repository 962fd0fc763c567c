"""Settings are checked before they are in force: by the server's own program, on copies."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import ACCOUNT, Cluster
from pergola.system import attempt

# A value that the server's program only knows when it has gone through all of its start but the
# memory and the sockets: the settings fit each other, and the libraries to be loaded are there.
COMPUTED = "shared_memory_size"
# Lines of its log that say what is wrong, but for those that say only that something is.
WRONG = re.compile(r"^(?:.*(?:LOG|ERROR|FATAL|WARNING|HINT|DETAIL)|postgres):\s+(.*)", re.MULTILINE)
SUMMARY = re.compile(r"configuration file .* contains errors|skipping missing configuration file")
OUR_LINE = re.compile(r"^(\w[\w.]*) = .*# (?:from )?postgresql_settings", re.MULTILINE)
LIBRARIES = re.compile(r"^shared_preload_libraries = '([^']*)'", re.MULTILINE)


def check(server: Cluster, files: Mapping[str, str] | None = None, set_in: str = "") -> None:
    """Refuse settings with which the server would not start; PergolaError says which and why.

    `files`: what shall stand in files of conf.d, by their names; the others are as they are.
    `set_in` is where a person fixes settings. Without a server there is nothing to check with.
    """
    control = server.data / "global/pg_control"
    program = Path(server.program("postgres"))
    if not program.exists() or not control.exists():
        return
    with tempfile.TemporaryDirectory(prefix="pergola-", dir="/run") as name:
        place = Path(name)
        # The directory is PostgreSQL's: a link in it could lead to what only root may read.
        shutil.copytree(server.configuration, place / "config", ignore=links)
        for file, content in (files or {}).items():
            (place / "config/conf.d" / file).write_text(content)
        # It reads no more of the data than this.
        (place / "data/global").mkdir(parents=True)
        shutil.copy(server.data / "PG_VERSION", place / "data")
        shutil.copy(control, place / "data/global")
        shutil.copy(server.data / "postgresql.auto.conf", place / "data")
        for path in [place, *place.rglob("*")]:
            shutil.chown(path, ACCOUNT, ACCOUNT)
            path.chmod(0o700)
        text = written(place / "config/conf.d")
        wanted = [f"-cdata_directory={place}/data"]
        wanted.append(f"-cshared_preload_libraries={','.join(libraries(text))}")
        done = attempt(
            program,
            *("-D", f"{place}/data", f"--config-file={place}/config/postgresql.conf"),
            *("-clog_destination=stderr", "-clogging_collector=off"),
            *wanted,
            *("-C", COMPUTED),
            account=ACCOUNT,
        )
    if done.returncode:
        raise PergolaError(
            f"PostgreSQL {server.version} would not start with these settings",
            "\n".join(wrong_lines(done.stderr, text)) or last_lines(done.stderr),
            hint=f"correct postgresql_settings in {set_in}" if set_in else "",
        )


def links(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_symlink()]


def written(folder: Path, instead: Mapping[str, str] | None = None) -> str:
    """What our own files in conf.d say, in the order in which PostgreSQL reads them.

    `instead`: what some of them will say, by their names.
    """
    found = {path.name: path.read_text() for path in folder.glob("pergola*.conf")}
    return "".join(text for _, text in sorted({**found, **(instead or {})}.items()))


def libraries(text: str) -> list[str]:
    """The libraries that such files have loaded at the start, or will once they are added up."""
    found = ",".join(LIBRARIES.findall(text)).split(",")
    return sorted({library.strip() for library in found} - {""})


def wrong_lines(log: str, text: str) -> list[str]:
    """What is wrong in a log, with the name by which the user set it."""
    ours = set(OUR_LINE.findall(text))
    lines = []
    for found in WRONG.findall(log):
        if SUMMARY.search(found):
            continue
        name = next((n for n in re.findall(r'"([^"]+)"', found) if n in ours), "")
        words = re.sub(r' in file "\S+/conf\.d/(\S+)" line \d+', r" in conf.d/\1", found)
        lines.append(f"postgresql_settings: {name}: {words}" if name else words)
    return lines
