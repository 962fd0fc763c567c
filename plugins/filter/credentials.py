"""Secret files of an application: a content by a name, and perhaps a variable that has its path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

KEYS = {"content", "variable"}


def content_of(credential: object) -> object:
    """What the file holds: a list or dictionary as JSON."""
    content = credential.get("content") if isinstance(credential, Mapping) else credential
    return json.dumps(content) if isinstance(content, Mapping | list) else content


def credential_contents(credentials: Mapping[str, Any]) -> dict[str, str]:
    """Each file's content by its name."""
    contents = {name: content_of(one) for name, one in credentials.items()}
    return {name: "" if one is None else str(one) for name, one in contents.items()}


def credential_variables(credentials: Mapping[str, Any]) -> dict[str, str]:
    """The names of files by the variables that have their paths."""
    return {
        str(one["variable"]): name
        for name, one in credentials.items()
        if isinstance(one, Mapping) and one.get("variable")
    }


def credentials_wrong(credentials: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
    """What is wrong with them, none of their contents shown; `variables` are set elsewhere."""
    found = []
    asked: set[str] = set()
    for name, one in credentials.items():
        if "/" in str(name) or str(name) in ("", ".", ".."):
            found.append(f"{name}: it names a file, so it has no /")
        if not isinstance(one, Mapping):
            continue
        variable = str(one.get("variable") or "")
        if more := sorted(map(str, one.keys() - KEYS)):
            found.append(f"{name}: there is no {', '.join(more)}; it has content and variable")
        if one.get("content") is None:
            found.append(f"{name}: content is missing")
        if variable in variables:
            found.append(f"{name}: {variable} is set by app_environment or app_secrets too")
        if variable and variable in asked:
            found.append(f"{name}: {variable} has the path of another file already")
        asked.add(variable)
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "credential_contents": credential_contents,
            "credential_variables": credential_variables,
            "credentials_wrong": credentials_wrong,
        }
