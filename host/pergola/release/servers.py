"""What serves a release: the environment that its slot's unit starts it with.

Whatever it is, systemd holds the slot's socket, so that releases are switched, drained and asked
for their health alike. Uvicorn, Hypercorn and many commands (Gunicorn's, for one) take that socket
over; Granian and all others listen elsewhere, and systemd's own proxy passes on what arrives.
"""

import re
import shlex
from pathlib import Path

from pergola.records import Manifest

# Pergola's own Uvicorn, with hashes: for a release whose lock has none.
OWN = Path(__file__).with_name("uvicorn.txt")
# Below the virtual environment; serve.py has Python look there last.
PLACE = "lib/pergola"
NOT_SIMPLE = re.compile(r"[;&|\n]")


def environment(manifest: Manifest, home: Path) -> dict[str, str]:
    """The variables that say how a release is served; none for one that is not."""
    if not manifest.web:
        return {}
    factory = manifest.asgi.endswith("()")
    options = [*(["--factory"] if factory else []), *manifest.uvicorn_options]
    variables = {
        "PERGOLA_ASGI": manifest.asgi.removesuffix("()"),
        "PERGOLA_FACTORY": "1" if factory else "",
        "PERGOLA_SERVER": manifest.server,
        "PERGOLA_SERVER_COMMAND": command(manifest, home / "lib/launcher"),
        "PERGOLA_UVICORN_OPTIONS": " ".join(options),
        "WEB_CONCURRENCY": str(manifest.workers),
    }
    if manifest.server == "command" and kind(manifest.server_command) != "port":
        # Uvicorn and Gunicorn read it: only Caddy can reach the socket.
        variables["FORWARDED_ALLOW_IPS"] = "*"
    return variables


def telemetry(manifest: Manifest, app: str) -> dict[str, str]:
    """How the release calls itself where Sentry and OpenTelemetry look, unless it is set."""
    named = f"service.version={manifest.id},service.name={app}"
    return {"SENTRY_RELEASE": manifest.id, "OTEL_RESOURCE_ATTRIBUTES": named}


def command(manifest: Manifest, launcher: Path) -> str:
    """The command that sh runs to serve a release; empty: Uvicorn, as the unit says."""
    server, options = manifest.server, shlex.join(manifest.server_options)
    workers, application = manifest.workers, "pergola_forwarded:app"
    found = f'PYTHONPATH="{launcher}/asgi${{PYTHONPATH:+:$PYTHONPATH}}"'
    if server == "hypercorn":
        return (
            f"exec env {found} hypercorn --bind fd://3 --workers {workers} --keep-alive 75 "
            f'--graceful-timeout "$PERGOLA_DRAIN_SECONDS" {options} {application}'
        )
    if server == "granian":
        serves = (
            f'exec env {found} granian --uds "$PERGOLA_SOCKET" --interface asgi --no-access-log '
            f"--workers {workers} --workers-kill-timeout "
            f'"$PERGOLA_DRAIN_SECONDS" {options} {application}'
        )
        return proxied("socket", serves, launcher)
    if server == "command":
        own = manifest.server_command.strip()
        # The socket is for the process that systemd started, and so is its SIGTERM: that must be
        # the server itself. Where there are several commands, one of them says `exec`.
        if not NOT_SIMPLE.search(own) and not own.startswith("exec "):
            own = f"exec env {own}"
        how = kind(own)
        return proxied(how, own, launcher) if how else own
    return ""


def kind(own: str) -> str:
    """On what a command listens by itself: port or socket; empty: on what it is given."""
    if re.search(r"\$\{?PORT\b", own):
        return "port"
    return "socket" if re.search(r"\$\{?PERGOLA_SOCKET\b", own) else ""


def proxied(how: str, own: str, launcher: Path) -> str:
    return f"exec /usr/bin/python3 -I {launcher}/proxied.py {how} {shlex.quote(own)}"


def has_uvicorn(venv: Path) -> bool:
    """Whether the release's own packages have it."""
    return any(venv.glob("lib/python3*/site-packages/uvicorn/__init__.py"))


def own_server(venv: Path) -> str:
    """Pergola's own that was installed beside them, with its version; empty: none was."""
    found = [path.name for path in (venv / PLACE).glob("uvicorn-*.dist-info")]
    return found[0].removesuffix(".dist-info").replace("-", " ") if found else ""
