"""The line at the end of a terminal that says what is at work, and for how many seconds."""

from __future__ import annotations

import atexit
import os
import shutil
import threading
import time
from typing import TextIO

TICK = 1.0  # seconds
CLEAR = "\r\033[K"


class Running:
    """One line that is written over every second; nothing at all where the stream is no terminal.

    Ansible forks its workers while the thread runs: it writes by `os.write`, whose file has no lock
    that a child could inherit locked.
    """

    def __init__(self, stream: TextIO) -> None:
        self.on = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.file = stream.fileno() if self.on else -1
        self.text, self.began, self.shown = "", 0.0, False
        self.lock, self.started = threading.Lock(), False

    def begin(self, text: str) -> None:
        """Show this from a second on."""
        if not self.on:
            return
        with self.lock:
            self.text, self.began = text, time.monotonic()
        if not self.started:
            self.started = True
            atexit.register(self.end)  # Ctrl-C leaves no half of a line behind
            threading.Thread(target=self._tick, daemon=True).start()

    def end(self) -> None:
        """Take it off, so that something else can be printed."""
        if not self.on:
            return
        with self.lock:
            self.text = ""
            if self.shown:
                self._write(CLEAR)
                self.shown = False

    def _tick(self) -> None:
        while True:
            time.sleep(TICK)
            with self.lock:
                spent = time.monotonic() - self.began
                if self.text and spent >= TICK:
                    took = f" {spent:.0f} s"
                    room = shutil.get_terminal_size().columns - 1 - len(took)
                    self._write(f"{CLEAR}{self.text[:room]}{took}")
                    self.shown = True

    def _write(self, text: str) -> None:
        os.write(self.file, text.encode(errors="replace"))
