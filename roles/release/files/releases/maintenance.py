"""Maintenance: a page with 503 instead of the application. Pause: requests wait in the queue.

Caddy looks at the page's file for each request, so neither needs a reload. What has a time limit
lies below /run, and so ends with a reboot at the latest.
"""

import html
import re
import subprocess
from pathlib import Path
from typing import Any

from releases.lock import uptime
from releases.store import Store
from releases.system import ReleaseError, systemctl, write

PAGE = "maintenance.html"
FRAGMENT = "maintenance.htmx.html"
UNITS_OF_TIME = {"s": 1, "m": 60, "h": 3600}
# Caddy waits so long for an answer's beginning (caddy_response_header_seconds), less a start.
LONGEST_PAUSE = 50
DEFAULT_TEXT = "We are working on this site. It will be back shortly."
TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="30">
<title>Maintenance</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 20vh auto }}
</style>
<h1>Maintenance</h1>
<p>{text}</p>
</html>
"""


def seconds(text: str) -> int:
    """A time such as 90, 90s, 10m or 2h in seconds."""
    found = re.fullmatch(r"(\d+)([smh]?)", text.strip())
    if not found or not int(found[1]):
        raise ReleaseError(
            "maintenance", f"'{text}' is no length of time", hint="write 90s, 10m or 2h"
        )
    return int(found[1]) * UNITS_OF_TIME.get(found[2], 1)


class Maintenance:
    """The maintenance page of one application on this host."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.timer = f"{store.app}.maintenance-ends"
        self.lasting, self.limited = store.home / "live", store.run_dir

    def files(self) -> list[Path]:
        return [d / name for d in (self.lasting, self.limited) for name in (PAGE, FRAGMENT)]

    def on(self, length: str, message: str, page: str) -> dict[str, Any]:
        """Show the page: for some time, or until it is turned off.

        `page` is the whole page's HTML instead of our own; `message` is plain text.
        """
        limit = seconds(length) if length else 0
        text = html.escape(message or DEFAULT_TEXT)
        self.off()
        where = self.limited if limit else self.lasting
        # The fragment first: the page is what Caddy looks for.
        write(where / FRAGMENT, f'<p role="status">{text}</p>\n')
        write(where / PAGE, page or TEMPLATE.format(text=text))
        if limit:
            files = [str(where / PAGE), str(where / FRAGMENT)]
            subprocess.run(
                ["systemd-run", "--quiet", f"--unit={self.timer}", f"--on-active={limit}s",
                 "--timer-property=AccuracySec=1s", "--", "rm", "-f", *files],
                check=True,
                capture_output=True,
            )  # fmt: skip
        return {"changed": True, "maintenance": "on", "seconds": limit or None}

    def off(self) -> dict[str, Any]:
        was_on = any(path.exists() for path in self.files())
        systemctl("stop", f"{self.timer}.timer")
        for path in self.files():
            path.unlink(missing_ok=True)
        return {"changed": was_on, "maintenance": "off"}

    def state(self) -> str:
        """on, off, or on with what ends it."""
        if (self.limited / PAGE).exists():
            return "on, for a time"
        return "on" if (self.lasting / PAGE).exists() else "off"


class Pause:
    """Stops the live slot while its socket's queue takes the requests; see ExecStartPre there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.flag = store.run_dir / "pause"

    def on(self, length: str) -> dict[str, Any]:
        """Hold requests for at most some seconds; a start that waits goes on by itself then."""
        limit = seconds(length or "20")
        if limit > LONGEST_PAUSE:
            raise ReleaseError(
                "pause",
                f"a pause of {limit} s is longer than Caddy waits for an answer",
                hint=f"pause for at most {LONGEST_PAUSE}s, or use maintenance",
            )
        if self.store.live() is None:
            raise ReleaseError("pause", f"no release of {self.store.app} is live on this host")
        # What is under way ends first; the pause begins when the slot has stopped.
        self.until(uptime() + limit + LONGEST_PAUSE)
        systemctl("stop", self.store.unit(self.store.live_colour()))
        self.until(uptime() + limit)
        return {"changed": True, "pause": "on", "seconds": limit}

    def until(self, moment: float) -> None:
        """Have starts wait until then; a shell reads this, line by line."""
        write(self.flag, f"{int(moment)}\n")

    def off(self) -> dict[str, Any]:
        was_on = self.flag.exists()
        self.flag.unlink(missing_ok=True)
        if self.store.live() is not None:
            systemctl("start", self.store.unit(self.store.live_colour()))
        return {"changed": was_on, "pause": "off"}
