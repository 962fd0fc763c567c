"""The command line. Exits 0, 1 when it could not look, 2 when something is critical."""

import argparse
import json
import os
import sys

from pergola.documents import plain
from pergola.errors import PergolaError
from pergola.status import advance, config, gather, report, store
from pergola.status.config import Config
from pergola.status.look import CRITICAL, RANK
from pergola.status.report import Status


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pergola-status",
        description="How this server is right now: what is wrong, what is live, the jobs. "
        "Exits 2 when something is critical.",
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--json", action="store_true", help="the same for programs")
    one.add_argument("--facts", action="store_true", help="what was seen, before it is judged")
    one.add_argument("--drift", action="store_true", help="(Ansible) only what is not as it is set")
    one.add_argument(
        "--watch",
        action="store_true",
        help="(pergola-monitoring.timer) remember, tell of changes, write status.json and metrics",
    )
    return parser.parse_args()


def drifted(status: Status) -> list[str]:
    """What is not as it is set, a line each; what shuts visitors out is set nowhere either."""
    return [
        f"{one.name.removeprefix('drift ')}: {one.says}"
        for one in status.checks
        if one.name.startswith(("drift", "firewall")) and RANK[one.state]
    ]


def show(options: argparse.Namespace, settings: Config) -> int:
    """Look once, without remembering it, and print what was asked for."""
    known = store.remembered()
    seen = gather.gather(known, settings)
    if options.facts:
        print(json.dumps(plain(seen), indent=1))
        return 0
    seen.reserve = known.reserve
    known = advance.advanced(known, seen, settings.jobs)
    status = report.of_moment(seen, known.reported, report.found(settings, known, seen))
    if options.drift:
        print("\n".join(drifted(status)))
        return 0
    # The timer's looks need none of this.
    from pergola.status import files, page

    answer = report.Page(
        **vars(status),
        system=page.system(),
        releases=page.releases(),
        files=files.seen(settings.sites),
    )
    if options.json:
        print(report.PAGE.text(answer, indent=1), end="")
    else:
        print(page.page(answer, seen.results or {}))
    return 2 if answer.state == CRITICAL else 0


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("run me as root: sudo pergola-status", file=sys.stderr)
        return 1
    try:
        settings = config.read()
    except (PergolaError, OSError) as error:
        print(f"<2>{error}" if options.watch else error, file=sys.stderr)
        return 1
    if options.drift and not config.is_there():  # a bare host, which a run in check mode looks at
        return 0
    if not options.watch:
        return show(options, settings)
    from pergola.status import timer

    timer.look(settings)
    return 0
