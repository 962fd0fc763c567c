"""Settings of an application's site as Caddy wants them, and what is wrong with them.

A value goes into a line of Caddy's configuration, so each is compared with the form that it must
have. What is wrong is said as texts that begin with the setting's name; nothing: an empty list.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"(?=.{{1,253}}$)({LABEL}[.])+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?")
# Registries have them as letters of their own, Python's `idna` as others: it would be another name.
AMBIGUOUS = "ßς\u200c\u200d"
PATH = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@%/-]*[*]?")
TARGET = re.compile(r"(/|https?://)([^\s\"`{}\\]|[{](uri|path|query)[}])*")
STATUSES = (301, 302, 303, 307, 308)
HEADER = re.compile(r"[A-Za-z0-9-]+")
# As Caddy reads sizes: MB are millions, MiB are powers of two.
SIZE = re.compile(r"(\d+(?:[.]\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
# What Caddy's configuration is made of: a text in quotes, one that ends with its own mark, a
# comment, a word.
TOKEN = re.compile(
    r"""(?P<quoted>"(?:\\.|[^"\\])*"|`[^`]*`)
    | <<(?P<mark>[\w-]+)\n(?:.*\n)*?[ \t]*(?P=mark)(?!\S)
    | \#.*
    | \S+""",
    re.VERBOSE,
)
LIMITS = {"max_body_size", "response_header_seconds"}


def domain(name: str) -> str:
    """A name as DNS has it: small letters, no dot at its end, Punycode for other letters."""
    plain = str(name).removesuffix(".").lower()
    try:
        return plain if plain.isascii() else plain.encode("idna").decode()
    except UnicodeError:
        return plain


def domain_wrong(name: object, setting: str) -> str:
    """Why it is no name of a site."""
    shown = f"{setting} '{name}'"
    if not isinstance(name, str):
        return f"{shown} must be a text"
    if name.startswith("*."):
        return (
            f"{shown}: a wildcard's certificate takes a DNS challenge, for which Caddy as it is "
            "packaged has no module. List the names in app_domain_aliases"
        )
    if any(letter in name for letter in AMBIGUOUS):
        return f"{shown}: write it as DNS has it, in Punycode (xn--…)"
    if NAME.fullmatch(domain(name)):
        return ""
    host, _, port = name.rpartition(":")
    if port.isdigit() and NAME.fullmatch(domain(host)):
        return f"{shown}: leave the port out; a site answers on 80 and 443"
    return f"{shown} is no DNS name; example: www.example.org (no https://, no path)"


def domains_wrong(main: str, others: Mapping[str, Sequence[object]]) -> list[str]:
    """What is wrong with the other names of a site, by their settings; none may be twice."""
    found, known = [], {domain(main): "app_domain"}
    for setting, names in others.items():
        for name in names:
            if wrong := domain_wrong(name, setting):
                found.append(wrong)
            elif before := known.get(domain(str(name))):
                found.append(f"{setting} '{name}' is in {before} already")
            else:
                known[domain(str(name))] = setting
    return found


def size_bytes(size: object) -> int:
    """Bytes of a size such as 10MB, as Caddy reads it; -1: it is none."""
    found = SIZE.fullmatch(str(size).strip())
    if not found:
        return -1
    number, unit, binary = found.groups()
    power = " kmgt".index(unit.lower()) if unit else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


def size_wrong(size: object, setting: str) -> str:
    return "" if size_bytes(size) >= 0 else f"{setting} '{size}' is no size; example: 10MB"


def is_path(path: object) -> bool:
    """A path of a site, all below it where it ends in *."""
    return isinstance(path, str) and bool(PATH.fullmatch(path))


def limits_wrong(limits: Mapping[object, object]) -> Iterator[str]:
    for path, values in limits.items():
        where = f"app_limits: {path}"
        if not is_path(path):
            yield f"{where} is no path; examples: /upload, and /api/* for all below it"
        elif not isinstance(values, Mapping) or not values or set(values) - LIMITS:
            yield f"{where}: what can be set is {', '.join(sorted(LIMITS))}"
        else:
            yield from filter(
                None, [size_wrong(values.get("max_body_size", "0"), f"{where}: max_body_size")]
            )
            if not re.fullmatch(r"[1-9]\d*", str(values.get("response_header_seconds", 1))):
                yield f"{where}: response_header_seconds must be a number of seconds"


def limits(paths: Mapping[str, Mapping[str, Any]], size: str, seconds: int) -> list[dict[str, Any]]:
    """The limits of each path, and last those of all others, without one."""
    usual = {"max_body_size": size, "response_header_seconds": seconds}
    each = [{"path": path, **usual, **values} for path, values in paths.items()]
    return [*each, {"path": "", **usual}]


def redirects(wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From where, to where and how: 301 unless it is said."""
    return [
        {"from": path, "status": 301, **(to if isinstance(to, Mapping) else {"to": to})}
        for path, to in wanted.items()
    ]


def redirects_wrong(wanted: Mapping[object, object]) -> Iterator[str]:
    for path, target in wanted.items():
        where = f"app_redirects: {path}"
        if isinstance(target, Mapping) and set(target) - {"to", "status"}:
            yield f"{where}: what can be set is to, status"
            continue
        (one,) = redirects({str(path): target})
        to = str(one.get("to", ""))
        if not is_path(path):
            yield f"{where} is no path; examples: /old, and /docs/* for all below it"
        elif not TARGET.fullmatch(to):
            yield (
                f"{where} leads to '{to}', which is no path and no URL; examples: /new, "
                "https://docs.example.org{path} ({uri}, {path} and {query} are the request's)"
            )
        elif one["status"] not in STATUSES:
            yield f"{where}: status {one['status']} is none of {', '.join(map(str, STATUSES))}"
        elif to == path or (to.startswith("/") and str(path).endswith("*") and below(to, path)):
            yield f"{where} leads to {to}, which is redirected again, for ever"


def below(target: str, path: object) -> bool:
    return target.startswith(str(path).removesuffix("*"))


def headers_changed(headers: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, str]:
    """Headers with some changed; one without a value is left out. Capitals make no other name."""
    changed = {name.lower() for name in changes}
    rest = {name: value for name, value in headers.items() if name.lower() not in changed}
    return {name: str(value) for name, value in {**rest, **changes}.items() if value is not None}


def headers_wrong(headers: Mapping[object, object], setting: str) -> Iterator[str]:
    for name, value in headers.items():
        if not HEADER.fullmatch(str(name)):
            yield f"{setting}: '{name}' is no name of a header"
        elif value is not None and (not isinstance(value, str) or not value.isprintable()):
            yield f"{setting}: {name} must be a text of one line"
        elif value is not None and "\\" in str(value):
            yield f"{setting}: {name}: a \\ would change what Caddy reads; leave it out"


def quoted(value: object) -> str:
    """A value as one word of Caddy's configuration."""
    return '"' + str(value).replace('"', '\\"') + '"'


def networks(names: Sequence[str], known: Mapping[str, Sequence[str]]) -> list[str]:
    """Networks, those that have a name by their addresses."""
    return [one for name in names for one in known.get(name, [name])]


def networks_wrong(names: Sequence[object], known: Mapping[str, object]) -> Iterator[str]:
    for name in names:
        if name in known:
            continue
        try:
            found = ipaddress.ip_network(str(name))
        except ValueError:
            yield (
                f"app_trusted_proxies: '{name}' is no network; examples: 10.0.0.0/8, "
                f"{', '.join(known)}"
            )
            continue
        if found.prefixlen == 0:
            yield f"app_trusted_proxies: {name} is everybody, who could claim any address"


def snippet_wrong(text: str) -> str:
    """Why a piece of configuration does not stay within the site: its braces."""
    depth = 0
    for token in TOKEN.finditer(text):
        where = f"app_caddy_extra, line {text.count(chr(10), 0, token.start()) + 1}"
        if token[0].startswith(('"', "`")) and not token["quoted"]:
            return f"{where}: this {token[0][0]} is not closed"
        # To Caddy a brace alone is one in quotes as well.
        word = token["quoted"][1:-1] if token["quoted"] else token[0]
        depth += {"{": 1, "}": -1}.get(word, 0)
        if depth < 0:
            return f"{where}: this }} closes nothing"
    return "app_caddy_extra: a { is not closed" if depth else ""


def accounts_wrong(accounts: Mapping[object, object]) -> Iterator[str]:
    """No password is shown."""
    for name, password in accounts.items():
        if not isinstance(name, str) or not name or ":" in name or not name.isprintable():
            yield f"app_basic_auth: '{name}' is no name: it must be a text without a colon"
        elif not isinstance(password, str) or not password.strip():
            yield f"app_basic_auth: the password of {name} must be a text"
        elif re.match(r"[$]2[aby][$]\d\d[$]", password):
            yield f"app_basic_auth: {name} has a hash; give the password itself, from the vault"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "domain": domain,
            "domain_wrong": domain_wrong,
            "domains_wrong": domains_wrong,
            "site_accounts_wrong": listed(accounts_wrong),
            "site_headers": headers_changed,
            "site_headers_wrong": listed(headers_wrong),
            "site_limits": limits,
            "site_limits_wrong": listed(limits_wrong),
            "site_networks": networks,
            "site_networks_wrong": listed(networks_wrong),
            "site_quoted": quoted,
            "site_redirects": redirects,
            "site_redirects_wrong": listed(redirects_wrong),
            "site_snippet_wrong": snippet_wrong,
            "size_bytes": size_bytes,
            "size_wrong": size_wrong,
        }


def listed(found: Any) -> Any:  # noqa: ANN401
    """A function that gives its texts as a list, which a template takes."""
    return lambda *given: list(found(*given))
