"""What a schedule runs: `python job.py NAME SECONDS`."""

import os
import sys
import time
from pathlib import Path

LOG = Path(os.environ["STATE_DIRECTORY"]) / f"job-{sys.argv[1]}.log"
for what, pause in (("started", float(sys.argv[2])), ("done", 0)):
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    with LOG.open("a") as log:
        log.write(f"{now:.2f} {os.environ['PERGOLA_RELEASE']} {what}\n")
    time.sleep(pause)
