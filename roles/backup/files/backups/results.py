"""What became of each job, for monitoring and people: /var/lib/pergola/results/<job>.json."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backups.system import STATE, BackupError, now, write

RESULTS = STATE / "results"


@contextmanager
def recorded(job: str, **more: object) -> Iterator[dict[str, Any]]:
    """Record how a job ends and how long it took; the body fills in `says` and more."""
    began, clock = now(), time.monotonic()
    result: dict[str, Any] = {"job": job, "ok": False, "says": "it was interrupted", **more}
    try:
        yield result
        result["ok"] = True
    except BackupError as error:
        result["says"] = error.reason
        raise
    finally:
        result |= {
            "began": began.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "ended": time.time(),
            "seconds": round(time.monotonic() - clock, 1),
        }
        write(RESULTS / f"{job}.json", json.dumps(result) + "\n")
        word = "ok" if result["ok"] else "FAILED"
        print(f"{job}: {word}: {result['says']}", file=sys.stderr)


def all_results() -> dict[str, dict[str, Any]]:
    """The last result of each job."""
    if not RESULTS.is_dir():
        return {}
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return {result["job"]: result for result in found}
