"""What an application is installed from: a list of exact packages."""

import re
from collections.abc import Callable

from pergola_control.programs import some
from pergola_control.refusal import RefusalError


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
