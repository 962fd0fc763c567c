"""Ansible module: what a server had that a run would overwrite, cut or fight with."""

from __future__ import annotations

import os
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.server_life import database, files, network, packages, sites, sockets
from ansible.module_utils.server_life.finding import Finding

DOCUMENTATION = r"""
---
module: server_life
short_description: Name what a run would overwrite, cut or fight with on this server
description:
  - It reads, changes nothing, and also runs in check mode.
  - A server that only Pergola has made has no findings.
options:
  inventory: {description: Whose run it is., type: str, required: true}
  firewall: {description: The firewall is Pergola's., type: bool, default: false}
  ssh:
    description: TCP ports of SSH; empty, those that are seen.
    type: list
    elements: int
    default: []
  tcp: {description: TCP ports that stay open., type: list, elements: int, default: []}
  udp: {description: UDP ports that stay open., type: list, elements: int, default: []}
  protocol: {description: The same for IP protocols., type: list, elements: int, default: []}
  peers:
    description: TCP ports that are open to some addresses only, each with port and from.
    type: list
    elements: dict
    default: []
  limited:
    description: Those of them whose limit is a person's choice.
    type: list
    elements: int
    default: []
  web: {description: Caddy serves a site here., type: bool, default: false}
  site: {description: The name of its file., type: str, default: ""}
  identity: {description: Which inventory it is., type: str, default: ""}
  domains: {description: The site's names., type: list, elements: str, default: []}
  files:
    description: Files that are written, each with path, and name, way and adoptable where needed.
    type: list
    elements: dict
    default: []
  packages: {description: What is installed., type: list, elements: str, default: []}
  units: {description: Units with a drop-in., type: list, elements: str, default: []}
  updates: {description: Settings of apt by name., type: dict, default: {}}
  journal: {description: Settings of the journal by name., type: dict, default: {}}
  postgresql:
    description: What PostgreSQL would be told (version, settings); empty, none here.
    type: dict
    default: {}
"""

RETURN = r"""
findings:
  description: Each with name, what, way, adoptable, path.
  returned: always
  type: list
ssh: {description: TCP ports by which SSH is reached., returned: always, type: list}
others: {description: What other inventories of the server let in., returned: always, type: dict}
time_daemon: {description: The package that keeps the clock., returned: always, type: str}
timezone: {description: The time zone., returned: always, type: str}
locale: {description: The locale that somebody chose., returned: always, type: str}
"""

LISTS = ("ssh", "tcp", "udp", "protocol")
INTS = {"type": "list", "elements": "int", "default": []}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "inventory": {"type": "str", "required": True},
            "firewall": {"type": "bool", "default": False},
            **dict.fromkeys(LISTS, INTS),
            "peers": {"type": "list", "elements": "dict", "default": []},
            "limited": INTS,
            "web": {"type": "bool", "default": False},
            "site": {"type": "str", "default": ""},
            "identity": {"type": "str", "default": ""},
            "domains": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "dict", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "updates": {"type": "dict", "default": {}},
            "journal": {"type": "dict", "default": {}},
            "postgresql": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    there = sockets.listeners()
    seen = sockets.ssh_ports(os.getpid(), there)
    own, others = network.notes(wanted["inventory"])
    installed = packages.installed()
    daemon = packages.time_daemon(installed)

    found: list[Finding] = []
    around = network.seen()
    if wanted["firewall"]:
        after = {**wanted, "ssh": wanted["ssh"] or seen}
        answering = [*there, *network.bare_protocols()]
        found += network.cut(around, answering, after, own, others)
        found += network.ufw()
    if wanted["web"]:
        found += network.in_the_way(there)
        web = [port for port in wanted["tcp"] if port in network.WEB["tcp"]]
        found += network.visitors(around, web)
        found += sites.found(wanted["site"], wanted["domains"])
        found += sites.taken(wanted["site"], wanted["domains"], wanted["identity"], own)
    found += files.found(wanted["files"])
    found += files.units(wanted["units"])
    found += packages.removed(wanted["packages"], installed)
    found += packages.updates(wanted["updates"])
    found += packages.journal(wanted["journal"])
    if wanted["postgresql"]:
        of = wanted["postgresql"]
        found += database.found(int(of["version"]), of["settings"])

    merged: dict[str, Finding] = {}
    for one in found:  # one name, one yes
        before = merged.get(one.name)
        if before and one.what not in before.what:
            one = replace(one, what=f"{before.what}; {one.what}")
        merged[one.name] = one
    module.exit_json(
        changed=False,
        findings=[vars(one) for one in merged.values()],
        ssh=seen,
        others=others,
        time_daemon=daemon,
        timezone=packages.timezone(),
        locale=packages.locale(),
    )


if __name__ == "__main__":
    main()
