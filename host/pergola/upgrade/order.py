"""What role upgrade wants, and what it is answered: JSON on standard input and output."""

from dataclasses import dataclass, field
from pathlib import Path

from pergola.documents import Form
from pergola.postgres import Cluster
from pergola.system import write


@dataclass(frozen=True)
class File:
    """A file of a cluster's, as role postgresql would write it."""

    path: str
    content: str
    mode: str | None = None
    owner: str | None = None
    group: str | None = None

    def is_of(self, cluster: Cluster) -> bool:
        return Path(self.path).is_relative_to(cluster.configuration)

    def write(self) -> None:
        """Write it if it differs: a newer file would have role postgresql restart the server."""
        path = Path(self.path)
        if path.exists() and path.read_text() == self.content:
            return
        mode = int(self.mode or "0644", 8)
        write(path, self.content, mode, self.owner or "root", self.group or "")


@dataclass(frozen=True)
class Order:
    """Another major version: its files, and the commands that make a backup before and after."""

    files: list[File] = field(default_factory=list)
    backup: str = ""
    after: str = ""
    rehearsal: bool = True


@dataclass(frozen=True)
class Plan:
    """What would be done: the verb, in words, and what prevents it; "" is nothing."""

    verb: str = ""
    says: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    changed: bool = False
    version: int = 0


@dataclass(frozen=True)
class Answer:
    """What was done."""

    changed: bool
    closed_seconds: float | None = None
    reboot: list[str] = field(default_factory=list)


ORDER = Form(Order)
