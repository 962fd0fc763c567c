"""What there is to see of a release that did not start, or did not migrate."""

from dataclasses import dataclass
from pathlib import Path

from pergola.records import Manifest


@dataclass(frozen=True)
class Seen:
    """What there is to see of a release that did not start, or did not migrate.

    `lines` of its process; `answer`: its last, with the status first; `result`: systemd's
    properties of how it ended; `home`: the application's directory; `code`: where the release runs;
    `setting`: what has the command.
    """

    manifest: Manifest
    lines: str
    answer: str
    result: str
    home: Path
    code: Path
    setting: str = "app_server_command"

    @property
    def state(self) -> str:
        """Where it may write."""
        return f"/var/lib/{self.home.name}"
