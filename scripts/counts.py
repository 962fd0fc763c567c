"""Count what the programs on servers have more than one of: `python3 scripts/counts.py [COMMIT]`.

A block for each commit (HEAD), so that a change is seen. A room is the programs of one role, or a
floor or a noun of host/pergola.
"""

import ast
import builtins
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

PROJECT = Path(__file__).parent.parent
# What is no program of a server's: it runs on the control node, or within an application.
ELSEWHERE = re.compile(r"roles/(app|release/files/(source|plan|submodules)\.py)")
HOST = re.compile(r"roles/(\w+)/files/|host/(?:pergola/)?(\w+)")
LONG_FILE = 300  # lines
Sources = dict[str, str]  # the text of each file by its path in the repository
VARIABLES = re.compile(r"roles/\w+/(defaults|vars)/main\.yml")


def sources(commit: str) -> Sources:
    """All Python that a commit has, and its roles; programs say by which Python they run."""
    command = ["git", "archive", commit]
    packed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isfile() else None
            text = file.read() if file else b""
            of_role = entry.isfile() and entry.name.startswith("roles/")
            if of_role or entry.name.endswith(".py") or re.match(rb"#!.*python", text):
                found[entry.name] = text.decode()
    return found


def room(path: str) -> str:
    """Whose a program on servers is; empty: it is none."""
    found = HOST.match(path)
    return (found[1] or found[2]) if found and not ELSEWHERE.match(path) else ""


def errors(text: str) -> list[str]:
    """Classes of errors that are no sort of another of ours."""
    return [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and issubclass(getattr(builtins, base.id, int), Exception)
    ]


def takes_the_place(text: str) -> bool:
    """Whether it puts a file in the place of another: `replace` of a path has one argument."""
    return any(
        (isinstance(call.func.value, ast.Name) and call.func.value.id == "os")
        or (call.func.attr == "replace" and len(call.args) == 1 and not call.keywords)
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("replace", "rename")
    )


def matching(*patterns: str) -> Callable[[str], bool]:
    return lambda text: all(re.search(pattern, text) for pattern in patterns)


ROOMS: dict[str, Callable[[str], bool]] = {
    "cluster models": matching(r'Path\(f?"/etc/postgresql["/]'),
    "application models": matching(
        r'"live/green"\)\.exists|self\.home / "bin/release"|Path\("/srv"\)'
    ),
    "locks of an application": matching("flock", r"deploy\.json"),
    "atomic writes": takes_the_place,
    "ways to run programs": matching(r"subprocess\.(run|Popen)\("),
}


def rooms(found: Sources, has: Callable[[str], bool]) -> str:
    those = [room(path) for path, text in found.items() if room(path) and has(text)]
    names = sorted(set(those))
    return f"{len(names):2} in {len(those)} files: {', '.join(names)}"


def lines(texts: Iterable[str]) -> int:
    return sum(len(text.splitlines()) for text in texts)


def is_python(path: str, text: str) -> bool:
    return path.endswith(".py") or (text.startswith("#!") and "python" in text.partition("\n")[0])


def variables(found: Sources) -> dict[str, str]:
    """What roles have of names, and how often one uses a private name of another."""
    texts = [text for path, text in found.items() if VARIABLES.fullmatch(path)]
    names = {name for text in texts for name in re.findall(r"^(\w+):", text, re.MULTILINE)}
    private = {name for name in names if name.startswith("__")}
    roles = {path.split("/")[1] for path in found if path.startswith("roles/")}
    read = [
        name
        for path, text in found.items()
        if path.startswith("roles/")
        for name in re.findall(r"\b__([a-z]+)_\w+", text)
        if name in roles - {path.split("/")[1]}
    ]
    return {
        "variables of roles": f"{len(names - private)} public, {len(private)} private",
        "private names across roles": str(len(read)),
    }


def counted(everything: Sources) -> dict[str, str]:
    """Each row's name and what it has at one commit."""
    found = {path: text for path, text in everything.items() if is_python(path, text)}
    host = {path: text for path, text in found.items() if room(path)}
    others = {path: text for path, text in found.items() if path not in host}
    control = {path: text for path, text in others.items() if "test" not in path}
    names = sorted(name for text in host.values() for name in errors(text))
    rows = {"error classes": f"{len(names):2}: {', '.join(names)}"}
    rows |= {name: rooms(host, has) for name, has in ROOMS.items()}
    rows["dict[str, Any]"] = str(sum(text.count("dict[str, Any]") for text in host.values()))
    rows["lines on servers"] = str(lines(host.values()))
    rows["lines elsewhere, no tests"] = str(lines(control.values()))
    for name, files in (("on servers", host), ("elsewhere", control)):
        long = [path for path, text in files.items() if len(text.splitlines()) > LONG_FILE]
        rows[f"files over {LONG_FILE} lines {name}"] = str(len(long))
    return rows | variables(everything)


def main() -> None:
    for commit in sys.argv[1:] or ["HEAD"]:
        print(commit)
        for name, value in counted(sources(commit)).items():
            print(f"  {name:32}{value}")


if __name__ == "__main__":
    main()
