"""Settings are checked before they are in force: by the server's own program, on copies."""

import re
import shutil
import tempfile
from collections.abc import Container
from pathlib import Path

from database.server import Server
from database.system import DatabaseError, as_postgres, last_lines

# A value that the server's program only knows when it has gone through all of its start but the
# memory and the sockets: the settings fit each other, and the libraries to be loaded are there.
COMPUTED = "shared_memory_size"
# Lines of its log that say what is wrong, but for those that say only that something is.
WRONG = re.compile(r"^(?:.*(?:LOG|ERROR|FATAL|WARNING|HINT|DETAIL)|postgres):\s+(.*)", re.MULTILINE)
SUMMARY = re.compile(r"configuration file .* contains errors|skipping missing configuration file")
OUR_LINE = re.compile(r"^(\w[\w.]*) = .*# (?:from )?postgresql_settings", re.MULTILINE)
LIBRARIES = re.compile(r"^shared_preload_libraries = '([^']*)'", re.MULTILINE)


def check(
    server: Server, file: Path | None = None, coming: Container[str] = (), set_in: str = ""
) -> None:
    """Refuse settings with which the server would not start; DatabaseError says which and why.

    `file` is what shall replace conf.d/pergola.conf; None: as it is. `coming` are libraries whose
    packages this run installs, `set_in` is where a person mends settings. Without a server there
    is nothing to check with.
    """
    control = server.data / "global/pg_control"
    if not (server.programs / "postgres").exists() or not control.exists():
        return
    text = (file or server.config / "conf.d/pergola.conf").read_text()
    with tempfile.TemporaryDirectory(prefix="pergola-", dir="/run") as name:
        place = Path(name)
        shutil.copytree(server.config, place / "config")
        (place / "config/conf.d/pergola.conf").write_text(text)
        # It reads no more of the data than this.
        (place / "data/global").mkdir(parents=True)
        shutil.copy(server.data / "PG_VERSION", place / "data")
        shutil.copy(control, place / "data/global")
        shutil.copy(server.data / "postgresql.auto.conf", place / "data")
        for path in [place, *place.rglob("*")]:
            shutil.chown(path, "postgres", "postgres")
            path.chmod(0o700)
        wanted = [f"-cdata_directory={place}/data"]
        if libraries := LIBRARIES.search(text):
            there = [lib for lib in libraries[1].split(",") if lib.strip() not in coming]
            wanted.append(f"-cshared_preload_libraries={','.join(there)}")
        done = as_postgres(
            str(server.programs / "postgres"),
            *("-D", f"{place}/data", f"--config-file={place}/config/postgresql.conf"),
            *("-clog_destination=stderr", "-clogging_collector=off"),
            *wanted,
            *("-C", COMPUTED),
        )
    if done.returncode:
        raise DatabaseError(
            f"PostgreSQL {server.version} would not start with these settings",
            "\n".join(wrong_lines(done.stderr, text)) or last_lines(done.stderr),
            f"Mend postgresql_settings in {set_in}." if set_in else "",
        )


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
