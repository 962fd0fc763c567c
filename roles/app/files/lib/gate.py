#!/usr/bin/env python3
"""The gate, run by systemd as ExecStartPost of a slot: gate.py RUN_DIR COLOUR.

Exits 0 after consecutive good answers from the slot, 1 once its process is gone. systemd's
TimeoutStartSec= is the limit, so no clock is read here. The last answer is left in <colour>.answer
for the report of a refusal. It stands alone: a slot that starts again must not depend on a program
that a deploy is just replacing. It runs as root, so it takes nothing from the release's environment
or directory but the manifest, which root wrote.
"""

import http.client
import json
import os
import socket
import string
import sys
import time
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

READY_ANSWERS_IN_A_ROW = 2
LOOK_EVERY = 0.05
# A limit of requests by time counts the gate's as well: after some answers it asks less often.
MANY_ANSWERS, LOOK_SELDOM = 60, 1
MOST_REDIRECTS = 5
REDIRECTS = range(301, 309)
# An application that looks at its clients sees one, as with every request that Caddy passes on.
CLIENT = "127.0.0.1"
HOME = Path(__file__).resolve().parent.parent


def gate(run_dir: Path, colour: str) -> int:
    """Wait until the slot is ready.

    Several workers hang below a parent that starts dead ones again, for ever: the slot is given up
    when as many have died as there should be. What a command of the application's own starts and
    ends is its own affair.
    """
    manifest = json.loads((HOME / "slots" / colour / "release.json").read_text())
    # A release of an earlier Pergola says nothing of these.
    accepted = manifest.get("health_status") or ["200"]
    redirects = MOST_REDIRECTS if manifest.get("health_follow_redirects") else 0
    counted = manifest.get("server", "uvicorn") != "command"
    process = Path("/proc") / os.environ["MAINPID"]
    workers = int(manifest["workers"])
    seen: set[str] = set()
    answers = refusals = 0
    while True:
        status, text = followed(
            run_dir / f"{colour}.sock", manifest["health_path"], manifest["domain"], redirects
        )
        (run_dir / f"{colour}.answer").write_text(f"{status or ''} {text[:2000]}")
        answers = answers + 1 if is_good(status, accepted) else 0
        if answers == READY_ANSWERS_IN_A_ROW:
            return 0
        if answers == 0:
            refusals += status is not None
            time.sleep(LOOK_EVERY if refusals < MANY_ANSWERS else LOOK_SELDOM)
        try:
            children = set((process / "task" / process.name / "children").read_text().split())
        except FileNotFoundError:
            return 1
        seen |= children
        if counted and len(seen - children) >= workers:
            return 1


def is_good(status: int | None, accepted: list[str]) -> bool:
    """Whether a status is one of those accepted, each such as 204 or 2xx."""
    return any(str(status) == one.replace("xx", str(status)[1:]) for one in accepted)


def followed(address: Path, path: str, domain: str, redirects: int) -> tuple[int | None, str]:
    """GET a path, and where its redirects lead on the same site; at most so many."""
    status, text, location = ask(address, path, domain)
    while redirects and status in REDIRECTS and location:
        try:
            there = urlsplit(urljoin(f"https://{domain}{path}", location))
        except ValueError:  # no address
            break
        if there.hostname != domain:
            break
        redirects -= 1
        query = f"?{there.query}" if there.query else ""
        # As browsers do with what should have been quoted.
        path = quote((there.path or "/") + query, safe=string.punctuation, encoding="latin-1")
        status, text, location = ask(address, path, domain)
    return status, text if status not in REDIRECTS else f"-> {location} {text}"


def ask(address: Path, path: str, domain: str) -> tuple[int | None, str, str]:
    """GET a path over a unix socket as Caddy does: (status, body, where it redirects to).

    Without an answer: (None, what went wrong, "").
    """
    connection = http.client.HTTPConnection("localhost", timeout=2)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(2)
    headers = {
        "Host": domain,
        "User-Agent": "pergola-gate",
        "X-Forwarded-For": CLIENT,
        "X-Forwarded-Host": domain,
        "X-Forwarded-Proto": "https",
    }
    try:
        connection.sock.connect(str(address))
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(4096).decode(errors="replace")
        return answer.status, body, answer.headers.get("Location", "")
    except (OSError, http.client.HTTPException) as error:
        return None, f"no answer to GET {path}: {error}", ""
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(gate(Path(sys.argv[1]), sys.argv[2]))
