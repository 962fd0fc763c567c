"""The disk is full to the last byte: everybody is told, once, and what cannot be written is said.

A small file system stands in for the disk of PostgreSQL, its backups and Pergola's state.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import scenario
from scenario import umount, wait_for
from testinfra.host import Host

DISK = "/run/small-disk"
PLACES = ("/var/lib/postgresql", "/var/lib/pgbackrest", "/var/lib/pergola")
# A PostgreSQL that fails comes up every so many seconds at most.
SECONDS_BETWEEN_STARTS = 10
HEARD = "/run/heard"
# Those who are told, on the server itself: a line for each request.
LISTENER = f"""
import http.server, json, pathlib

class Web(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.note(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_GET(self):
        self.note({{"event": "beat"}})

    def note(self, what):
        with pathlib.Path("{HEARD}").open("a") as file:
            file.write(json.dumps(what) + "\\n")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", 8099), Web).serve_forever()
"""
TOLD = {"urls": ["http://127.0.0.1:8099/"], "heartbeat": "http://127.0.0.1:8099/beat"}
CONFIGURATION = "/etc/pergola/monitoring/full-disk-test.json"
# The units that use the disk, the timers first.
USERS = (
    "pergola-monitoring.timer 'pergola-backup-*.timer' pergola-monitoring.service 'postgresql@*'"
)
MOUNT = f"""
set -e
rm -f /var/lib/pergola/reserve  # it has the size for the real disk
mkdir -p {DISK}
used=$(du -smc {" ".join(PLACES)} | tail -n 1 | cut -f 1)
mount -t tmpfs -o size=$((used + 96))m,mode=755 small {DISK}
for place in {" ".join(PLACES)}; do
  cp -a --parents $place {DISK}
  mount --bind {DISK}$place $place
done
"""
# What was written meanwhile stays: the second copy of the archive has it, and takes nothing else in
# its place.
UNMOUNT = f"""
set -e
rm -f {DISK}/filler {DISK}/var/lib/pergola/reserve
{umount(*PLACES)}
for place in {" ".join(PLACES)}; do
  find $place -mindepth 1 -delete
  cp -a {DISK}$place/. $place/
done
{umount(DISK)}
rmdir {DISK}
"""
# Megabytes first, then every byte.
FILL = f"""
dd if=/dev/zero of={DISK}/filler bs=1M oflag=append conv=notrunc 2>/dev/null
dd if=/dev/zero of={DISK}/filler bs=4k oflag=append conv=notrunc 2>/dev/null
test $(stat -f -c %a {DISK}) = 0
"""


class Told:
    """What the listener heard since it was last asked."""

    def __init__(self, host: Host) -> None:
        self.host, self.lines = host, 0

    def look(self) -> tuple[list[tuple[str, str]], int]:
        """Have the server looked at: checks and states of the messages, and the heartbeats."""
        self.host.check_output("systemctl start pergola-monitoring.service")
        text = self.host.check_output(f"cat {HEARD} 2>/dev/null || true")
        new = [json.loads(line) for line in text.splitlines()[self.lines :]]
        self.lines += len(new)
        messages = [(one["check"], one["state"]) for one in new if one["event"] != "beat"]
        return sorted(messages), sum(one["event"] == "beat" for one in new)


def postgresql(host: Host, verb: str) -> None:
    host.check_output(f"systemctl {verb} postgresql@$(ls /etc/postgresql)-main")


@pytest.fixture(scope="module")
def small(web1: Host, site: scenario.Site) -> Iterator[Host]:
    """The server on the small disk, with somebody who is told."""
    web1.check_output("systemd-run --quiet --unit=listener python3 -c %s", LISTENER)
    web1.check_output("printf %%s %s >%s", json.dumps(TOLD), CONFIGURATION)
    web1.run("systemctl stop 'pergola-backup@*'")
    web1.check_output(f"systemctl stop {USERS}")
    web1.check_output(MOUNT)
    try:
        postgresql(web1, "start")
        wait_for("the application's database", lambda: site.get("/db").status_code == 200)
        yield web1
    finally:
        web1.check_output(f"systemctl stop {USERS}")
        web1.check_output(UNMOUNT)
        web1.check_output(f"systemctl stop listener; rm -rf {HEARD} {CONFIGURATION}")
        postgresql(web1, "reset-failed")
        postgresql(web1, "start")
        timers = "systemctl list-unit-files --no-legend 'pergola-*.timer' | cut -d' ' -f1"
        web1.check_output(f"systemctl start $({timers})")
        wait_for("the application's database", lambda: site.get("/db").status_code == 200)


@contextlib.contextmanager
def full(host: Host) -> Iterator[None]:
    """Not a byte is free."""
    host.check_output(FILL)
    try:
        yield
    finally:
        host.check_output(f"rm -f {DISK}/filler")


def starts(host: Host) -> int:
    """How often PostgreSQL was started in this boot."""
    lines = host.check_output("journalctl -b -o cat _PID=1 -g '^Starting postgresql@' | wc -l")
    return int(lines)


def test_a_full_disk_is_told_once_and_silences_nothing(
    small: Host, site: scenario.Site, result: Callable[[str], dict[str, Any]]
):
    told = Told(small)
    for _ in range(3):  # some findings are held back for a look or two
        told.look()
    assert small.file("/var/lib/pergola/reserve").size > 0
    with full(small):
        heard, beats = told.look()
        # The room that was kept back is there to work with, and that is said.
        assert ("reserve", "critical") in heard
        assert beats == 1
        assert not small.file("/var/lib/pergola/reserve").exists
        assert any(check.startswith("disk ") and state == "critical" for check, state in heard)
        small.check_output(FILL)
        all_heard = list(heard)
        for _ in range(5):
            heard, beats = told.look()
            assert beats == 1
            all_heard += heard
        assert ("memory", "critical") in all_heard
        assert len(all_heard) == len(set(all_heard)), "something was told twice"
        journal = small.check_output("journalctl -b -o cat -u pergola-monitoring.service")
        assert "Traceback" not in journal
        status = json.loads(small.run("pergola-status --json").stdout)
        alerted = {one["name"]: one["alerted"] for one in status["checks"]}
        assert alerted["reserve"]
        assert alerted["memory"]

        done = small.run("pergola-backup incr")
        assert done.rc == 1
        assert "Traceback" not in done.stderr
        assert "make room" in done.stderr
        kept = json.loads(small.file("/run/pergola-results/backup.json").content_string)
        assert not kept["ok"]
        heard, _ = told.look()
        assert ("job backup", "critical") in heard

        small.run("kill -9 $(cat /run/postgresql/*-main.pid)")
        before = starts(small)
        wait_for("it is tried again", lambda: starts(small) > before)
        small.check_output(f"sleep {SECONDS_BETWEEN_STARTS}")
        assert starts(small) <= before + 2
        log = small.check_output("journalctl -b -o cat -u 'postgresql@*' | tail -n 20")
        assert re.search("less than 16 MB are free", log), log

    # There is room again: everything comes back by itself.
    wait_for("the application's database", lambda: site.get("/db").status_code == 200)
    small.check_output("pergola-backup incr")
    assert result("backup")["ok"]
    heard = [message for _ in range(4) for message in told.look()[0]]
    assert {("reserve", "ok"), ("memory", "ok"), ("job backup", "ok")} <= set(heard)
    assert not small.file("/run/pergola-monitoring/monitoring.json").exists
    assert not small.file("/run/pergola-results/backup.json").exists
    assert small.file("/var/lib/pergola/reserve").size > 0
