"""Files of hosts: what Ansible would pass over in them, with the line and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import yaml
from ansible.plugins.loader import become_loader, connection_loader

from pergola_control.command.known import meant_by, names_of_ansible

SECTIONS = ("vars", "children", "hosts")
Node = object  # one of PyYAML's, which have the place of everything


def pairs(node: Node) -> Iterator[tuple[str, int, Node]]:
    """The keys of a mapping, each with its line and its value; none of another node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key.start_mark.line + 1, value


def wrong_group(name: str, node: Node, known: set[str]) -> Iterator[tuple[int, str]]:
    """The lines of a group that Ansible would not take as they are meant, each with what to do."""
    for key, line, value in pairs(node):
        if key not in SECTIONS:
            meant = difflib.get_close_matches(key, SECTIONS, n=1, cutoff=0.6)
            hint = (
                "a group inside it stands below `children:`, and a host below `hosts:`: indent "
                f"`{key}` like those"
            )
            hint = f"did you mean {meant[0]}?" if meant else hint
            yield line, f"a group has only {', '.join(SECTIONS)}, and {name} has {key}: {hint}"
        elif isinstance(value, yaml.SequenceNode):
            yield line, f"{key} of {name} is a list: write `name:` for each, without the hyphen"
        elif key == "children":
            for child, _, inside in pairs(value):
                yield from wrong_group(child, inside, known)
        elif key == "hosts":
            for host, _, inside in pairs(value):
                yield from wrong_variables(host, inside, known)
        else:
            yield from wrong_variables(name, value, known)


def wrong_variables(whose: str, node: Node, known: set[str]) -> Iterator[tuple[int, str]]:
    """Ansible's own variables that are none, but nearly."""
    for name, line, _ in pairs(node):
        if meant := meant_by(name, known):
            yield line, f"{name} of {whose} is not a variable; did you mean {meant}?"


def wrong_hosts(text: str, known: set[str]) -> Iterator[tuple[int, str]]:
    """What is wrong with a file of hosts that is valid YAML."""
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    if not any(key == "plugin" for key, _, _ in pairs(top)):  # that has its hosts from elsewhere
        for name, _, node in pairs(top):
            yield from wrong_group(name, node, known)


def names_known() -> set[str]:
    """Ansible's own variables of hosts, those of connections among them."""
    connection_loader.get("ssh", class_only=True)
    become_loader.get("sudo", class_only=True)
    return names_of_ansible()
