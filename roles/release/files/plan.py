"""Say what a deploy would change on a host, before it does; runs on the control node.

Reads one JSON object on stdin: `new` is what source.py printed, with the release's settings; `live`
is what the host says of the release that is live there, null if none is; `app` and `host` are their
names. Values of the environment are never given to it, and of `config` it shows only what is named
in HARMLESS.

Prints text. What the user can mend ends as in source.py. Standard library and git only.
"""

import argparse
import json
import posixpath
import re
import sys
import tarfile
import tomllib
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import source
from source import RefusalError

LISTED_COMMITS = 20
LABEL_WIDTH = 13

LOCKS = {"uv-lock": "uv.lock", "requirements": "requirements.txt"}
# Any other setting may hold a password, if only in a command line.
HARMLESS = frozenset(
    {
        "asgi",
        "backward_compatible",
        "domain",
        "drain_seconds",
        "health_path",
        "migrate_command",
        "python",
        "start_timeout_seconds",
        "static_dir",
        "static_url",
        "subdirectory",
        "uvicorn_options",
        "workers",
    }
)

MIGRATION = re.compile(r"(^|/)(migrations|alembic)/(versions/)?[^/]+\.(py|sql)$")
# Alembic's directory has any name, but there is an env.py beside its `versions`.
VERSION = re.compile(r"^(?P<top>(.*/)?)versions/[^/]+\.(py|sql)$")
NO_MIGRATION = re.compile(r"(^|/)(__init__|env|conftest|test_[^/]*)\.py$")
FATES = {
    "A": "+ {}",
    "D": "- {} (gone; what it did to the database stays)",
    "M": "~ {} (changed; where it has run it does not run again)",
}

REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)\s*(\[[^]]*\])?\s*(==\s*(?P<version>[^\s;\\]+)|@\s*(?P<address>\S+))"
)

Release = Mapping[str, Any]  # `new` or `live`
Works = Mapping[str, Mapping[str, Any]]  # processes or schedules by name


def short(release: Release) -> str:
    """A commit as people write it; a directory's files as their release id begins."""
    commit = release["commit"]
    return release["id"].partition("-")[0] if commit.startswith("tree-") else commit[:7]


def described(release: Release) -> str:
    """One line about a release, from what it says of itself."""
    day = (release.get("date") or "")[:10]
    return f"{short(release)} {release.get('describe') or ''}" + (f" ({day})" if day else "")


def goes_away(count: int) -> str:
    return f"{count} goes away" if count == 1 else f"{count} go away"


# History


@dataclass(frozen=True)
class History:
    """What a repository says between two commits about a directory of it ("": about all of it)."""

    repository: Path
    subdirectory: str
    before: str
    after: str

    def counts(self) -> tuple[int, int]:
        """How many commits come and how many go away, in the whole repository."""
        both = f"{self.before}...{self.after}"
        said = source.git(self.repository, "rev-list", "--count", "--left-right", both)
        going, coming = map(int, said.split())
        return coming, going

    def log(self) -> list[str]:
        """The commits that come and those that go away, each newest first and not all of them."""
        return self.listed(f"{self.before}..{self.after}", "+") + self.listed(
            f"{self.after}..{self.before}", "-"
        )

    def listed(self, commits: str, sign: str) -> list[str]:
        """The commits of a range that touch the directory, and how many were left out."""
        form = ("--no-show-signature", "--abbrev=7", f"--format={sign} %h %s (%an, %as)")
        # With a path git leaves out merges and empty commits: only where there is one.
        where = ("--", f":(literal){self.subdirectory}") if self.subdirectory else ()
        said = source.git(self.repository, "log", *form, commits, *where)
        lines = said.split("\n")[:-1]  # splitlines() would also break a line inside a subject
        more = len(lines) - LISTED_COMMITS
        return lines[:LISTED_COMMITS] + ([f"{sign} and {more} more"] if more > 0 else [])

    def files(self) -> dict[str, str]:
        """The directory's files that differ: path -> A (new), M (changed) or D (gone)."""
        options = ["-r", "-z", "--name-status"]
        if self.subdirectory:
            options.append(f"--relative={self.subdirectory}/")
        said = source.git(self.repository, "diff-tree", *options, self.before, self.after)
        fields = said.split("\0")
        return dict(zip(fields[1::2], fields[0::2], strict=False))


def place_of(settings: source.Settings) -> tuple[Path, str] | None:
    """The repository and the app's directory in it, None for a source that is not in git."""
    if source.is_url(settings.source):
        if not (settings.mirror / "HEAD").exists():
            raise RefusalError(
                f"There is no mirror of {source.text(settings.source.encode())} in the cache.",
                "release_cache_dir",
                "run again: the repository is fetched anew",
            )
        return settings.mirror, settings.subdirectory
    root = Path(settings.source).expanduser().resolve()
    top = source.toplevel(root)
    return top and (top, source.part_of_clone(top, root, settings.subdirectory))


def history_of(settings: source.Settings, live: Release, new: Release) -> History | str:
    """What is between the two releases, or why that cannot be told."""
    place = place_of(settings)
    for which, release in (("new", new), ("live", live)):
        commit = release["commit"]
        if commit.startswith("tree-"):
            return f"the {which} release is a directory's files, not a commit"
        if place is None:
            return "the source is not in git any more"
        if not source.FULL_SHA.match(commit) or not source.commit_of(place[0], commit):
            return f"commit {commit[:7]} of the {which} release is not in the repository any more"
    return History(*place, live["commit"], new["commit"])


def commit_lines(history: History | str, live: Release, new: Release) -> list[str]:
    """The commits that come and those that go away."""
    if live["commit"] == new["commit"]:
        return [f"none: {short(new)} with other settings"]
    if isinstance(history, str):
        return [f"cannot be listed: {history}", f"- {described(live)}", f"+ {described(new)}"]
    coming, going = history.counts()
    if not going:
        head = f"{coming} new"
    elif not coming:
        head = f"going back: {goes_away(going)}"
    else:
        head = f"sideways: {coming} new, {goes_away(going)}"
    listed = history.log()
    if history.subdirectory:
        which = "those" if listed else "none of them is"
        head += f" in the whole repository; {which} in {history.subdirectory}"
    return [f"{head}:" if listed else head, *listed]


# Migrations


def is_migration(path: str, paths: Collection[str]) -> bool:
    """Whether a file is a migration, given the files that it lies among."""
    if NO_MIGRATION.search(path):
        return False
    version = VERSION.match(path)
    return bool(MIGRATION.search(path) or (version and f"{version['top']}env.py" in paths))


def migration_lines(
    history: History | str, live: Release | None, new: Release, paths: Sequence[str]
) -> list[str]:
    """Where the database is, and the migrations that are new; `paths` are the new release's."""
    there = [path for path in sorted(paths) if is_migration(path, paths)]
    lines, notes = [], []
    if live is None:
        lines = [FATES["A"].format(path) for path in there]
    else:
        if live.get("revision"):
            notes.append(f"database at {live['revision']}")
        elif there:
            notes.append("the database's revision is unknown")
        if isinstance(history, History):
            changed = history.files()
            lines = [
                FATES.get(fate, FATES["M"]).format(path)
                for path, fate in sorted(changed.items())
                if is_migration(path, {*paths, *changed})
            ]
        elif there and live["commit"] != new["commit"]:
            notes.append(f"which of {len(there)} files are new cannot be told: {history}")
            return ["; ".join(notes)]
    if any(line.startswith("+") for line in lines) and new["config"].get("migrate_command") == "":
        notes.append("app_migrate_command is empty: none of these runs")
    if not lines:
        return ["; ".join(["none", *notes])]
    return [f"{'; '.join(notes)}:", *lines] if notes else lines


# Packages


def canonical(name: str) -> str:
    """A package's name as all spellings of it compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def of_requirements(text: str) -> list[tuple[str, str]]:
    """The (package, version) pairs of a requirements.txt; markers may make several of a package."""
    found = []
    for line in text.splitlines():
        if match := REQUIREMENT.match(line.strip()):
            # Of an address only the file's name is shown: the rest may hold a password.
            version = match["version"] or posixpath.basename(urlsplit(match["address"]).path)
            found.append((match["name"], version))
    return found


def of_uv_lock(text: str) -> list[tuple[str, str]]:
    """The (package, version) pairs that a server installs from a uv.lock.

    That is what the project itself needs, without its extras and its group `dev`: a new pytest
    changes nothing on a server.
    """
    packages = tomllib.loads(text).get("package", [])
    own = [package for package in packages if "." in package.get("source", {}).values()]
    pending = [(package["name"], "") for package in own or packages]
    for package in own:
        for group, entries in package.get("dev-dependencies", {}).items():
            pending += needed(entries) if group != "dev" else []
    seen: set[tuple[str, str]] = set()
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for package in packages:
            if package["name"] == name and extra:
                pending += needed(package.get("optional-dependencies", {}).get(extra, []))
            elif package["name"] == name:
                pending += needed(package.get("dependencies", []))
    return [
        (package["name"], locked_version(package))
        for package in packages
        if (package["name"], "") in seen and package not in own
    ]


def needed(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The (package, extra) pairs of uv's dependency entries; no extra means the package itself."""
    return [(entry["name"], extra) for entry in entries for extra in ("", *entry.get("extra", ()))]


def locked_version(package: Mapping[str, Any]) -> str:
    """A package's version in uv.lock; one from git may change without another version."""
    version = package.get("version", "(no version)")
    address = package.get("source", {}).get("git", "")
    return f"{version} at {address.rpartition('#')[2][:7]}" if address else version


def packages_of(name: str, text: str) -> dict[str, str]:
    """The versions of each package in a lock; ValueError if it cannot be read."""
    try:
        pairs = of_uv_lock(text) if name == "uv.lock" else of_requirements(text)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not as uv writes it: {error!r}") from None
    versions: dict[str, set[str]] = {}
    for package, version in pairs:
        versions.setdefault(canonical(package), set()).add(version)
    return {package: ", ".join(sorted(found)) for package, found in versions.items()}


def package_lines(live: Release | None, new: Release, lock: str) -> list[str]:
    """The packages that differ between the live release's lock and the new one's."""
    name = LOCKS[new["installer"]]
    try:
        after = packages_of(name, lock)
    except ValueError as error:
        raise RefusalError(
            f"The new release's {name} cannot be read: {error}.",
            "app_version",
            "make the lock anew with uv and commit it",
        ) from None
    if live is None:
        return [f"{len(after)} to install"]
    if not live.get("lock"):
        return [f"cannot be compared: the live release's lock is unknown; {len(after)} to install"]
    try:
        before = packages_of(live["lock_name"], live["lock"])
    except ValueError as error:
        return [f"cannot be compared: the live release's {live['lock_name']}: {error}"]
    return differences(before, after)


# Settings, environment, processes


def differences(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    show: Callable[[str, Any], str] = lambda _name, value: value,
) -> list[str]:
    """One line for each name that came, went or has another value; `show` may say nothing of it."""
    lines = []
    for name in sorted({*before, *after}):
        if name not in before:
            lines.append(f"+ {name} {show(name, after[name])}")
        elif name not in after:
            lines.append(f"- {name} {show(name, before[name])}")
        elif before[name] != after[name]:
            old, new = show(name, before[name]), show(name, after[name])
            lines.append(f"~ {name} {old} -> {new}" if old or new else f"~ {name}")
    return lines


def harmless(name: str, value: object) -> str:
    """A setting's value for a person, or nothing if it could be a secret."""
    if name not in HARMLESS:
        return ""
    if isinstance(value, list):
        value = " ".join(map(str, value))
    shown = value if isinstance(value, str) else json.dumps(value)
    return source.text(shown.encode()) or "(empty)"


def setting_lines(live: Release | None, new: Release) -> list[str]:
    """The settings that differ; for a first deploy those that say something."""
    if live is None:
        said = {name: value for name, value in new["config"].items() if value not in ("", [], {})}
        return differences({}, said, harmless)
    if live.get("config") is None:
        return ["cannot be compared: those of the live release are unknown"]
    return differences(live["config"], new["config"], harmless)


def environment_lines(live: Release | None, new: Release, more_differs: bool) -> list[str]:
    """The names of variables that come and go."""
    after = dict.fromkeys(new["environment"], "")
    if live is None:
        return differences({}, after)
    if live.get("environment") is None:
        return ["cannot be compared: that of the live release is unknown"]
    lines = differences(dict.fromkeys(live["environment"], ""), after)
    # An id ends in a digest of all settings, those that are never shown among them.
    if lines or live["id"].rpartition("-")[2] == new["id"].rpartition("-")[2]:
        return lines
    if more_differs:
        return ["the same names; values, which are never shown, may differ"]
    return ["the same names; a value, which is never shown, differs here or in a secret file"]


def by_name(works: Sequence[Mapping[str, Any]] | Works | None) -> Works:
    """Processes or schedules by their names, from a list as well."""
    return works if isinstance(works, Mapping) else {work["name"]: work for work in works or ()}


def work_lines(before: Works, after: Works) -> list[str]:
    """The processes or schedules that come, go and change, and what of them does."""

    def parts(name: str) -> str:
        old, new = before[name], after[name]
        return ", ".join(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))

    return [
        f"~ {name} ({parts(name)})"
        if name in before and name in after
        else f"{'+' if name in after else '-'} {name}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def unit_lines(app: str, first: bool, before: Works, after: Works) -> list[str]:
    """What starts and stops, and what is away meanwhile."""
    anew = "starts anew beside the old one, which stops after the switch"
    lines = [f"{app}@<slot> starts" if first else f"{app}@<slot> {anew}"]
    away = []
    for name in sorted({*before, *after}):
        if name not in before:
            lines.append(f"{name} starts")
        elif name not in after:
            lines.append(f"{name} stops for good")
        elif before[name].get("overlap") and after[name].get("overlap"):
            lines.append(f"{name} {anew}")
        else:
            away.append(f"{name} stops before it starts again")
    return [*lines, f"expected interruption: {'; '.join(away) or 'none'}"]


# The whole


def contents(path: Path, lock: str) -> tuple[list[str], str]:
    """An archive's files, and the text of the lock at its top."""
    try:
        with tarfile.open(path) as archive:
            paths = [member.name for member in archive if member.isfile()]
            file = archive.extractfile(lock) if lock in paths else None
            found = file and file.read().decode(errors="replace")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise RefusalError(
            f"The release's archive cannot be read: {error}.",
            "release_cache_dir",
            "run again: an archive that is missing or damaged is made anew",
        ) from None
    if found is None:
        raise RefusalError(
            f"The release's archive has no {lock}.",
            "app_build_command",
            "let the build keep it: servers install from it",
        )
    return paths, found


def plan_of(settings: source.Settings, order: Mapping[str, Any]) -> str:
    """The plan as text."""
    app, new, live = order["app"], order["new"], order["live"]
    where = f"{app} on {order['host']}"
    if live and live["id"] == new["id"]:
        return f"{where}: {short(new)} is live already: a deploy would change nothing"
    paths, lock = contents(Path(new["archive"]), LOCKS[new["installer"]])
    history = history_of(settings, live, new) if live else ""
    works = {
        kind: (by_name((live or {}).get(kind)), by_name(new.get(kind)))
        for kind in ("processes", "schedules")
    }
    changed_works = {kind: work_lines(*both) for kind, both in works.items()}
    changed_settings = setting_lines(live, new)
    more_differs = bool(changed_settings or any(changed_works.values()))
    sections = {
        "commits": commit_lines(history, live, new) if live else [f"+ {described(new)}"],
        "packages": package_lines(live, new, lock),
        "migrations": migration_lines(history, live, new, paths),
        "environment": environment_lines(live, new, more_differs),
        "settings": changed_settings,
        **changed_works,
        "units": unit_lines(app, live is None, *works["processes"]),
    }
    head = f"{live['id']} -> {new['id']}" if live else f"first deploy; it makes {new['id']}:"
    lines = [f"{where}: {head}"]
    for label, found in sections.items():
        for number, line in enumerate(found or ["none"]):
            lines.append(f"  {'' if number else label:{LABEL_WIDTH}}{line}")
    return "\n".join(map(printable, lines))


def printable(line: str) -> str:
    """A line without what a terminal obeys: a commit's subject or a path may hold it."""
    return "".join(letter if letter.isprintable() else "?" for letter in line).rstrip()


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, options in (
        ("--source", {"required": True}),
        ("--subdirectory", {"default": ""}),
        ("--cache", {"required": True}),
    ):
        parser.add_argument(name, help="as given to source.py", **options)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Print the plan, or what keeps it from being made."""
    given = [f"--{name}={value}" for name, value in vars(parsed(argv)).items()]
    with source.refusals_told():
        order = json.load(sys.stdin.buffer)
        # The plan asks for no version and makes no release: the digest is any.
        given += [f"--app={order['app']}", "--config-digest=00000000"]
        print(plan_of(source.checked(source.parsed(given)), order))


if __name__ == "__main__":
    main(sys.argv[1:])
