"""Which commit a version is, or which directory: what a release is made from."""

from dataclasses import replace
from pathlib import Path

from pergola_control.git import (
    commit_of,
    git,
    git_raw,
    is_shallow,
    local_commit,
    newest_names,
    part_of_clone,
    toplevel,
)
from pergola_control.programs import some, text
from pergola_control.refusal import RefusalError
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree, one_tree
from pergola_control.source.mirrors import mirrored
from pergola_control.source.places import place_of
from pergola_control.source.settings import WORKING_TREE, Settings, is_url
from pergola_control.source.submodules import with_submodules


def resolved(settings: Settings) -> tuple[Commit | Tree, list[str]]:
    """What the release is made from, and warnings about it."""
    if is_url(settings.source):
        if settings.version == WORKING_TREE:
            raise RefusalError(
                f"{WORKING_TREE} needs a local directory, not an address.",
                "app_version",
                "set app_version to a tag, branch or commit, or app_source to a directory",
            )
        found = one_commit(settings, mirrored(settings), settings.subdirectory)
        return found, found.warnings()
    root = Path(settings.source).expanduser()
    if not root.is_dir():
        raise RefusalError(
            f"There is no directory {settings.source}.",
            "app_source",
            "set it to a git address (https://…, ssh://…, git@host:path) or to a directory",
        )
    return resolved_directory(settings, root.resolve())


def resolved_directory(settings: Settings, root: Path) -> tuple[Commit | Tree, list[str]]:
    """As `resolved`, for a local clone or directory."""
    top = toplevel(root)
    if settings.version == WORKING_TREE or (top is None and settings.version == "HEAD"):
        inside = part_of_clone(top, root, settings.subdirectory) if top else settings.subdirectory
        tree = one_tree((top or root).resolve(), inside, top is not None, settings)
        return tree, tree.warnings()
    if top is None:
        raise RefusalError(
            f"{settings.source} is not a git repository: it has no version {settings.version!r}.",
            "app_version",
            f"leave it out or set it to {WORKING_TREE}, or set app_source to a repository",
        )
    subdirectory = part_of_clone(top, root, settings.subdirectory)
    found = one_commit(settings, top, subdirectory)
    return found, found.warnings() + uncommitted(settings, top, found.subdirectory)


def one_commit(settings: Settings, repository: Path, subdirectory: str) -> Commit:
    """The commit that the settings name; a refusal if it or its subdirectory does not exist."""
    wanted = settings.wanted
    if wanted == "HEAD" and is_url(settings.source):
        wanted = "refs/pergola/head"
    find = commit_of if is_url(settings.source) else local_commit
    commit = find(repository, wanted)
    if commit is None:
        raise no_such_version(settings, repository)
    kind = git_raw(repository, "cat-file", "-t", f"{commit}:{subdirectory}")
    if kind.stdout.strip() != b"tree":
        raise RefusalError(
            f"Commit {commit[:12]} has no directory {subdirectory!r}.",
            "app_subdirectory",
            "set it to the directory of the app's pyproject.toml, or commit that directory "
            f"(app_version: {WORKING_TREE} takes a local directory as it is)",
        )
    shown = git(repository, "show", "--no-patch", "--format=%s%n%aI%n%ct", commit)
    describe, date, seconds = shown.rstrip("\n").rsplit("\n", 2)
    whole = Commit(repository, commit, "", describe, date, int(seconds))
    place = place_of(whole.read, subdirectory, settings)
    alone = replace(whole, subdirectory=place.root, directory=place.directory)
    return with_submodules(settings, alone, settings.source)


def no_such_version(settings: Settings, repository: Path) -> RefusalError:
    """The refusal of a version that does not exist, with those that do."""
    tags = newest_names(repository, "refs/tags")
    branches = newest_names(repository, "refs/heads")
    if settings.version == "HEAD" and not branches:
        return RefusalError(
            f"{text(settings.source.encode())} has no commit yet.",
            "app_version",
            f"commit the app's files, or set app_version to {WORKING_TREE}",
        )
    if is_shallow(repository):
        return RefusalError(
            f"{settings.version!r} is not in {text(settings.source.encode())}, a shallow clone: "
            "it holds only a part of the repository's commits, branches and tags.",
            "app_version",
            "fetch the rest (git fetch --unshallow --tags; actions/checkout: fetch-depth: 0; "
            "GitLab: GIT_DEPTH: 0), set app_version to HEAD for what is checked out, or "
            "app_source to the repository's address",
        )
    branches = branches or newest_names(repository, "refs/remotes")
    there = "; ".join(
        f"{label}: {', '.join(names)}"
        for label, names in (("newest tags", tags), ("newest branches", branches))
        if names
    )
    where = text(settings.source.encode())
    return RefusalError(
        f"{settings.version!r} is no tag, branch or commit of {where} ({there or 'it is empty'}).",
        "app_version",
        "set it to one that exists, or push the missing one",
    )


def uncommitted(settings: Settings, repository: Path, subdirectory: str) -> list[str]:
    """A warning when the version is what is checked out and files differ from it."""
    branch = git_raw(repository, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.decode()
    if settings.version not in ("HEAD", branch.strip()):
        return []
    listing = git(
        repository, "status", "--porcelain", "-z", "--no-renames", "--", subdirectory or "."
    )
    names = [entry[3:] for entry in listing.split("\0") if entry]
    if not names:
        return []
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    verb = "is" if len(names) == 1 else "are"
    return [f"{files} changed but not committed {verb} not part of this release: {some(names)}."]
