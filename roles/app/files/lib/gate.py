#!/usr/bin/env python3
"""The gate, run by systemd as ExecStartPost of a slot: gate.py RUN_DIR COLOUR.

Exits 0 after consecutive answers 200 from the slot, 1 once its process is gone. systemd's
TimeoutStartSec= is the limit, so no clock is read here. The last answer is left in <colour>.answer
for the report of a refusal. It stands alone: a slot that starts again must not depend on a program
that a deploy is just replacing. It runs as root, so it takes nothing from the release's environment
or directory but the manifest, which root wrote.
"""

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path

READY_ANSWERS_IN_A_ROW = 2
LOOK_EVERY = 0.05
HOME = Path(__file__).resolve().parent.parent


def gate(run_dir: Path, colour: str) -> int:
    """Wait until the slot is ready.

    Several workers hang below a parent that starts dead ones again, for ever: the slot is given up
    when as many have died as there should be.
    """
    manifest = json.loads((HOME / "slots" / colour / "release.json").read_text())
    path, domain = manifest["health_path"], manifest["domain"]
    process = Path("/proc") / os.environ["MAINPID"]
    workers = int(manifest["workers"])
    seen: set[str] = set()
    answers = 0
    while True:
        status, text = ask(run_dir / f"{colour}.sock", path, domain)
        (run_dir / f"{colour}.answer").write_text(f"{status or ''} {text[:2000]}")
        answers = answers + 1 if status == http.HTTPStatus.OK else 0
        if answers == READY_ANSWERS_IN_A_ROW:
            return 0
        if answers == 0:
            time.sleep(LOOK_EVERY)
        try:
            children = set((process / "task" / process.name / "children").read_text().split())
        except FileNotFoundError:
            return 1
        seen |= children
        if len(seen - children) >= workers:
            return 1


def ask(address: Path, path: str, domain: str) -> tuple[int | None, str]:
    """GET a path over a unix socket: (status, body), or (None, what went wrong)."""
    connection = http.client.HTTPConnection("localhost", timeout=2)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(2)
    try:
        connection.sock.connect(str(address))
        connection.request("GET", path, headers={"Host": domain, "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return None, f"no answer to GET {path}: {error}"
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(gate(Path(sys.argv[1]), sys.argv[2]))
