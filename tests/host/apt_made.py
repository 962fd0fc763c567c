"""apt and dpkg of a system, made for a test: what is installed, and what there is."""

import subprocess
from collections.abc import Collection


class Apt:
    """`known` packages, of which one called `…t64` provides the name without that."""

    def __init__(self, known: Collection[str] = (), installed: Collection[str] = ()) -> None:
        self.known, self.installed = set(known), set(installed)
        self.needs: dict[str, list[str]] = {}

    def attempt(self, *words: str, **_: object) -> subprocess.CompletedProcess[str]:
        """As pergola.system.attempt."""
        return subprocess.CompletedProcess(words, 0, self.said(*words), "")

    def said(self, program: str, *words: str) -> str:
        name = words[-1]
        if program == "apt-get":
            brought = {one for word in words for one in self.needs.get(word, [])}
            return "\n".join(f"Inst {one} (1.0 a.test [amd64])" for one in sorted(brought))
        if program == "dpkg-query":
            return "installed" if name in self.installed else ""
        if words[0] == "pkgnames":
            return "\n".join(sorted(self.known))
        if words[0] == "showpkg":
            provider = f"{name}t64 1.0-1 (= 1.0-1)\n" if f"{name}t64" in self.known else ""
            return f"Package: {name}\nVersions: \n\nReverse Provides: \n{provider}"
        return f"{name}:\n  Candidate: {'1' if name in self.known else '(none)'}\n"
