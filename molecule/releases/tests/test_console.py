"""A command, a shell, psql: as the live release, with its settings, credentials and sandbox."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from scenario import RUN, said

HOME = "/srv/probe"
LIMIT = 120
# Says who and where it is. The sums keep what is typed apart from what is answered.
LOOK = (
    'echo "is $(id -un) in $(pwd -P) with $PROBE_CONSOLE"'
    ' "and $(cat $CREDENTIALS_DIRECTORY/app_token)"; '
    "for f in /etc/x /srv/probe/x $STATE_DIRECTORY/x; do "
    "if touch $f 2>/dev/null; then echo can write $f; else echo cannot write $f; fi; done; "
    "grep NoNewPrivs /proc/self/status; python -c 'import fastapi; print(fastapi.__name__, 6 * 7)'"
)


@pytest.fixture(scope="module")
def live(probe, server, deploy, environment):
    """A release with a credential and a setting to be seen."""
    probe.reset()
    probe.commit("note", "console", "With a console")
    token = {"token": "the token of the tests"}
    deploy(app_credentials=token, **environment(PROBE_CONSOLE='a "quoted" $value'))
    return server.live()


def seen_from_inside(text, live):
    """What every console must show."""
    where = f"{HOME}/releases/{live}/code"
    assert f'is probe in {where} with a "quoted" $value and the token of the tests' in text, text
    for line in ("cannot write /etc/x", "cannot write /srv/probe/x", "can write /var/lib/probe/x"):
        assert line in text
    assert re.search(r"NoNewPrivs:\s+1", text)
    assert "fastapi 42" in text


def test_a_playbook_runs_a_command_in_the_live_release(live, server, playbook):
    done = playbook("playbooks/run.yml", cmd=LOOK)

    assert done.returncode == 0, done.stdout
    seen_from_inside(done.stdout, live)
    line = server.ledger()[-1]
    assert (line["action"], line["to"], line["outcome"]) == ("run", live, "exit 0")


def test_a_command_that_fails_fails_the_run(live, playbook):
    done = playbook("playbooks/run.yml", cmd="echo it says why >&2; exit 7")

    assert done.returncode != 0
    assert "it says why" in said(done)
    assert "It ended with 7" in said(done)


class Terminal:
    """`ssh -t` in a terminal of its own."""

    def __init__(self, command):
        ssh = ["ssh", "-t", "-F", str(RUN / "ssh_config"), "web1", command]
        self.process, self.end = pty.fork()
        if self.process == 0:
            os.environ["TERM"] = "xterm"
            os.execvp("ssh", ssh)
        self.text = ""

    def wait_for(self, pattern):
        """Read until the terminal shows something."""
        until = time.monotonic() + LIMIT
        while not re.search(pattern, self.text):
            assert time.monotonic() < until, f"{pattern} was not seen in {self.text!r}"
            if select.select([self.end], [], [], 1)[0]:
                try:
                    self.text += os.read(self.end, 65536).decode(errors="replace")
                except OSError:  # it ended
                    assert re.search(pattern, self.text), self.text
        return self.text

    def type(self, line):
        os.write(self.end, f"{line}\n".encode())

    def close(self):
        """Wait for the end; return the exit code."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            if select.select([self.end], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self.end, 65536).decode(errors="replace")
                except OSError:
                    break
        else:
            os.kill(self.process, signal.SIGKILL)
        os.close(self.end)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def test_a_shell_is_one_line_away(live):
    shell = Terminal(f"sudo {HOME}/bin/release shell")
    shell.wait_for(r"\$ $")
    shell.type("tty; stty size; echo $TERM")
    shell.wait_for(r"/dev/(pts/\d+|console|tty)[\s\S]*xterm")
    shell.type(LOOK)
    shell.wait_for("fastapi 42")
    shell.type("exit 5")
    assert shell.close() == 5
    # The terminal wraps what is typed, and bash colours it.
    seen_from_inside(re.sub(r"\x1b\[[\d?;]*\w", "", shell.text), live)


def test_psql_is_one_line_away(live):
    psql = Terminal(f"sudo {HOME}/bin/release psql")
    psql.wait_for(r"probe=> ")
    psql.type("select current_user || ' at ' || current_database() || ' ' || 6 * 7 as who;")
    psql.wait_for("probe at probe 42")
    psql.type(r"\! touch /srv/probe/x || echo as $(id -un)")
    psql.wait_for("as probe")
    psql.type(r"\q")
    assert psql.close() == 0


def test_psql_takes_its_options_and_a_script(live, server):
    assert server.sql("select 6 * 7") == "42"
    ssh = ["ssh", "-F", str(RUN / "ssh_config"), "web1", f"sudo {HOME}/bin/release psql -XqAt"]
    done = subprocess.run(
        ssh, input="select 6 * 7;\n", capture_output=True, text=True, check=False, timeout=LIMIT
    )
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr
