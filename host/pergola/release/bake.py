"""Bake time: look at what the new release does with real requests before the old one is stopped."""

import json
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from pergola.errors import PergolaError
from pergola.release.tree import open_plain
from pergola.system import show

LOOK_EVERY = 0.25  # seconds
# Fewer failed answers than this say nothing, whatever their share.
FEWEST_ERRORS = 3
SHOWN = 3
# Caddy gives the slot's name to what a slot has answered, in the place of one that the application
# may have set (role caddy). Caddy's own errors have none: those a visitor can cause at will.
MARK = "X-Served-By"


@dataclass
class Bake:
    """One watch over a slot, whose answers bear its `mark`.

    `limit_percent` is the share of its answers that may be 5xx.

    `workers`: how many processes Uvicorn keeps below the unit's main one; 0: none that a death
    would tell of. `since`: where the access log ended at the switch, by `end_of`.
    """

    log: Path
    unit: str
    mark: str
    seconds: float
    limit_percent: float
    workers: int = 0
    since: tuple[int, int] | None = None
    shown: list[str] = field(default_factory=list)
    children: set[str] = field(default_factory=set)
    died: int = 0

    def watch(self) -> dict[str, int]:
        """Return the numbers seen; PergolaError as soon as the release is not to be trusted."""
        file_number, offset = self.since or end_of(self.log)
        total, errors, rest = 0, 0, b""
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            time.sleep(LOOK_EVERY)
            self.look_at_processes()
            if not self.log.exists():
                continue
            if self.log.stat().st_ino != file_number:  # Caddy began a new file
                file_number, offset, rest = self.log.stat().st_ino, 0, b""
            with open_plain(self.log) as log:
                log.seek(offset)
                *lines, rest = (rest + log.read()).split(b"\n")
                offset = log.tell()
            for line in lines:
                status, what = answer(line, self.mark)
                total += status > 0
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    errors += 1
                    self.shown = [*self.shown, what][-SHOWN:]
            if errors >= FEWEST_ERRORS and errors * 100 > total * self.limit_percent:
                why = f"{errors} of {total} answers were errors of the server (5xx)"
                raise self.refusal(f"{why}, more than the {self.limit_percent} % allowed")
        return {"answers": total, "errors": errors}

    def look_at_processes(self) -> None:
        """Refuse a release that died: its requests ended as errors of Caddy's, which do not count.

        Uvicorn starts dead workers again without systemd's knowing, so they are counted here; as
        many deaths as there are workers are too many, as in the gate.
        """
        main = self.main_process()
        if not self.workers:
            return
        now = children(main)
        self.died += len(self.children - now)
        self.children = now
        if self.died >= self.workers:
            # They end with the main process, of whose death systemd may not have known before.
            time.sleep(LOOK_EVERY)
            self.main_process()
            raise self.refusal(f"{self.died} workers of {self.unit} died and were started again")

    def main_process(self) -> str:
        """Its number; PergolaError when systemd has seen the one before die."""
        main = show(self.unit, "MainPID")
        # Between its death and its next start a unit has no main process, and no restart counted.
        if main == "0" or show(self.unit, "NRestarts") != "0":
            raise self.refusal(f"{self.unit} died and was started again")
        return main

    def refusal(self, why: str) -> PergolaError:
        return PergolaError(
            why,
            "\n".join(["the last of them:", *self.shown]) if self.shown else "",
            hint="the release before serves again; fix it, commit and deploy again",
        )


def end_of(log: Path) -> tuple[int, int]:
    """The number of a log's file, and its bytes; (0, 0) where there is none."""
    if not log.exists():
        return 0, 0
    found = log.stat()
    return found.st_ino, found.st_size


def is_marked(site: str, directory: Path = Path("/etc/caddy")) -> bool:
    """Whether Caddy's file of a site has answers marked; that of an earlier Pergola has not."""
    path = directory / f"{site}.caddy"
    return path.exists() and MARK in path.read_text()


def answer(line: bytes, mark: str) -> tuple[int, str]:
    """The status of a slot's answer in Caddy's access log, and what was asked.

    0: the line is no such one, or somebody else's answer: Caddy's own, or the other slot's.
    """
    try:
        entry = json.loads(line)
        if entry["resp_headers"].get(MARK) != [mark]:
            return 0, ""
        request = entry["request"]
        return int(entry["status"]), f"{entry['status']} {request['method']} {request['uri']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0, ""


def children(pid: str) -> set[str]:
    """The processes that a process has started and that live."""
    try:
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except OSError:
        return set()
