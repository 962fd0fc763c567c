"""Several servers on one page: what each is, what is live there, and how it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

PARTS = ("edge", "app", "db", "backup")
SILENT = "did not answer"


def status_together(said: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> str:
    """A table of the servers, by what `pergola-status` said of each; empty: it said nothing."""
    rows = [("server", "groups", "state", "live")]
    for name, text in said.items():
        within = ", ".join(part for part in PARTS if name in groups.get(part, ()))
        state = text.partition("\n")[0].partition(": ")[2] if text else SILENT
        rows.append((name, within, state, live(text)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def live(text: str) -> str:
    """The applications and their live releases, of a server's page."""
    section = text.partition("\nreleases\n")[2].partition("\n\n")[0]
    found = [re.split(r"\s{2,}", line.strip()) for line in section.splitlines()]
    return ", ".join(" ".join(cells[:2]) for cells in found if len(cells) > 1)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"status_together": status_together}
