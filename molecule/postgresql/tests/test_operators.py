"""Who operates the server: whoever is taken out of the lists is out, at once and everywhere."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
import scenario
from scenario import Playbooks, said, wait_for
from testinfra.host import Host

KEY = (scenario.RUN / "id_ed25519.pub").read_text().strip()
ADA, EVE = ({"name": name, "keys": [KEY]} for name in ("ada", "eve"))
LISTS = "/etc/pergola/operators.d"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def operators(playbook: Playbooks, web1: Host) -> Iterator[Run]:
    """Run site.yml's part about people with these; what it said. Afterwards all is as before.

    The server changes hands with each other inventory.
    """

    def run(*people: dict, fails: bool = False, **more: object) -> str:
        tags = "--tags=operators,postgresql" if "inventory" not in more else "--tags=operators"
        more = {"base_operators": list(people), "preflight_takes_over": True, **more}
        done = playbook("playbooks/provision.yml", tags, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return said(done)

    yield run
    run(ADA)
    web1.check_output("userdel --remove eve; rm -f %s", f"{LISTS}/second.json")
    web1.check_output("runuser -u postgres -- psql -qc 'drop role if exists eve' postgres")


def session(name: str) -> subprocess.Popen:
    """An operator who is logged in, becomes root, and has a program of her own at work."""
    return subprocess.Popen(
        [
            *("ssh", "-F", "/dev/null", "-i", str(scenario.RUN / "id_ed25519")),
            *("-o", f"UserKnownHostsFile={scenario.RUN / 'known_hosts'}"),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ControlPath=none"),
            *("-o", "StrictHostKeyChecking=yes", f"{name}@{scenario.address('web1')}"),
            "(trap '' HUP TERM; exec sleep 1001) & sudo -n sleep 1002",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def processes(host: Host, name: str) -> set[str]:
    """What runs in the name of an account, or as root out of its session."""
    return set(host.run(f"pgrep -u {name} -l; pgrep -f '^sleep 100[12]'").stdout.split("\n")) - {""}


def rights(host: Host, name: str) -> dict[str, object]:
    """All that lets somebody in, each as the system itself answers."""
    sign_in = f"runuser -u {name} -- psql -XAtc 'select 1' probe"
    return {
        "account": host.run(f"runuser -u {name} -- true").rc == 0
        and host.run(f"su - {name} -c true").rc == 0,
        "key": host.run(f"test -s /home/{name}/.ssh/authorized_keys").rc == 0,
        "groups": set(host.run(f"id -Gn {name}").stdout.split()) - {name, "users"},
        "sudo": "NOPASSWD" in host.run(f"sudo -l -U {name}").stdout,
        "database": host.run(f"cd / && {sign_in}").rc == 0,
    }


IN = {
    "account": True,
    "key": True,
    "groups": {"sudo", "systemd-journal"},
    "sudo": True,
    "database": True,
}
OUT = {"account": False, "key": False, "groups": set(), "sudo": False, "database": False}


def test_who_is_in_no_list_is_out_with_all_she_had(operators, web1, second):
    """eve is in two inventories' lists, ada in one; both leave one after the other.

    Two have lists where an earlier Pergola had both provision the server.
    """
    another = {"inventory": second, "backup_enabled": False}
    operators(ADA, EVE)
    operators(EVE, **another)
    assert rights(web1, "eve") == IN
    there = session("eve")
    try:
        wait_for("she is at work", lambda: len(processes(web1, "eve")) >= 3)
        # The first list is empty now: she stays by the second, but does not read this database.
        output = operators()
        assert "web1: ada is out: the account is locked" in output
        assert "eve is out" not in output
        assert rights(web1, "eve") == {**IN, "database": False}
        assert rights(web1, "ada") == OUT
        assert there.poll() is None
        output = operators(**another)
        assert "web1: eve is out: the account is locked" in output
        assert rights(web1, "eve") == OUT
        assert processes(web1, "eve") == set()
        assert there.wait(timeout=30) != 0
    finally:
        there.kill()
        there.wait()
        web1.check_output("rm -f %s", f"{LISTS}/second.json")
    assert "is out" not in operators(**another)
    operators(ADA)
    assert rights(web1, "ada") == IN


def test_a_right_that_is_taken_is_gone(operators, web1):
    operators(ADA, EVE)
    output = operators(ADA, {**EVE, "sudo": False})
    assert "web1: eve may not use sudo any more" in output
    assert rights(web1, "eve") == {
        **IN,
        "groups": {"systemd-journal"},
        "sudo": False,
        "database": False,
    }


def test_the_account_that_the_run_logs_in_with_is_not_locked_out(operators, web1):
    deploy = {"name": "deploy", "keys": [KEY]}
    file = f"{LISTS}/probe.json"
    operators(ADA, deploy)
    try:
        output = operators(ADA, fails=True)
        assert "This run logs in as deploy, whom base_operators would put out" in output
        assert rights(web1, "deploy")["sudo"]
    finally:
        web1.check_output("sed -i /^deploy/d /etc/sudoers.d/90-pergola-operators")
        people = [one for one in json.loads(web1.file(file).content_string) if one != deploy]
        rest = json.dumps([one for one in people if one["name"] != "deploy"])
        web1.check_output("echo %s >%s", rest, file)


def test_what_an_earlier_version_left_is_put_out_too(operators, web1):
    """It left the file for sudo, and no list."""
    operators(ADA, EVE)
    web1.check_output(f"rm -r {LISTS} /etc/pergola/operators.json")
    output = operators(ADA)
    assert "web1: eve is out: the account is locked" in output
    assert rights(web1, "eve") == OUT
