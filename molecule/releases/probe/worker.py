"""A long-running process that writes down what happens to it: `python worker.py NAME`."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

LOG = Path(os.environ["STATE_DIRECTORY"]) / f"worker-{sys.argv[1]}.log"
ended = threading.Event()


def say(what: str) -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    with LOG.open("a") as log:
        log.write(f"{now:.2f} {os.environ['PERGOLA_RELEASE']} {what}\n")


signal.signal(signal.SIGTERM, lambda *_: ended.set())
say("started")
while not ended.wait(0.5):
    say("at work")
say("stopping")
time.sleep(float(os.environ.get("PROBE_WORKER_DRAIN", "0")))
say("stopped")
