"""What a schedule runs: `python job.py NAME SECONDS`, or a name of a file instead to wait for."""

import os
import sys
import time
from pathlib import Path

STATE = Path(os.environ["STATE_DIRECTORY"])
name, until = sys.argv[1:]


def say(what: str) -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    with (STATE / f"job-{name}.log").open("a") as log:
        log.write(f"{now:.2f} {os.environ['PERGOLA_RELEASE']} {what}\n")


say("started")
if until.isdecimal():
    time.sleep(int(until))
else:
    while not (STATE / until).exists():
        time.sleep(0.1)
say("done")
