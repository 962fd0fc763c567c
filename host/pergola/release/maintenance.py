"""Maintenance: a page with 503 instead of the application. Pause: requests wait in the queue.

Caddy looks at the page's file for each request, so neither needs a reload. What has a time limit
lies below /run, and so ends with a reboot at the latest.
"""

import time
from pathlib import Path

from pergola.apps import PAGES, TEMPLATE
from pergola.documents import Json
from pergola.errors import PergolaError
from pergola.people import seconds, uptime
from pergola.records import PAGE, Page
from pergola.release.releases import Releases
from pergola.release.slots import Slots
from pergola.system import run, systemctl, write

FRAGMENT, WHOLE = PAGES
TOLD = "maintenance.json"  # who turned it on and until when, for monitoring
# Caddy waits so long for an answer's beginning (app_response_header_seconds), less a start.
LONGEST_PAUSE = 50
USUAL_PAUSE = "20s"
DEFAULT_TEXT = "We are working on this site. It will be back shortly."


class Maintenance:
    """The maintenance page of one application on this host."""

    def __init__(self, releases: Releases) -> None:
        self.releases, app = releases, releases.app
        self.timer = f"{app.name}.maintenance-ends"
        self.lasting, self.limited = app.home / "live", app.run_dir

    def files(self, folder: Path) -> list[Path]:
        return [folder / name for name in (WHOLE, FRAGMENT, TOLD)]

    def on(self, length: str, message: str, page: str) -> Json:
        """Show the page: for some time, or until it is turned off.

        `page` is the whole page's HTML instead of our own; `message` is plain text.
        """
        import html  # few calls need it

        if not self.releases.app.has_site():
            raise PergolaError(
                f"{self.releases.app.name} has no site that could show a page",
                hint="app_processes with `count: 0` stop its processes, by a deploy",
            )
        limit = seconds(length) if length else 0
        text = html.escape(message or DEFAULT_TEXT)
        self.off()
        where = self.limited if limit else self.lasting
        told = Page(self.releases.who, time.time() + limit if limit else None)
        PAGE.write(where / TOLD, told)
        write(where / FRAGMENT, f'<p role="status">{text}</p>\n')
        # The page last: it is what Caddy looks for.
        write(where / WHOLE, page or TEMPLATE.format(text=text))
        if limit:
            run(
                *("systemd-run", "--quiet", f"--unit={self.timer}", f"--on-active={limit}s"),
                *("--timer-property=AccuracySec=1s", "--", "rm", "-f", *self.files(where)),
            )
        return {"changed": True, "maintenance": "on", "seconds": limit or None}

    def off(self) -> Json:
        files = [*self.files(self.lasting), *self.files(self.limited)]
        was_on = any(path.exists() for path in files if path.name != TOLD)
        systemctl("stop", f"{self.timer}.timer")
        for path in files:
            path.unlink(missing_ok=True)
        return {"changed": was_on, "maintenance": "off"}

    def state(self) -> str:
        """on, off, or on with what ends it."""
        if (self.limited / WHOLE).exists():
            return "on, for a time"
        return "on" if (self.lasting / WHOLE).exists() else "off"


class Pause:
    """Stops the live slot while its socket's queue takes the requests; see ExecStartPre there."""

    def __init__(self, releases: Releases) -> None:
        self.releases, self.app = releases, releases.app
        self.flag = self.app.run_dir / "pause"

    def on(self, length: str) -> Json:
        """Hold requests for at most some seconds; a start that waits goes on by itself then."""
        limit = seconds(length or USUAL_PAUSE)
        if limit > LONGEST_PAUSE:
            raise PergolaError(
                f"a pause of {limit} s is longer than Caddy waits for an answer",
                hint=f"pause for at most {LONGEST_PAUSE}s, or use maintenance",
            )
        self.releases.must_live()
        if not self.app.manifest.web:  # there are no requests
            return {"changed": False, "pause": "on", "seconds": limit}
        # A start must wait as the unit's file says now, not as it said when systemd read it.
        Slots(self.releases).reread()
        # What is under way ends first; the pause begins when the slot has stopped.
        self.hold_until(uptime() + limit + LONGEST_PAUSE)
        systemctl("stop", self.app.live_unit)
        self.hold_until(uptime() + limit)
        return {"changed": True, "pause": "on", "seconds": limit}

    def hold_until(self, moment: float) -> None:
        """Have starts wait until then; a shell reads this, line by line."""
        write(self.flag, f"{int(moment)}\n", durable=False)

    def off(self) -> Json:
        was_on = self.flag.exists()
        self.flag.unlink(missing_ok=True)
        if self.releases.live() is not None and self.app.manifest.web:
            systemctl("start", self.app.live_unit)
        return {"changed": was_on, "pause": "off"}
