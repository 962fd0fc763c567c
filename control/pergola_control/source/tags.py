"""The version that git's tags give a project, for tools that ask git for it when they build.

A release has no git on the server: the version is told there, in each tool's own variable.
"""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from packaging.version import InvalidVersion, Version

from pergola_control.git import git_raw, is_shallow
from pergola_control.refusal import RefusalError
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.places import from_top, local_path, packages_of
from pergola_control.source.projects import lock_of, project_of, table

# What asks git, and the variable that tells it otherwise. (Versioneer reads what `git archive` has
# filled in.) They hold for every project that is built, so servers set them when all others are
# installed. setuptools-scm has one for each project, which hatch-vcs does not know.
VARIABLES = {
    "hatch-vcs": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "flit-scm": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "setuptools-scm": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "vcs-versioning": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "poetry-dynamic-versioning": "POETRY_DYNAMIC_VERSIONING_BYPASS",
    "uv-dynamic-versioning": "UV_DYNAMIC_VERSIONING_BYPASS",
    "pbr": "PBR_VERSION",
    "pdm": "PDM_BUILD_SCM_VERSION",
}
ASKS_GIT = re.compile(
    r"\b(hatch-vcs|setuptools-scm|flit-scm|vcs-versioning|[a-z]+-dynamic-versioning|pbr)\b"
)
DESCRIBED = re.compile(r"(?P<tag>.+)-(?P<distance>\d+)-g(?P<commit>[0-9a-f]+)")
# As setuptools-scm reads one, and with directories before it.
IN_TAG = re.compile(r"(?:[\w/-]+[-/])?[vV]?(?P<version>\d.*)")


def version_variables(release: Commit | Tree) -> dict[str, str]:
    """The variables that tell the projects' version; none where they say it themselves."""
    tools = {tool for directory in directories(release) for tool in asking(release, directory)}
    if not tools:
        return {}
    version = version_of(release)
    return {VARIABLES[tool]: version for tool in sorted(tools)}


def directories(release: Commit | Tree) -> list[str]:
    """Where the release's own projects are."""
    at = lock_directory(release)
    local = (local_path(one) for one in packages_of(lock_of(release.read, at)))
    found = {from_top(posixpath.join(at, one)) for one in local if one}
    return sorted({release.directory, *found})


def lock_directory(release: Commit | Tree) -> str:
    """Where the release's uv.lock is: beside the application or at the top."""
    own = f"{release.directory}/uv.lock".lstrip("/")
    return release.directory if own in release.names else ""


def asking(release: Commit | Tree, directory: str) -> set[str]:
    """The tools by which a project asks git for its version."""
    project = project_of(release.read, directory)
    dynamic = table(project, "project").get("dynamic", [])
    poetry = table(project, "tool", "poetry-dynamic-versioning").get("enable")
    is_dynamic = isinstance(dynamic, list) and "version" in dynamic
    if not is_dynamic and not poetry and "project" in project:
        return set()
    requires = table(project, "build-system").get("requires", [])
    listed = " ".join(map(str, requires)) if isinstance(requires, list) else ""
    for name in ("setup.py", "setup.cfg"):
        listed += release.read(posixpath.join(directory, name)) or ""
    found = set(ASKS_GIT.findall(re.sub(r"[-_.]+", "-", listed.lower())))
    refuse_untold(directory, project, listed)
    if table(project, "tool", "pdm", "version").get("source") == "scm":
        found.add("pdm")
    return found & set(VARIABLES)


def refuse_untold(directory: str, project: Mapping[str, object], listed: str) -> None:
    """Refuse a tool that cannot be told a version, and would find none on the server."""
    default = table(project, "tool", "versioningit").get("default-version")
    if re.search(r"\bversioningit\b", listed) and not default:
        raise RefusalError(
            f"{posixpath.join(directory, 'pyproject.toml')} lets versioningit ask git for the "
            "version, which it can do on no server: a release has no git history.",
            "app_version",
            'set [tool.versioningit] default-version = "0.0", or let hatch-vcs or setuptools-scm '
            "ask git, which are told the version",
        )


def version_of(release: Commit | Tree) -> str:
    """The version of a release as setuptools-scm counts it (PEP 440)."""
    repository = release.repository if isinstance(release, Commit) else release.top
    commit = release.commit if isinstance(release, Commit) else "HEAD"
    # With `match` a tag that is no version is not in the way of one that is.
    done = git_raw(repository, "describe", "--tags", "--long", "--match=*[0-9]*", commit)
    described = DESCRIBED.fullmatch(done.stdout.decode().strip())
    version = version_in(described["tag"]) if described else None
    distance, at = (int(described["distance"]), described["commit"]) if described else (0, "")
    if version is None:
        version, distance = Version("0.0"), count(repository, commit)
        at = commit[:9] if isinstance(release, Commit) else ""
    changed = isinstance(release, Tree) and release.is_changed
    if not distance and not changed and version != Version("0.0"):
        return str(version)
    local = ".".join(filter(None, (f"g{at}" if at else "", release.short if changed else "")))
    return f"{after(version)}.dev{distance}+{local}"


def version_in(tag: str) -> Version | None:
    """The version that a tag names, such as v1.2 or web-1.2."""
    found = IN_TAG.fullmatch(tag)
    try:
        return Version(found["version"]) if found else None
    except InvalidVersion:
        return None


def after(version: Version) -> str:
    """The next version, of which commits after a tag are developments."""
    if version.pre:  # 1.0rc1 -> 1.0rc2
        return f"{version.base_version}{version.pre[0]}{version.pre[1] + 1}"
    *most, last = version.release
    return ".".join(map(str, (*most, last + 1)))


def count(repository: Path, commit: str) -> int:
    """How many commits lead to this one; 0 where that is not known."""
    done = git_raw(repository, "rev-list", "--count", commit)
    return int(done.stdout) if done.returncode == 0 and not is_shallow(repository) else 0
