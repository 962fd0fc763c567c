"""Where the settings of a host may be set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VAULT_HEADER = "$ANSIBLE_VAULT"
Load = Callable[[Path], Mapping[str, object]]  # the variables of a file, decrypted


@dataclass(frozen=True)
class Files:
    """Where variables may be set: texts of readable files by path, and names in vaulted ones.

    `given`: the names that the command line sets, which wins over all files.
    """

    texts: Mapping[Path, str]
    vaulted: Mapping[Path, frozenset[str]]
    given: frozenset[str] = frozenset()

    def place(self, name: str, host: str) -> tuple[Path, int | None] | None:
        """The file and line that set a variable of a host; no line for a vaulted file."""
        key = rf"[\"']?{re.escape(name)}[\"']?[ \t]*:"
        # Files of variables have it at the margin; an inventory has it below its host.
        host_key = rf"^[ \t]+{re.escape(host)}:.*\n(?:.*\n)*?[ \t]+"
        for before in (r"^", host_key, r"^[ \t]+"):
            line = re.compile(f"{before}(?P<key>{key})", re.MULTILINE)
            for path, text in self.texts.items():
                if found := line.search(text):
                    return path, text.count("\n", 0, found.start("key")) + 1
        return next(((path, None) for path, names in self.vaulted.items() if name in names), None)


def variable_files(
    inventory: Path, playbooks: Path, host: str, groups: Sequence[str]
) -> list[Path]:
    """The files that may set a variable of a host, those that win first."""
    stems = [inventory / "host_vars" / host]
    stems += [base / "group_vars" / group for group in groups for base in (playbooks, inventory)]
    stems += [base / "group_vars" / "all" for base in (playbooks, inventory)]
    found = [path for stem in stems for path in files_of(stem)]
    hosts = [path for path in sorted(inventory.glob("*.y*ml")) if path.is_file()]
    return [path.resolve() for path in (*found, *hosts)]


def files_of(stem: Path) -> list[Path]:
    """A group's or host's files: its own, or all of its directory, the last one winning."""
    if stem.is_dir():
        return sorted((path for path in stem.rglob("*") if path.is_file()), reverse=True)
    return [path for path in (stem, *stem.parent.glob(f"{stem.name}.y*ml")) if path.is_file()]


def read_files(paths: Sequence[Path], load: Load) -> Files:
    """The texts of files of variables, and the names in those that are vaulted."""
    texts: dict[Path, str] = {}
    vaulted: dict[Path, frozenset[str]] = {}
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.startswith(VAULT_HEADER):
            vaulted[path] = frozenset(load(path))
        elif path.suffix in (".yml", ".yaml", ".json", ""):
            texts[path] = text
    return Files(texts, vaulted)
