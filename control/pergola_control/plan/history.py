"""The commits between two releases."""

import posixpath
from dataclasses import dataclass
from pathlib import Path

from pergola_control.git import FULL_SHA, commit_of, git, git_raw, part_of_clone, toplevel
from pergola_control.plan.order import Live, New, Release, described, short
from pergola_control.programs import text
from pergola_control.refusal import RefusalError
from pergola_control.source.settings import Settings, is_url

LISTED_COMMITS = 20


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
        said = git(self.repository, "rev-list", "--count", "--left-right", both)
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
        said = git(self.repository, "log", *form, commits, *where)
        lines = said.split("\n")[:-1]  # splitlines() would also break a line inside a subject
        more = len(lines) - LISTED_COMMITS
        return lines[:LISTED_COMMITS] + ([f"{sign} and {more} more"] if more > 0 else [])

    def read(self, commit: str, name: str) -> str | None:
        """The text of one of the directory's files in a commit, None if there is none."""
        place = f"{commit}:{posixpath.join(self.subdirectory, name)}"
        done = git_raw(self.repository, "cat-file", "blob", place)
        return None if done.returncode else done.stdout.decode(errors="replace")

    def files(self) -> dict[str, str]:
        """The directory's files that differ: path -> A (new), M (changed) or D (gone)."""
        options = ["-r", "-z", "--name-status"]
        if self.subdirectory:
            options.append(f"--relative={self.subdirectory}/")
        said = git(self.repository, "diff-tree", *options, self.before, self.after)
        fields = said.split("\0")
        return dict(zip(fields[1::2], fields[0::2], strict=False))


def place_of(settings: Settings, new: New) -> tuple[Path, str] | None:
    """The repository and what of it is packed, None for a source that is not in git."""
    if is_url(settings.source):
        if not (settings.mirror / "HEAD").exists():
            raise RefusalError(
                f"There is no mirror of {text(settings.source.encode())} in the cache.",
                "release_cache_dir",
                "run again: the repository is fetched again",
            )
        return settings.mirror, new.get("root", settings.subdirectory)
    root = Path(settings.source).expanduser().resolve()
    top = toplevel(root)
    if top is None:
        return None
    return top, new.get("root", part_of_clone(top, root, settings.subdirectory))


def history_of(settings: Settings, live: Live, new: New) -> History | str:
    """What is between the two releases, or why that cannot be told."""
    place = place_of(settings, new)
    both: tuple[tuple[str, Release], ...] = (("new", new), ("live", live))
    for which, release in both:
        if release["commit"].startswith("tree-"):
            return f"the {which} release is a directory's files, not a commit"
    if place is None:
        return "the source is not in git any more"
    for which, release in both:
        commit = release["commit"]
        if not FULL_SHA.match(commit) or not commit_of(place[0], commit):
            return f"commit {commit[:7]} of the {which} release is not in the repository any more"
    return History(*place, live["commit"], new["commit"])


def commit_lines(history: History | str, live: Live, new: New) -> list[str]:
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


def goes_away(count: int) -> str:
    return f"{count} goes away" if count == 1 else f"{count} go away"
