"""What git says of a repository."""

import os
import posixpath
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import IO

from pergola_control.programs import LISTED, run, text
from pergola_control.refusal import RefusalError

GIT_LIMIT = 120  # seconds
FULL_SHA = re.compile(r"^([0-9a-f]{40}|[0-9a-f]{64})$")

# A hook that runs Ansible exports these, and git would then look at another repository than ours.
GIT_OVERRIDES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
)


def git_environment() -> dict[str, str]:
    """The environment for git: no question, no translated message, no other repository."""
    env = {name: value for name, value in os.environ.items() if name not in GIT_OVERRIDES}
    return env | {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}


def git_raw(
    repository: Path,
    *arguments: str,
    limit: float = GIT_LIMIT,
    stdout: IO[bytes] | int = subprocess.PIPE,
    env: dict[str, str] | None = None,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a repository; the caller looks at the return code."""
    # The user's line-end conversion and umask must not change what a release holds.
    fixed = ("-c", "core.autocrlf=false", "-c", "tar.umask=0022", "-c", "gc.autoDetach=false")
    argv = ("git", *fixed, *arguments)
    env = env or git_environment()
    return run(argv, cwd=repository, env=env, limit=limit, stdout=stdout, stdin=stdin)


def git(repository: Path, *arguments: str) -> str:
    """Run git and return its output; a refusal with git's own words when it fails."""
    done = git_raw(repository, *arguments)
    if done.returncode:
        raise RefusalError(
            f"git {arguments[0]} failed: {text(done.stderr)}",
            "app_source",
            "run the same command in the repository and fix what it says",
        )
    return os.fsdecode(done.stdout)


def toplevel(directory: Path) -> Path | None:
    """The top of the clone that holds a directory, or None outside of git."""
    done = git_raw(directory, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout).rstrip("\n"))
    if b"not a git repository" in done.stderr:
        return None
    # For instance a clone of another user: that must not pass for a plain directory.
    raise RefusalError(
        f"git cannot use {directory}: {text(done.stderr)}",
        "app_source",
        "fix what git says, or name another directory",
    )


def part_of_clone(top: Path, root: Path, subdirectory: str) -> str:
    """A subdirectory as seen from the top of a clone, where the source is a directory inside it."""
    inside = posixpath.normpath(
        posixpath.join(root.relative_to(top.resolve()).as_posix(), subdirectory)
    )
    return "" if inside == "." else inside


def commit_of(repository: Path, version: str) -> str | None:
    """The full hash of the commit that a version names, None if it names none."""
    name = f"{version}^{{commit}}"
    done = git_raw(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
    return None if done.returncode else done.stdout.decode().strip()


def local_commit(repository: Path, version: str) -> str | None:
    """As `commit_of`, in somebody's clone: a branch may be known as its remote's only.

    A checkout of CI has a detached HEAD and no branch of its own.
    """
    if commit := commit_of(repository, version):
        return commit
    remotes = git(repository, "remote").split()
    found = {commit_of(repository, f"refs/remotes/{remote}/{version}") for remote in remotes}
    found.discard(None)
    return found.pop() if len(found) == 1 else None


@cache  # a commit does not change, and each question is a process
def file_of(repository: Path, commit: str, path: str) -> str | None:
    """The text of a commit's file, through links inside the repository; None if there is none."""
    if not path.isprintable():  # a line's end would be another question
        return None
    asked = f"{commit}:{path}\n".encode()
    done = git_raw(repository, "cat-file", "--batch", "--follow-symlinks", stdin=asked)
    head, _, rest = done.stdout.partition(b"\n")
    found = re.fullmatch(rb"[0-9a-f]+ blob (\d+)", head)
    return rest[: int(found[1])].decode(errors="replace") if found else None


def is_shallow(repository: Path) -> bool:
    """Whether a clone was made without all of its history."""
    return git(repository, "rev-parse", "--is-shallow-repository").strip() == "true"


def newest_names(repository: Path, kind: str) -> list[str]:
    """The newest tags (`refs/tags`) or branches (`refs/heads`) of a repository."""
    arguments = (f"--count={LISTED}", "--sort=-creatordate", "--format=%(refname:short)", kind)
    return git(repository, "for-each-ref", *arguments).split()
