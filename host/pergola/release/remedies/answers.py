"""What is around it: ports, the database, its answer, how it ended."""

import re
from collections.abc import Iterator

from pergola.records import accepts
from pergola.release.remedies.denied import BIND
from pergola.release.remedies.seen import Seen

PORT_TAKEN = re.compile(
    rf"\[Errno 98\][^\n]*?{BIND}|Connection in use: \('[^']*', (\d+)\)|Address already in use",
    re.IGNORECASE,
)
NO_DATABASE = re.compile(
    r"Connect call failed \('(?:127\.0\.0\.1|::1)', 5432"
    r"|connection to server at \"[^\"]*\" \((?:127\.0\.0\.1|::1)\), port 5432 failed"
)
# What an application answers at a path that it does not have, or not for everybody.
NO_HEALTH_PATH = re.compile(r"3\d\d |40[1345] ")


def taken_port(seen: Seen) -> Iterator[str]:
    for found in PORT_TAKEN.finditer(seen.lines):
        port = found[1] or found[2]
        which = f"the port {port}" if port else "a port"
        yield (
            f"{which} is taken, perhaps by the release that serves: both run beside each other "
            "until the switch, so let it choose another one (port 0), or open it in one of "
            "app_processes"
        )


def database_elsewhere(seen: Seen) -> Iterator[str]:
    # With a password it is PostgreSQL's own affair, or another server's.
    if NO_DATABASE.search(seen.lines) and "PGPASSWORD" not in seen.manifest.environment_names:
        name = seen.home.name
        yield (
            "Setting: app_database_tcp: it looks for PostgreSQL at localhost, which listens on its "
            f"socket alone: postgresql:///{name}?host=/run/postgresql is its URL. Where the driver "
            "knows no sockets, set app_database_tcp: true (see The database in "
            "docs/your-application.md)"
        )


def wrong_answer(seen: Seen) -> Iterator[str]:
    manifest, status = seen.manifest, seen.answer[:3]
    refuses_name = "Invalid host header" in seen.answer or "ALLOWED_HOSTS" in seen.lines
    if status == "400" and refuses_name:
        yield (
            f"it refuses the name {manifest.domain}: its list of allowed hosts (ALLOWED_HOSTS, "
            "TrustedHostMiddleware) must have that of app_domain"
        )
    elif NO_HEALTH_PATH.match(seen.answer):
        follow = ", or set app_health_follow_redirects: true" if status.startswith("3") else ""
        yield (
            f"Setting: app_health_path: the release answers {status} at '{manifest.health_path}'; "
            f"name a path that answers {' or '.join(manifest.health_status)} when it is "
            f"ready{follow}"
        )
    elif status.startswith("2") and not accepts(manifest.health_status, status):
        yield (
            f"Setting: app_health_status: the release answers {status} at "
            f"'{manifest.health_path}'; app_health_status: [{status}] accepts it"
        )


def ended_by_system(seen: Seen) -> Iterator[str]:
    if "Result=oom-kill" in seen.result:
        yield "Setting: app_memory_max: it took more memory than that, or the server had no more"
    elif "Result=timeout" in seen.result and not seen.answer[:1].isdigit():
        yield (
            "Setting: app_start_timeout_seconds: it was still starting when these seconds were "
            "over; if it needs more, raise them"
        )
