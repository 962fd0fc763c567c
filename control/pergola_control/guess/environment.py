"""app_environment and app_secrets: what an application needs, and what each value can be."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from pergola_control.guess.variables import Variable, value_of
from pergola_control.programs import CREDENTIALS
from pergola_control.settings.placeholder import PLACEHOLDER

# What is the site's own name.
DOMAIN = re.compile(
    r"((APP|DJANGO|PUBLIC|SERVER|SITE|WEB)_)?"
    r"(ALLOWED_HOSTS?|DOMAIN|HOSTNAME|SERVER_NAME|VIRTUAL_HOST)"
)
# A password, or a token, within a value.
PASSWORD = re.compile(rf"{CREDENTIALS.pattern}|\b(password|passwd|pwd)=\S", re.IGNORECASE)
# What signs sessions: without it the value is a known one, or another in each process.
SIGNS = re.compile(r"((APP|AUTH|DJANGO|FLASK|JWT|SESSION)_)?SECRET(_KEY)?")
# What shows visitors the code where something fails; what is the contrary of a word for it.
DEBUG = re.compile(r"(\w+_)?DEBUG")
OFF = {"true": "false", "1": "0", "yes": "no", "on": "off", "y": "n", "t": "f"}


@dataclass
class Environment:
    """`plain` and `secret`: values by names. `said`: (where each was seen, what it is).

    `vault`: what a try has in place of the vault. `to_fill_in`: those without a value.
    """

    plain: dict[str, str] = field(default_factory=dict)
    secret: dict[str, str] = field(default_factory=dict)
    said: dict[str, tuple[str, str]] = field(default_factory=dict)
    vault: dict[str, str] = field(default_factory=dict)
    to_fill_in: dict[str, str] = field(default_factory=dict)
    optional: list[str] = field(default_factory=list)


def environment(
    wanted: Mapping[str, Variable],
    known: Mapping[str, tuple[str, str]],
    connects: Mapping[str, str],
) -> Environment:
    """What is set for the variables that an application reads; `connects`: of its database."""
    found = Environment()
    for name, one in wanted.items():
        if name in connects:
            found.plain[name] = connects[name]
            found.said[name] = one.where, "the database"
        elif off := switched_off(one, known):
            found.plain[name] = off
            found.said[name] = one.where, "off, as servers need it"
        elif not one.is_needed and not SIGNS.fullmatch(name):
            found.optional.append(name)
        elif one.is_secret or PASSWORD.search(value_of(name, known)):
            add_secret(found, one, known)
        else:
            add_plain(found, one, known)
    return found


def switched_off(one: Variable, known: Mapping[str, tuple[str, str]]) -> str:
    """What switches a variable such as DEBUG off, as its code writes it; "" if it is off."""
    default = one.default or (value_of(one.name, known) or "True" if one.is_needed else "")
    off = OFF.get(default.lower(), "") if DEBUG.fullmatch(one.name) else ""
    return off.upper() if default.isupper() else off.title() if default.istitle() else off


def add_secret(found: Environment, one: Variable, known: Mapping[str, tuple[str, str]]) -> None:
    """A secret comes from the vault; a try makes one, or takes the example's."""
    vaulted = f"vault_{one.name.lower()}"
    found.secret[one.name] = f"{{{{ {vaulted} }}}}"
    found.said[one.name] = one.where, "a secret"
    found.vault[vaulted] = value_of(one.name, known) or secrets.token_urlsafe(32)


def add_plain(found: Environment, one: Variable, known: Mapping[str, tuple[str, str]]) -> None:
    """A value that an example has, or one to fill in."""
    name = one.name
    if value := value_of(name, known):
        found.plain[name] = value
        found.said[name] = one.where, f"a value of {known[name][1]}"
    elif DOMAIN.fullmatch(name):
        found.plain[name] = "{{ app_domain }}"
        found.said[name] = one.where, "the site's name"
    else:
        found.plain[name] = PLACEHOLDER
        found.said[name] = one.where, "needed"
        found.to_fill_in[name] = one.where
