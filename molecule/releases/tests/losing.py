"""What takes a run's connection, or the run itself, away from it in a phase that is known."""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scenario import wait_for
from testinfra.host import Host

# How a call of an application's program looks while it is at work, for pgrep.
PROGRAM = "^/usr/bin/python3 -I [^ ]*/pergola release --app={app} "
# Deaths and losses are somewhere in a phase, not at its first instruction.
INTO_IT = {"prepare": 0.5, "migrate": 0.3, "gate": 0.3, "bake": 0.5}
# Stops the program in a phase until the file is removed, the network is gone, or the power; then in
# the next one.
CATCHER = """
import json, os, pathlib, signal, sys, time
app, flipped = sys.argv[1], sys.argv[3] == "flipped"
flag = pathlib.Path(f"/srv/{app}/live/green")
state_of = pathlib.Path(f"/run/{app}/deploy.json")
caught = pathlib.Path("/run/caught")
carrier = pathlib.Path("/sys/class/net/host0/carrier")
green = flag.exists()
for phase, into in json.loads(sys.argv[2]):
    while True:
        try:
            state = json.loads(state_of.read_text())
        except (FileNotFoundError, ValueError):
            state = {}
        early = phase == "switch" and flipped and flag.exists() == green
        if state.get("phase") == phase and not early:
            break
        time.sleep(0.002)
    time.sleep(into)
    os.kill(state["pid"], signal.SIGSTOP)
    caught.write_text(json.loads(state_of.read_text())["phase"])
    while caught.exists() and carrier.read_text() == "1\\n":
        time.sleep(0.02)
    os.kill(state["pid"], signal.SIGCONT)
"""


class Catcher:
    """Stops an application's program on a host in phases, one after the other.

    `flipped`: in the switch only after the flip; without processes there is no time for that.
    """

    def __init__(self, host: Host, app: str, *, flipped: bool = True) -> None:
        self.host, self.app, self.flipped = host, app, flipped

    def prepare(self, phases: Sequence[str]) -> Callable[..., None]:
        """Begin to; what is returned waits until the program is stopped in a phase."""
        self.host.check_output("rm -f /run/caught")
        self.host.check_output(
            "systemd-run --quiet --collect --unit=catcher python3 -c %s %s %s %s",
            CATCHER,
            self.app,
            json.dumps([(phase, INTO_IT.get(phase, 0)) for phase in phases]),
            "flipped" if self.flipped else "begun",
        )

        def wait(phase: str = phases[0]) -> None:
            caught = "cat /run/caught || ! systemctl is-active --quiet catcher"
            found = wait_for(f"the phase {phase}", lambda: self.host.run(caught).stdout)
            if found != phase:
                raise AssertionError("the phase was over too soon to be caught in")

        return wait

    def end(self) -> None:
        """Stop no more, and let what is stopped go on."""
        self.host.run("rm -f /run/caught; systemctl stop catcher")
        self.host.run(f"pkill --signal CONT --full '{PROGRAM.format(app=self.app)}'")


class Connection:
    """A run's own connections to its servers, which can be cut without its doing."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/cut"
        options = "-o ControlMaster=auto -o ControlPersist=60s -o ConnectTimeout=5"
        impatient = "-o ServerAliveInterval=2 -o ServerAliveCountMax=3"
        self.settings = {"ansible_ssh_args": f"{options} {impatient} -o ControlPath={self.path}-%C"}

    def cut(self) -> None:
        """Kill what holds them on this side; the run's own part of it sees them closed."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes()
                if self.path.encode() in words and words.startswith(b"ssh: "):
                    os.kill(int(path.parent.name), signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                found += descendants(int(child))
    return found


def kill(run: subprocess.Popen[str]) -> None:
    """Kill a run of ansible-playbook with all that it started, as a control node's death does."""
    for pid in descendants(run.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()


@contextlib.contextmanager
def to_its_end(run: subprocess.Popen[str]) -> Iterator[None]:
    """Leave no run behind, whatever becomes of a test."""
    try:
        yield
    finally:
        if run.poll() is None:
            kill(run)


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    """A run's exit code and its words, in one line."""
    output, _ = run.communicate(timeout=600)
    return run.returncode, " ".join(output.split())


def asking(host: Host, app: str = "probe") -> int:
    """How many are at work on a deploy, or wait for the one that is."""
    count = f"pgrep --full --count '{PROGRAM.format(app=app)}.* do '"
    return int(host.run(count).stdout)


def verdicts(said: str) -> list[str]:
    """The runs' own words on how they failed, each as often as it was said.

    (Ansible repeats each message of a failure as an error of its own.)
    """
    return re.findall(r"msg: \|\S* (The (?:deploy|rollback) of \S+ .*?) What every server", said)
