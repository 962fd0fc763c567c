"""Write docs/settings.md from the roles' argument specs: `python3 scripts/settings_page.py`."""

from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parent.parent
ROLES = [
    *("app", "caddy", "postgresql", "backup", "base", "release", "uv", "upgrade", "monitoring"),
    *("cluster", "certificates"),
]
# Wired settings that make sense to set all the same.
OVERRIDDEN = {
    "monitoring_jobs",
    "monitoring_notify_mail",
    "monitoring_notify_urls",
    "app_databases",
    "postgresql_memory_share",
}
HEAD = """# Settings

Generated from the roles' argument specs by `scripts/settings_page.py`; a test keeps it true.

Set what you need in `inventory/<environment>/group_vars/servers/settings.yml`, secrets in
`vault.yml` beside it, and what differs on one host in `inventory/<environment>/host_vars/`.
A setting that is missing, mistyped, unknown or still `CHANGE-ME` is refused before the first change
on any host, all of them together, each with its file and line. The variables by which
`group_vars/all/wiring.yml` joins the roles are left out here, and so are those of the command line.
"""


def options(role: str) -> dict[str, dict[str, Any]]:
    """The settings of a role by name."""
    text = (PROJECT / "roles" / role / "meta/argument_specs.yml").read_text()
    return yaml.safe_load(text)["argument_specs"]["main"]["options"]


def row(name: str, option: dict[str, Any], computed: set[str]) -> str:
    described = option["description"]
    texts = [described] if isinstance(described, str) else described
    words = [text for text in texts if not text.startswith("Example: ")]
    examples = [text.removeprefix("Example: ") for text in texts if text.startswith("Example: ")]
    text = " ".join(words) + "".join(f" Example: `{example}`" for example in examples)
    if "choices" in option:
        text += " One of: " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
    if option.get("required"):
        default = "**required**"
    elif name in computed:
        default = "computed"
    else:
        written = yaml.safe_dump(option["default"], default_flow_style=True, width=10**6)
        default = f"`{written.removesuffix('...' + chr(10)).strip()}`"
    return f"| `{name}` | {option['type']} | {default} | {text} |".replace(
        "<app_name>", "*app_name*"
    )


def page() -> str:
    """The whole page."""
    wiring = yaml.safe_load((PROJECT / "group_vars/all/wiring.yml").read_text())
    wired = wiring.keys() - OVERRIDDEN
    parts = [HEAD]
    for role in ROLES:
        defaults = yaml.safe_load((PROJECT / "roles" / role / "defaults/main.yml").read_text())
        computed = {k for k, v in defaults.items() if isinstance(v, str) and "{{" in v} | OVERRIDDEN
        rows = [row(k, v, computed) for k, v in options(role).items() if k not in wired]
        parts.append(
            f"\n## {role}\n\n| setting | type | default | what it is for |\n|---|---|---|---|"
        )
        parts.extend(rows)
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    (PROJECT / "docs/settings.md").write_text(page())
