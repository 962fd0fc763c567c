"""The submodules of a commit: which it has, and where their repositories are."""

import os
import posixpath
import re
from dataclasses import replace
from pathlib import Path

from pergola_control.git import commit_of, git, git_raw
from pergola_control.programs import text
from pergola_control.refusal import RefusalError
from pergola_control.source.commits import Commit
from pergola_control.source.mirrors import FETCH_LIMIT, fetch, fetch_environment, made_mirror
from pergola_control.source.settings import OPEN_URL, Settings, is_url

# `git ls-tree -z`: mode, type, object, a tab, path. This mode is a commit of another repository.
GITLINK = re.compile(r"160000 commit ([0-9a-f]+)\t(.+)", re.DOTALL)
# `git ls-files --stage -z`: mode, object, stage, a tab, path.
STAGED = re.compile(r"160000 [0-9a-f]+ 0\t(.+)", re.DOTALL)
DECLARED = re.compile(r"submodule\.(.+)\.(path|url)", re.DOTALL)


def gitlinks(listing: str) -> dict[str, str]:
    """The commit of each submodule by its path, of `git ls-tree -r -z`."""
    found = (GITLINK.fullmatch(entry) for entry in listing.split("\0"))
    return {entry[2]: entry[1] for entry in found if entry}


def staged(listing: str) -> set[str]:
    """The paths of submodules, of `git ls-files --stage -z`."""
    found = (STAGED.fullmatch(entry) for entry in listing.split("\0"))
    return {entry[1] for entry in found if entry}


def declared(config: str) -> dict[str, tuple[str, str]]:
    """The name and address of each submodule by its path, of `git config --list -z`."""
    values: dict[str, dict[str, str]] = {}
    for entry in config.split("\0"):
        key, _, value = entry.partition("\n")
        if found := DECLARED.fullmatch(key):
            values.setdefault(found[1], {})[found[2]] = value
    return {of["path"]: (name, of.get("url", "")) for name, of in values.items() if "path" in of}


def address(url: str, parent: str) -> str:
    """A submodule's address; a relative one is relative to that of the repository it is in."""
    if not re.match(r"\.\.?/", url):
        return url
    base = parent.rstrip("/")
    for part in posixpath.normpath(url).split("/"):
        if part == "..":
            # host:path of SSH has no slash before its first part
            base = re.sub(r"[^/:]*$", "", base).rstrip("/")
        else:
            base += part if base.endswith(":") else f"/{part}"
    return base


def with_submodules(settings: Settings, outer: Commit, source: str) -> Commit:
    """A commit with those of its submodules, and theirs; a refusal for one that is not there.

    `source` is where the commit's repository comes from.
    """
    blob = f"{outer.commit}:.gitmodules"
    config = git_raw(outer.repository, "config", "--blob", blob, "--list", "-z")
    if config.returncode:  # it has none
        return outer
    known = declared(os.fsdecode(config.stdout))
    tree = f"{outer.commit}:{outer.subdirectory}"
    links = gitlinks(git(outer.repository, "ls-tree", "-r", "-z", tree))
    inside, undeclared = [], []
    for path, commit in links.items():
        place = posixpath.join(outer.subdirectory, path)
        if place not in known:
            undeclared.append(path)
            continue
        name, url = known[place]
        if is_url(settings.source):
            url = address(url, source)
            repository = fetched_submodule(settings, url, commit, place)
        else:
            repository = local_submodule(outer.repository, place, name, commit)
        one = replace(outer, repository=repository, commit=commit, subdirectory="", directory="")
        inside.append((path, with_submodules(settings, one, url)))
    return replace(outer, inside=tuple(inside), undeclared=tuple(undeclared))


def local_submodule(outer: Path, path: str, name: str, commit: str) -> Path:
    """Where a clone keeps a submodule; a refusal if it has not been brought there."""
    common = git(outer, "rev-parse", "--git-common-dir").rstrip("\n")
    checked_out = [outer / path] if (outer / path / ".git").exists() else []
    for repository in (*checked_out, outer / common / "modules" / name):
        if repository.is_dir() and commit_of(repository, commit):
            return repository
    raise not_brought(outer, path, commit if checked_out else "")


def not_brought(outer: Path, path: str, commit: str = "") -> RefusalError:
    """The refusal of a submodule that a clone does not have, or not with that commit."""
    lacks = f"does not have its commit {commit[:12]}" if commit else "is not in this clone"
    other = (
        f"; for a version that is not checked out, git -C {outer / path} fetch" if commit else ""
    )
    return RefusalError(
        f"The submodule {path} {lacks}: {outer}",
        "app_source",
        f"git -C {outer} submodule update --init --recursive (actions/checkout: submodules: "
        f"recursive; GitLab: GIT_SUBMODULE_STRATEGY: recursive){other}",
    )


def fetched_submodule(settings: Settings, url: str, commit: str, path: str) -> Path:
    """The mirror of a submodule, with the commit; a refusal if that cannot be had."""
    # A repository must not name one of this machine's for its own.
    local = url.startswith("file://") and not settings.source.startswith("file://")
    if local or not is_url(url) or OPEN_URL.match(url):
        raise RefusalError(
            f"The submodule {path} has an address that is not fetched: {text(url.encode())}",
            "app_version",
            "give it an address with https:// or ssh:// in .gitmodules, and commit that",
        )
    mirror = made_mirror(settings.mirror_of(url))
    if not commit_of(mirror, commit):
        fetch(mirror, url, commit)
    if not commit_of(mirror, commit):  # on no branch and no tag: most servers give it by its hash
        words = ("fetch", "--quiet", "--no-tags", "--end-of-options", url, commit)
        git_raw(mirror, *words, limit=FETCH_LIMIT, env=fetch_environment())
    if not commit_of(mirror, commit):
        raise RefusalError(
            f"The submodule {path} has no commit {commit[:12]} at {text(url.encode())}.",
            "app_version",
            "push that commit, or deploy a version whose submodule is pushed",
        )
    return mirror
