"""Repositories of addresses: a mirror of each in the cache, fetched when it has to be."""

import re
from pathlib import Path

from pergola_control.git import FULL_SHA, commit_of, git, git_environment, git_raw
from pergola_control.programs import text
from pergola_control.refusal import LimitExceededError, RefusalError
from pergola_control.source.settings import Settings

FETCH_LIMIT = 600  # seconds

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
        f"Fetching {where} failed.\n  git: {message}", "app_source", "fix what git says"
    )


def made_mirror(mirror: Path) -> Path:
    """A bare repository for a mirror, empty at first."""
    if not (mirror / "HEAD").exists():
        mirror.mkdir(mode=0o700, exist_ok=True)
        git(mirror, "init", "--quiet", "--bare", ".")
    return mirror


def mirrored(settings: Settings) -> Path:
    """The bare mirror of a URL, holding the version asked for if the server has it."""
    mirror = made_mirror(settings.mirror)
    if not (FULL_SHA.match(settings.wanted) and commit_of(mirror, settings.wanted)):
        fetch(mirror, settings.source, settings.version)
    return mirror
