"""Bake time: look at what the new release does with real requests before the old one is stopped."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from releases.system import ReleaseError, show

LOOK_EVERY = 0.25
# Fewer failed answers than this say nothing, whatever their share.
FEWEST_ERRORS = 3
SHOWN = 3


@dataclass
class Bake:
    """One watch over a slot. `limit_percent` is the share of answers that may be 5xx."""

    log: Path
    unit: str
    seconds: float
    limit_percent: float
    # Whether Caddy answers 503 with the maintenance page, which says nothing about the release.
    hidden: Callable[[], bool] = lambda: False

    def watch(self) -> dict[str, int]:
        """Return the numbers seen; ReleaseError as soon as the release is not to be trusted."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        file_number = self.log.stat().st_ino if self.log.exists() else 0
        total, errors, rest = 0, 0, b""
        shown: list[str] = []
        until = time.monotonic() + self.seconds
        was_hidden = self.hidden()
        while time.monotonic() < until:
            time.sleep(LOOK_EVERY)
            if show(self.unit, "NRestarts") != "0" or show(self.unit, "ActiveState") == "failed":
                raise self.refusal(f"{self.unit} died and was started again", shown)
            if not self.log.exists():
                continue
            if self.log.stat().st_ino != file_number:  # Caddy began a new file
                file_number, offset, rest = self.log.stat().st_ino, 0, b""
            with self.log.open("rb") as log:
                log.seek(offset)
                *lines, rest = (rest + log.read()).split(b"\n")
                offset = log.tell()
            is_hidden = self.hidden()
            of_page = HTTPStatus.SERVICE_UNAVAILABLE if is_hidden or was_hidden else None
            was_hidden = is_hidden
            for line in lines:
                status, what = answer(line)
                if status == of_page:
                    continue
                total += status > 0
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    errors += 1
                    shown = [*shown, what][-SHOWN:]
            if errors >= FEWEST_ERRORS and errors * 100 > total * self.limit_percent:
                why = f"{errors} of {total} answers were errors of the server (5xx)"
                raise self.refusal(f"{why}, more than the {self.limit_percent} % allowed", shown)
        return {"answers": total, "errors": errors}

    def refusal(self, why: str, shown: list[str]) -> ReleaseError:
        return ReleaseError(
            "bake",
            why,
            "\n".join(["the last of them:", *shown]) if shown else "",
            "the release before serves again; mend it, commit and deploy again",
        )


def answer(line: bytes) -> tuple[int, str]:
    """The status of a line of Caddy's access log, and what was asked; 0: it is no such line."""
    try:
        entry = json.loads(line)
        request = entry["request"]
        return int(entry["status"]), f"{entry['status']} {request['method']} {request['uri']}"
    except (ValueError, KeyError, TypeError):
        return 0, ""
