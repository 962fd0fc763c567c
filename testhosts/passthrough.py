"""Settings of this machine's network that its test hosts need as well.

Proxies, private certificate authorities and package indexes are facts of the network, not of
the project: without them a host behind a company's proxy could install nothing.
"""

import configparser
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

CA_FOLDER = Path("/usr/local/share/ca-certificates")
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")
INDEX_VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
)

# Only keys without a path of this machine's own; Proxy:: may carry a host name behind it.
APT_KEYS = re.compile(
    r"Acquire::(Check-Valid-Until|Check-Date|Max-ValidTime|Retries|ForceIPv[46]"
    r"|https?::(Proxy(::.+)?|Timeout|Pipeline-Depth|No-Cache|No-Store))$"
)
APT_CA_KEYS = re.compile(r"Acquire::https(::.+)?::CAInfo$")


def proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables, in the lower case that every program reads."""
    found = {}
    for name in PROXY_VARIABLES:
        value = environment.get(name) or environment.get(name.upper())
        if value:
            found[name] = value
    return found


def apt_options(dump: str, proxy: Mapping[str, str]) -> list[str]:
    """Return the options to hand on from the text of `apt-config dump`, ready for apt.conf."""
    options = {
        key: value
        for key, value in re.findall(r'^([\w:.-]+) "(.+)";$', dump, re.MULTILINE)
        # Of CA files only the system's bundle has the same path and content on the hosts.
        if APT_KEYS.match(key) or (APT_CA_KEYS.match(key) and value == CA_BUNDLE)
    }
    for scheme in ("http", "https"):
        # sudo drops the environment, so apt needs the proxy in its own configuration.
        if f"{scheme}_proxy" in proxy:
            options.setdefault(f"Acquire::{scheme}::Proxy", proxy[f"{scheme}_proxy"])
    return [f'{key} "{value}"' for key, value in sorted(options.items())]


def authorities(folder: Path = CA_FOLDER) -> dict[str, str]:
    """Return name and PEM text of the certificate authorities that this machine adds."""
    found = {}
    for file in sorted(folder.rglob("*.crt")):
        # Flat names that stay apart: a folder below becomes part of the name.
        name = "-".join(file.relative_to(folder).parts)
        found[name] = file.read_text(errors="replace")
    return found


def remote_urls(text: str) -> list[str]:
    """Return the http(s) URLs of a blank-separated list; file: ones exist on this machine only."""
    return [word for word in text.split() if re.match(r"(?:[\w-]+=)?https?://", word)]


def pip_settings(environment: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """Return pip's index settings; the environment wins over `files`, a later over an earlier."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read(files)
    settings = {}
    for option in ("index-url", "extra-index-url", "trusted-host"):
        value = environment.get(f"PIP_{option.upper().replace('-', '_')}") or parser.get(
            "global", option, fallback=""
        )
        kept = value.split() if option == "trusted-host" else remote_urls(value)
        if kept:
            settings[option] = " ".join(kept)
    return settings


def render_pip(settings: Mapping[str, str], *, private_ca: bool) -> str:
    """Return the hosts' /etc/pip.conf, or nothing if there is nothing to say."""
    lines = [f"{option} = {value}" for option, value in settings.items()]
    if private_ca:
        lines.append(f"cert = {CA_BUNDLE}")
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def uv_indexes(
    environment: Mapping[str, str], files: Iterable[Path], pip: Mapping[str, str]
) -> tuple[str | None, list[str]]:
    """Return uv's default index and its further ones; uv's own settings win over pip's."""
    default: str | None = None
    further: list[str] = []
    for file in files:
        if not file.exists():
            continue
        table = tomllib.loads(file.read_text())
        default = table.get("index-url") or default
        further = table.get("extra-index-url") or further
        for index in table.get("index", []):
            if index.get("default"):
                default = index["url"]
            else:
                further = [*further, index["url"]]
    default = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL") or default
    extra = environment.get("UV_INDEX") or environment.get("UV_EXTRA_INDEX_URL")
    defaults = remote_urls(default or pip.get("index-url", ""))
    return (
        defaults[0] if defaults else None,
        remote_urls(extra or " ".join(further) or pip.get("extra-index-url", "")),
    )


def render_uv(default: str | None, further: Iterable[str], *, private_ca: bool) -> str:
    """Return the hosts' /etc/uv/uv.toml, or nothing if there is nothing to say."""
    parts = ["system-certs = true\n"] if private_ca else []
    for index in further:
        name, _, url = ("", "", index) if index.startswith("http") else index.partition("=")
        parts.append("[[index]]\n" + (f'name = "{name}"\n' if name else "") + f'url = "{url}"\n')
    if default:
        parts.append(f'[[index]]\nurl = "{default}"\ndefault = true\n')
    return "\n".join(parts)
