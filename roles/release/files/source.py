"""Make the archive of one release from an app's source, on the control node.

The source is a git URL, a local clone or a plain directory. The archive holds one commit (or the
directory's files as they are), is the same byte for byte whenever it is made from the same input,
and is kept in a cache, so that deploying a commit again neither fetches nor builds anything twice.

Prints one JSON object on stdout. Whatever the user can mend ends as text on stderr and exit 1:
what is wrong, which setting it is, and what to do next. Standard library and git only.
"""

import argparse
import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import posixpath
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

FORMAT = "1"  # part of an archive's name: change it when archives are made differently
WORKING_TREE = "working-tree"
KEPT_ARCHIVES = 5

# Limits in seconds.
GIT_LIMIT = 120
FETCH_LIMIT = 600
BUILD_LIMIT = 600
LOCK_LIMIT = 1200

BUILD_OUTPUT_LINES = 30
LISTED = 5  # names given in a message before "and N more"

URL = re.compile(r"^(https|ssh|file)://.")
OPEN_URL = re.compile(r"^(http|git|ftp)://")
SCP_LIKE = re.compile(r"^[\w.-]+@[\w.-]+:.")
FULL_SHA = re.compile(r"^([0-9a-f]{40}|[0-9a-f]{64})$")
APP_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
CREDENTIALS = re.compile(r"(://)[^/@\s]+@")

# Left out of a directory that is not in git: made by programs, and never valid on another machine.
MACHINE_MADE = frozenset(
    {".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__"}
)
LFS_POINTER = b"version https://git-lfs."

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
# A build sees these of our environment and nothing else: what it needs to reach mirrors and caches.
BUILD_VARIABLES = frozenset(
    {
        "HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "LANG",
        "LC_ALL",
        "NODE_EXTRA_CA_CERTS",
        "NO_PROXY",
        "PATH",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "XDG_CACHE_HOME",
    }
)
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
BUILD_PREFIXES = ("NPM_CONFIG_", "PIP_", "UV_")

# What git says when a fetch fails, and what to do about it.
FETCH_ADVICE = (
    (
        r"host key verification failed",
        "The server's host key is not known here",
        "check the key's fingerprint and add it to ~/.ssh/known_hosts (connect once by hand)",
    ),
    (
        r"couldn't find remote ref head",
        "The repository has no default branch",
        "set app_version to a tag, a branch or a commit",
    ),
    (
        r"authentication failed|could not read (username|password)|permission denied|"
        r"access denied|403|publickey",
        "The repository refused this user",
        "give this machine access (an SSH key in the agent, or a git credential helper)",
    ),
    (
        r"could not resolve|connection (refused|timed out|reset|closed)|unreachable|"
        r"no route|timed out|failed to connect",
        "The repository's server cannot be reached",
        "check the address and the network; a commit fetched before deploys without it "
        "when app_version is its full hash",
    ),
    (
        r"not found|does not (appear to be|exist)|no such",
        "There is no such repository",
        "correct the address (or ask for access: a private one looks the same)",
    ),
)


class RefusalError(Exception):
    """Something that the user can mend: what is wrong, the setting's name, what to do next."""

    def __init__(self, what: str, setting: str, remedy: str) -> None:
        super().__init__(f"{what}\n  Setting: {setting}\n  Next: {remedy}")


class LimitExceededError(Exception):
    """A program did not end within its limit and was killed."""


@dataclass(frozen=True)
class Settings:
    """What this release is made from, as given on the command line."""

    app: str
    source: str
    version: str
    subdirectory: str
    build: str
    config_digest: str
    cache: Path

    @property
    def room(self) -> Path:
        """The app's part of the cache."""
        return self.cache / self.app

    @property
    def mirror(self) -> Path:
        """Where the mirror of a URL is kept."""
        name = hashlib.sha256(self.source.encode()).hexdigest()[:16]
        return self.room / f"mirror-{name}.git"


# Programs


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: dict[str, str],
    limit: float,
    stdout: IO[bytes] | int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program without a terminal for at most `limit` seconds; LimitExceededError after that.

    It gets its own process group, so that what it started (ssh, npm) ends with it.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise LimitExceededError(f"no end after {limit:.0f} s") from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return subprocess.CompletedProcess(argv, process.returncode, out or b"", err or b"")


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
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a repository; the caller looks at the return code."""
    # The user's line-end conversion and umask must not change what a release holds.
    fixed = ("-c", "core.autocrlf=false", "-c", "tar.umask=0022", "-c", "gc.autoDetach=false")
    argv = ("git", *fixed, *arguments)
    return run(argv, cwd=repository, env=env or git_environment(), limit=limit, stdout=stdout)


def git(repository: Path, *arguments: str) -> str:
    """Run git and return its output; a refusal with git's own words when it fails."""
    done = git_raw(repository, *arguments)
    if done.returncode:
        raise RefusalError(
            f"git {arguments[0]} failed: {text(done.stderr)}",
            "app_source",
            "run the same command in the repository and mend what it says",
        )
    return os.fsdecode(done.stdout)


def text(raw: bytes) -> str:
    """A program's message for a person: without credentials in addresses."""
    return CREDENTIALS.sub(r"\1", raw.decode(errors="replace").strip())


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


# Where the source is


def is_url(source: str) -> bool:
    """Whether a source is fetched; a path that exists is always taken as a path."""
    if URL.match(source):
        return True
    return bool(SCP_LIKE.match(source)) and not Path(source).exists()


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
        "mend what git says, or name another directory",
    )


def part_of_clone(top: Path, root: Path, subdirectory: str) -> str:
    """A subdirectory as seen from the top of a clone, where the source is a directory inside it."""
    inside = posixpath.normpath(
        posixpath.join(root.relative_to(top.resolve()).as_posix(), subdirectory)
    )
    return "" if inside == "." else inside


def fetch_environment() -> dict[str, str]:
    """Like git_environment, with an ssh that fails instead of asking or waiting."""
    env = git_environment()
    ssh = env.get("GIT_SSH_COMMAND") or text(
        git_raw(Path("/"), "config", "--get", "core.sshCommand").stdout
    )
    options = "-o BatchMode=yes -o ConnectTimeout=15"
    return env | {"GIT_SSH_COMMAND": f"{ssh or 'ssh'} {options}"}


def fetch(mirror: Path, url: str, version: str) -> None:
    """Bring a mirror's branches and tags up to date; a refusal when the server does not answer."""
    refspecs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
    if version == "HEAD":
        refspecs.append("+HEAD:refs/pergola/head")
    slow = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30")
    options = ("--quiet", "--force", "--prune", "--no-tags", "--end-of-options")
    try:
        done = git_raw(
            mirror,
            *slow,
            "fetch",
            *options,
            url,
            *refspecs,
            limit=FETCH_LIMIT,
            env=fetch_environment(),
        )
    except LimitExceededError as error:
        raise RefusalError(
            f"Fetching {text(url.encode())} did not finish: {error}.",
            "app_source",
            "check the network and run again; what was fetched is kept",
        ) from None
    if done.returncode:
        raise fetch_refusal(url, text(done.stderr))


def fetch_refusal(url: str, message: str) -> RefusalError:
    """What git's message means, with git's own words."""
    where = text(url.encode())
    for pattern, meaning, remedy in FETCH_ADVICE:
        if re.search(pattern, message, re.IGNORECASE):
            setting = "app_version" if "app_version to" in remedy else "app_source"
            return RefusalError(f"{meaning}: {where}\n  git: {message}", setting, remedy)
    return RefusalError(
        f"Fetching {where} failed.\n  git: {message}", "app_source", "mend what git says"
    )


def mirrored(settings: Settings) -> Path:
    """The bare mirror of a URL, holding the version asked for if the server has it."""
    mirror = settings.mirror
    if not (mirror / "HEAD").exists():
        mirror.mkdir(mode=0o700, exist_ok=True)
        git(mirror, "init", "--quiet", "--bare", ".")
    if not (FULL_SHA.match(settings.version) and commit_of(mirror, settings.version)):
        fetch(mirror, settings.source, settings.version)
    return mirror


# What a release is made from


@dataclass(frozen=True)
class Commit:
    """One commit of a repository, seen from a subdirectory of it ("" for all of it)."""

    repository: Path
    commit: str
    subdirectory: str
    describe: str
    date: str
    time: int

    @property
    def short(self) -> str:
        """The first part of the release id: 12 characters."""
        return self.commit[:12]

    def read(self, name: str) -> str | None:
        """The text of a file at the top of the release, None if there is none."""
        path = posixpath.join(self.subdirectory, name)
        done = git_raw(self.repository, "cat-file", "blob", f"{self.commit}:{path}")
        return None if done.returncode else done.stdout.decode(errors="replace")

    def copy_to(self, target: Path) -> None:
        """Extract the commit's files into an empty directory."""
        with tempfile.TemporaryFile() as stream:
            done = git_raw(
                self.repository,
                "archive",
                "--format=tar",
                f"{self.commit}:{self.subdirectory}",
                stdout=stream,
            )
            if done.returncode:
                raise RefusalError(
                    f"git archive failed: {text(done.stderr)}",
                    "app_version",
                    "mend what git says (`git fsck` in the repository finds damage)",
                )
            stream.seek(0)
            extract(stream, target)

    def warnings(self) -> list[str]:
        """What the commit names but an archive of it does not hold."""
        done = git_raw(self.repository, "cat-file", "-e", f"{self.commit}:.gitmodules")
        if done.returncode:
            return []
        return ["The commit has submodules (.gitmodules): their files are not in this release."]


@dataclass(frozen=True)
class Tree:
    """A directory's files as they are, whether in git or not."""

    root: Path
    paths: tuple[str, ...]
    skipped: tuple[str, ...]
    commit: str
    describe: str
    date: str = ""
    time: int = 0

    @property
    def short(self) -> str:
        """The first part of the release id: `t` and 11 characters."""
        return "t" + self.commit.removeprefix("tree-")[:11]

    def read(self, name: str) -> str | None:
        """The text of a file at the top of the release, None if there is none."""
        if name not in self.paths:
            return None
        return (self.root / name).read_text(errors="replace")

    def copy_to(self, target: Path) -> None:
        """Copy the files into an empty directory; a refusal if they changed meanwhile."""
        for path in self.paths:
            copy = target / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the comparison below tells
                shutil.copy2(self.root / path, copy, follow_symlinks=False)
        if tree_digest(target, plain_paths(target, frozenset())) != self.commit:
            raise RefusalError(
                f"Files of {self.root} changed while they were copied.",
                "app_source",
                "run again when nothing writes there, or commit and deploy the commit",
            )

    def warnings(self) -> list[str]:
        """What the directory holds but the release does not."""
        if not self.skipped:
            return []
        return [f"Repositories inside the directory are not in this release: {some(self.skipped)}."]


def extract(stream: IO[bytes], target: Path) -> None:
    """Extract git's tar; a refusal for names that could be written outside of the directory."""
    with tarfile.open(fileobj=stream) as archive:
        members = archive.getmembers()
        links = {member.name for member in members if member.issym()}
        for member in members:
            parts = member.name.split("/")
            below = {"/".join(parts[:i]) for i in range(1, len(parts))}
            if member.name.startswith("/") or ".." in parts or below & links:
                raise RefusalError(
                    f"The commit holds an impossible path: {member.name!r}.",
                    "app_version",
                    "look at that commit before using it: git itself does not write such paths",
                )
        # The members were checked above; older 3.11 releases have no filters.
        options = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(target, members, **options)  # type: ignore[arg-type] # noqa: S202


def commit_of(repository: Path, version: str) -> str | None:
    """The full hash of the commit that a version names, None if it names none."""
    name = f"{version}^{{commit}}"
    done = git_raw(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
    return None if done.returncode else done.stdout.decode().strip()


def newest_names(repository: Path, kind: str) -> list[str]:
    """The newest tags (`refs/tags`) or branches (`refs/heads`) of a repository."""
    arguments = (f"--count={LISTED}", "--sort=-creatordate", "--format=%(refname:short)", kind)
    return git(repository, "for-each-ref", *arguments).split()


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


def one_commit(settings: Settings, repository: Path, subdirectory: str) -> Commit:
    """The commit that the settings name; a refusal if it or its subdirectory does not exist."""
    wanted = settings.version
    if wanted == "HEAD" and is_url(settings.source):
        wanted = "refs/pergola/head"
    commit = commit_of(repository, wanted)
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
    return Commit(repository, commit, subdirectory, describe, date, int(seconds))


def plain_paths(root: Path, left_out: frozenset[str]) -> tuple[str, ...]:
    """Every file and link below a directory, without the names left out; relative and sorted."""
    found = []
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in left_out]
        links = [name for name in names if (Path(directory) / name).is_symlink()]
        found += [Path(directory, name).relative_to(root).as_posix() for name in (*files, *links)]
    return tuple(sorted(found))


def listed_paths(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What git sees below a directory of a clone: (files and links, repositories inside)."""
    listing = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    paths, skipped = [], []
    for path in sorted(set(listing.split("\0")) - {""}):
        if (root / path).is_dir() and not (root / path).is_symlink():
            skipped.append(path.rstrip("/"))
        elif os.path.lexists(root / path):  # a tracked file may be gone
            paths.append(path)
    return tuple(paths), tuple(skipped)


def tree_digest(root: Path, paths: Sequence[str]) -> str:
    """`tree-` and the SHA-256 over every path, its kind, and its content."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        kind, content = fingerprint(root / path)
        digest.update(b"%s\0%s\0%s\0" % (os.fsencode(path), kind.encode(), content.encode()))
    return f"tree-{digest.hexdigest()}"


def fingerprint(path: Path) -> tuple[str, str]:
    """A file's kind (link, x or file) and the digest of its content or target."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "link", hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    if not stat.S_ISREG(status.st_mode):
        raise special_file(path.name)
    with path.open("rb") as file:
        return kind_of(status.st_mode), hashlib.file_digest(file, "sha256").hexdigest()


def kind_of(mode: int) -> str:
    """Only whether the owner may execute a file is kept of its mode."""
    return "x" if mode & stat.S_IXUSR else "file"


def one_tree(root: Path, subdirectory: str, in_git: bool) -> Tree:
    """A directory's files as they are; a refusal if it does not exist."""
    top = root / subdirectory
    if not top.is_dir():
        raise RefusalError(
            f"{root} has no directory {subdirectory!r}.",
            "app_subdirectory",
            "set it to the directory of the app's pyproject.toml",
        )
    paths, skipped = listed_paths(top) if in_git else (plain_paths(top, MACHINE_MADE), ())
    describe = f"the files of {top.name} as they are"
    return Tree(top, paths, skipped, tree_digest(top, paths), describe)


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
        tree = one_tree(root, settings.subdirectory, in_git=top is not None)
        return tree, tree.warnings()
    if top is None:
        raise RefusalError(
            f"{settings.source} is not a git repository: it has no version {settings.version!r}.",
            "app_version",
            f"leave it out or set it to {WORKING_TREE}, or set app_source to a repository",
        )
    subdirectory = part_of_clone(top, root, settings.subdirectory)
    found = one_commit(settings, top, subdirectory)
    return found, found.warnings() + uncommitted(settings, top, subdirectory)


# What the app is installed from


def installer_of(read: Callable[[str], str | None]) -> str:
    """`uv-lock` or `requirements`; a refusal for an app whose packages are not pinned by hash."""
    has_project = read("pyproject.toml") is not None
    if has_project and read("uv.lock") is not None:
        return "uv-lock"
    requirements = read("requirements.txt")
    if requirements is None:
        raise no_lock(has_project)
    loose = unhashed(requirements)
    if loose is None:
        return "requirements"
    source = "pyproject.toml" if has_project else "requirements.in"
    command = f"uv pip compile {source} --universal --generate-hashes -o requirements.txt"
    before = "" if has_project else "rename requirements.txt to requirements.in, "
    raise RefusalError(
        f"requirements.txt does not pin every package by hash: {loose}.",
        "app_version",
        f"{before}run `{command}`, and commit the result",
    )


def no_lock(has_project: bool) -> RefusalError:
    """The refusal of an app with no list of exact packages."""
    if has_project:
        return RefusalError(
            "The app has a pyproject.toml but no lock: its packages are not pinned.",
            "app_version",
            "run `uv lock`, and commit uv.lock",
        )
    return RefusalError(
        "There is no pyproject.toml with uv.lock and no requirements.txt at the app's top.",
        "app_subdirectory",
        "set it to the directory that holds them; a new lock is made with `uv lock` or "
        "`uv pip compile requirements.in --universal --generate-hashes -o requirements.txt`",
    )


def unhashed(requirements: str) -> str | None:
    """What is wrong with a requirements file, None if every requirement has a hash."""
    joined = re.sub(r"\\\r?\n", " ", requirements)
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines()]
    # These two bring in further requirements; every other option only says where to look.
    includes = [line for line in lines if re.match(r"-[re]|--(requirement|editable)\b", line)]
    entries = [line for line in lines if line and not line.startswith("-")]
    loose = [re.split(r"\s", line)[0] for line in entries if "--hash=" not in line]
    if includes or loose:
        return some([*includes, *loose])
    return None if entries else "it lists nothing"


# Build and archive


def build(command: str, directory: Path, commit_time: int) -> None:
    """Run the app's build command in a directory; a refusal with its last lines when it fails."""
    env = {name: value for name, value in os.environ.items() if passed_on(name)}
    env |= {"SOURCE_DATE_EPOCH": str(commit_time)}
    if SYSTEM_AUTHORITIES.exists():  # Node alone does not ask the system whom to trust
        env.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_AUTHORITIES))
    with tempfile.TemporaryFile() as output:
        try:
            done = run(
                ("sh", "-c", command),
                cwd=directory,
                env=env,
                limit=BUILD_LIMIT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            problem = f"exit {done.returncode}" if done.returncode else ""
        except LimitExceededError as error:
            problem = str(error)
        if not problem:
            return
        output.seek(0)
        lines = text(output.read()).splitlines()[-BUILD_OUTPUT_LINES:]
    raise RefusalError(
        f"The build failed ({problem}): {command}\n" + "\n".join(f"  | {line}" for line in lines),
        "app_build_command",
        "run it in a fresh clone of the app and mend what it says",
    )


def passed_on(name: str) -> bool:
    """Whether a build sees a variable of our environment (proxies come in either case)."""
    return name.upper() in BUILD_VARIABLES or name.upper().startswith(BUILD_PREFIXES)


def special_file(path: str) -> RefusalError:
    """The refusal of a socket, pipe or device."""
    return RefusalError(
        f"{path} is no file, directory or link: an archive cannot hold it.",
        "app_source",
        "remove it (or let app_build_command remove it)",
    )


def member(root: Path, path: str, mtime: int) -> tarfile.TarInfo:
    """One entry of the archive, with nothing of this machine in it; a refusal for what is unfit."""
    status = (root / path).lstat()
    info = tarfile.TarInfo(path)
    info.mtime = mtime
    if stat.S_ISLNK(status.st_mode):
        info.type, info.mode = tarfile.SYMTYPE, 0o777
        info.linkname = checked_link(root, path)
    elif stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISREG(status.st_mode):
        info.mode = 0o755 if kind_of(status.st_mode) == "x" else 0o644
        info.size = status.st_size
    else:
        raise special_file(path)
    return info


def checked_link(root: Path, path: str) -> str:
    """A link's target; a refusal if it leaves the release."""
    target = os.fspath((root / path).readlink())
    lexical = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    real = Path(os.path.realpath(root / path))
    if target.startswith("/") or lexical.split("/")[0] == ".." or not real.is_relative_to(root):
        raise RefusalError(
            f"The link {path} -> {target} leaves the release.",
            "app_source",
            "replace it by a file or by a relative link inside app_subdirectory "
            "(a link made by the build: let app_build_command remove it)",
        )
    return target


def pack(root: Path, mtime: int, out: IO[bytes]) -> None:
    """Write a directory as tar.gz: the same bytes for the same files, on any day and machine."""
    root = root.resolve()
    paths = sorted(path.relative_to(root).as_posix() for path in walk(root))
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in paths:
            info = member(root, path, mtime)
            if info.isreg():
                with (root / path).open("rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)


def walk(root: Path) -> Iterator[Path]:
    """Everything below a directory; links are not followed."""
    for directory, names, files in os.walk(root):
        yield from (Path(directory, name) for name in (*names, *files))


def lfs_warnings(root: Path) -> list[str]:
    """A warning when files are only pointers to large files."""
    pointers = []
    for path in walk(root):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size < 1024:
            with path.open("rb") as file:
                if file.read(len(LFS_POINTER)) == LFS_POINTER:
                    pointers.append(path.relative_to(root).as_posix())
    if not pointers:
        return []
    return [
        "These files are only Git LFS pointers, not their content (install git-lfs here and run "
        f"`git lfs fetch`): {some(sorted(pointers))}."
    ]


# Cache


@dataclass(frozen=True)
class Cached:
    """An archive in the cache, described by a JSON file of the same name."""

    path: Path
    sha256: str
    size: int
    installer: str
    warnings: list[str]

    @property
    def result(self) -> dict[str, object]:
        """The archive's part of the result; the size is in bytes."""
        return {
            "installer": self.installer,
            "archive": str(self.path),
            "sha256": self.sha256,
            "bytes": self.size,
        }


def archive_path(settings: Settings, release: Commit | Tree) -> Path:
    """Where the archive of this commit, subdirectory and build is kept."""
    subdirectory = release.subdirectory if isinstance(release, Commit) else settings.subdirectory
    parts = "\0".join((FORMAT, release.commit, subdirectory, settings.build))
    part = hashlib.sha256(parts.encode()).hexdigest()[:12]
    return settings.room / f"{release.short}-{part}.tar.gz"


def note_path(archive: Path) -> Path:
    """The JSON file beside an archive."""
    return archive.with_name(archive.name + ".json")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reusable(path: Path) -> Cached | None:
    """The archive made before, None if there is none or it is damaged."""
    try:
        note = json.loads(note_path(path).read_text())
        found = Cached(path, note["sha256"], note["bytes"], note["installer"], note["warnings"])
        if file_sha256(path) != found.sha256:
            return None
        os.utime(path)  # the newest are kept
    except (OSError, ValueError, KeyError):
        return None
    return found


def made(settings: Settings, release: Commit | Tree, path: Path) -> Cached:
    """Make the archive and put it into the cache, whole or not at all."""
    installer = installer_of(release.read)
    with tempfile.TemporaryDirectory(prefix="pergola-") as temporary:
        directory = Path(temporary).resolve() / "source"
        directory.mkdir()
        release.copy_to(directory)
        warnings = lfs_warnings(directory)
        if settings.build:
            build(settings.build, directory, release.time)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as out:
            pack(directory, release.time, out)
    found = Cached(path, file_sha256(partial), partial.stat().st_size, installer, warnings)
    note = {"sha256": found.sha256, "bytes": found.size, "installer": installer}
    note_path(path).write_text(json.dumps(note | {"warnings": warnings}))
    partial.rename(path)
    return found


def prune(room: Path, keep: Path) -> None:
    """Keep the newest archives of an app, and always the one just asked for."""
    archives = sorted(room.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
    others = [path for path in archives if path != keep]
    for path in others[KEPT_ARCHIVES - 1 :]:
        note_path(path).unlink(missing_ok=True)
        path.unlink()


@contextlib.contextmanager
def locked(room: Path) -> Iterator[None]:
    """Hold an app's part of the cache; a refusal when another run has it for too long."""
    room.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + LOCK_LIMIT
    with (room / ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RefusalError(
                        f"Another run has been making a release for {LOCK_LIMIT} s.",
                        "app_source",
                        "wait for it, or end it, and run again",
                    ) from None
                time.sleep(0.1)
        yield


# The whole


def release_of(settings: Settings, plan: bool) -> dict[str, object]:
    """Resolve the version and, unless it is only planned, provide its archive."""
    with locked(settings.room):
        release, warnings = resolved(settings)
        result: dict[str, object] = {
            "id": f"{release.short}-{settings.config_digest[:8]}",
            "commit": release.commit,
            "version": settings.version,
            "describe": release.describe,
            "date": release.date,
            "source": text(settings.source.encode()),
        }
        if plan:
            return result | {"installer": installer_of(release.read), "warnings": warnings}
        path = archive_path(settings, release)
        archive = reusable(path) or made(settings, release, path)
        prune(settings.room, path)
        return result | archive.result | {"warnings": warnings + archive.warnings}


def checked(arguments: argparse.Namespace) -> Settings:
    """The settings, in a form that is safe to hand to git; a refusal for those that are not."""
    if not APP_NAME.match(arguments.app):
        raise RefusalError(f"{arguments.app!r} is no name.", "app_name", "use letters and digits")
    if not re.fullmatch(r"[0-9a-f]{8,}", arguments.config_digest):
        raise ValueError("--config-digest must be 8 or more hexadecimal digits")
    if OPEN_URL.match(arguments.source):
        raise RefusalError(
            "Code fetched over an unprotected connection can be changed on its way: "
            f"{text(arguments.source.encode())}",
            "app_source",
            "use https:// or ssh://",
        )
    version = arguments.version or "HEAD"
    for setting, value in (("app_source", arguments.source), ("app_version", version)):
        if not value or value.startswith("-") or not value.isprintable():
            raise RefusalError(f"{value!r} cannot be used.", setting, "correct it")
    inside = posixpath.normpath(arguments.subdirectory or ".")
    if inside.startswith(("/", "..")):
        raise RefusalError(
            f"{arguments.subdirectory!r} is not inside the source.",
            "app_subdirectory",
            "set it to a path relative to the top of app_source",
        )
    return Settings(
        app=arguments.app,
        source=arguments.source,
        version=version,
        subdirectory="" if inside == "." else inside,
        build=arguments.build.strip(),
        config_digest=arguments.config_digest,
        cache=arguments.cache.expanduser().resolve(),
    )


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--app", required=True, help="the app's name, a directory of the cache")
    parser.add_argument("--source", required=True, help="git address, clone or directory")
    parser.add_argument(
        "--version", default="HEAD", help=f"tag, branch, commit or {WORKING_TREE} (default: HEAD)"
    )
    parser.add_argument("--subdirectory", default="", help="where the app is in its source")
    parser.add_argument("--build", default="", help="shell command run in the fresh checkout")
    parser.add_argument("--config-digest", required=True, help="hex digest of the environment")
    parser.add_argument("--cache", required=True, type=Path, help="directory for archives, mirrors")
    parser.add_argument("--plan", action="store_true", help="only resolve: no archive, no build")
    return parser.parse_args(argv)


def stop(message: str) -> NoReturn:
    """Say what is wrong and end with 1."""
    print(message, file=sys.stderr)
    sys.exit(1)


@contextlib.contextmanager
def refusals_told() -> Iterator[None]:
    """End the program with 1 and a text on what the user can mend."""
    try:
        yield
    except (RefusalError, ValueError) as error:
        stop(str(error))
    except LimitExceededError as error:
        stop(f"A local git command did not end: {error}\n  Setting: app_source\n  Next: run again")
    except OSError as error:
        stop(f"{error}\n  Setting: app_source\n  Next: mend access to that path and run again")


def main(argv: Sequence[str]) -> None:
    """Print the release as JSON, or what keeps it from being made."""
    arguments = parsed(argv)
    os.umask(0o022)
    with refusals_told():
        print(json.dumps(release_of(checked(arguments), arguments.plan)))


if __name__ == "__main__":
    main(sys.argv[1:])
