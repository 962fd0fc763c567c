"""Directories of an application that stay from release to release, and what is wrong with them."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# They go into units and Caddy's configuration as they are.
PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
URL = re.compile(r"(/[A-Za-z0-9_.~-]+)+")
KEYS = {"path", "public"}
NAME = "app_shared_directories"


def each(directories: Sequence[Any]) -> list[dict[str, str]]:
    """Each as `path`, from the application's directory, and `public`, its URL path; empty: none."""
    found = []
    for one in directories:
        given = one if isinstance(one, Mapping) else {"path": one}
        path = posixpath.normpath(str(given.get("path") or "."))
        found.append({"path": path, "public": str(given.get("public") or "")})
    return found


def wrong(directories: Sequence[Any], static_url: str) -> Iterator[str]:
    """What is wrong with the setting, as texts that begin with its name."""
    for given in directories:
        if isinstance(given, Mapping) and (set(given) - KEYS or "path" not in given):
            keys = ", ".join(map(str, given)) or "nothing"
            yield f"{NAME}: one has path, and public if visitors may see it; this has {keys}"
    names = each(directories)
    for one in names:
        yield from filter(None, [path_wrong(one["path"]), url_wrong(one["public"])])
        if one["public"] and re.search(r"(^|/)[.]", one["path"]):
            yield (
                f"{NAME}: '{one['path']}' cannot be public: nothing is served of a directory whose "
                "name begins with a dot"
            )
    for one, other in itertools.combinations(names, 2):
        outer, inner = sorted([one["path"], other["path"]], key=len)
        if outer == inner:
            yield f"{NAME}: {outer} is there twice"
        elif inner.startswith(f"{outer}/"):
            yield f"{NAME}: {inner} is inside {outer}; leave one of them out"
    urls = [*filter(None, [one["public"] for one in names])]
    for url in sorted({url for url in urls if urls.count(url) > 1}):
        yield f"{NAME}: two are public at {url}"
    if static_url in urls:
        yield f"{NAME}: {static_url} is app_static_url already"


def path_wrong(path: str) -> str:
    """Why it cannot be a directory of the application's; a normal path."""
    if path.startswith("/"):
        return (
            f"{NAME}: '{path}' must be a path from the application's directory, such as media; for "
            "a directory elsewhere on the server there is app_writable_paths"
        )
    if path == ".":
        return f"{NAME}: one is empty, or the application's own directory; example: [media]"
    if path.split("/")[0] == "..":
        return f"{NAME}: '{path}' leads out of the application's directory"
    if not PATH.fullmatch(path):
        return f"{NAME}: '{path}': letters, digits, '.', '_', '-' and '/' can be in it"
    return ""


def url_wrong(url: str) -> str:
    if not url or (URL.fullmatch(url) and posixpath.normpath(url) == url):
        return ""
    return f"{NAME}: public '{url}' must begin with / and not end with it; example: public: /media"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "shared_each": each,
            "shared_wrong": lambda *given: list(wrong(*given)),
        }
