"""Certificates as the control node signs them, for the tests of those who take them."""

from __future__ import annotations

import datetime
import grp
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "control"))

from pergola.certificates import order
from pergola.certificates.request import Asked, request
from pergola.certificates.take import Taken, take
from pergola_control.certificates import authorities, signing

# Root may give a file to any group, others to their own.
GROUP = "daemon" if os.geteuid() == 0 else grp.getgrgid(os.getegid()).gr_name
NOW = datetime.datetime.now(datetime.UTC)
HOST = {
    "name": "host",
    "trust": "members",
    "common_name": "db1",
    "addresses": ["127.0.0.1", "db1", "fd00::1"],
    "group": GROUP,
}
APP = {
    "name": "linkboard",
    "trust": "clients",
    "common_name": "linkboard",
    "addresses": [],
    "group": GROUP,
}


def days(count: float) -> datetime.timedelta:
    return datetime.timedelta(days=count)


class Node:
    """A control node: its authorities, and what it wants of the host."""

    def __init__(
        self,
        environment: str = "prod",
        text: str = "",
        wanted: Iterable[Mapping[str, object]] = (HOST, APP),
    ) -> None:
        self.text = text or authorities.made(environment, NOW - days(1000))
        self.wanted = list(wanted)

    @property
    def authorities(self) -> authorities.Authorities:
        return authorities.read(self.text, "authorities.pem")

    def order(self, **signed: str) -> order.Order:
        document = {
            "certificates": self.wanted,
            "authorities": self.authorities.bundles(),
            "signed": signed,
        }
        return order.checked(order.ORDER.parse(json.dumps(document), "the order"))

    def ask(self, only_look: bool = False, replace: bool = False) -> Asked:
        return request(self.order(), only_look, replace)

    def sign(
        self,
        requests: Mapping[str, str],
        now: datetime.datetime = NOW,
        **others: Mapping[str, object],
    ) -> dict[str, str]:
        """What it sends back; `others`: wanted by these instead, by name."""
        wanted = {one["name"]: one for one in self.wanted} | others
        return {
            name: signing.sign(self.authorities, signing.Wanted.of(wanted[name]), text, now)
            for name, text in requests.items()
        }

    def take(self, replace: bool = False, **signed: str) -> Taken:
        return take(self.order(**signed), replace)

    def bring(self, now: datetime.datetime = NOW, replace: bool = False) -> Asked:
        """Both steps; what was asked for."""
        asked = self.ask(replace=replace)
        self.take(replace, **self.sign(asked.requests, now))
        return asked
