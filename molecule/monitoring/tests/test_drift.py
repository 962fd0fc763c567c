"""What somebody changed by hand is named, and put right where it can be: by what owns it."""

import re

import pytest
from scenario import said

DROP_IN = "/etc/systemd/system/caddy.service.d/99-by-hand.conf"
SITE = "site probe.test"


@pytest.fixture
def changed(watched, fickle):
    """A server that somebody worked on: what is to be told of it, and what undoes it."""
    run, sql = watched.host.check_output, watched.sql
    data = sql("show data_directory")
    code = f"/srv/probe/slots/{fickle}/code/probe.py"
    sql("alter system set fsync = off")
    sql("alter system set deadlock_timeout = '2s'")
    sql("alter role probe set synchronous_commit = off")
    sql("select pg_reload_conf()")
    run(f"cp -a {code} /root/probe.py && echo '# by hand' >>{code}")
    run(f"chmod 777 {data} && chmod 700 /srv/probe/live")
    run(f"printf '[Service]\\nLimitNOFILE=65535\\n' >{DROP_IN} && systemctl daemon-reload")
    findings = [
        (f"drift {DROP_IN}", "warning"),
        (f"drift {data}", "warning"),
        ("drift /srv/probe/live", "warning"),
        ("drift postgresql deadlock_timeout", "warning"),
        ("drift postgresql fsync", "critical"),
        ("drift postgresql probe synchronous_commit", "warning"),
        ("drift release probe", "warning"),
    ]

    def undo():
        sql("alter system reset all")
        sql("alter role probe reset all")
        sql("select pg_reload_conf()")
        run(f"test ! -e /root/probe.py || mv /root/probe.py {code}")
        run(f"chmod 700 {data} && chmod 755 /srv/probe/live")
        run(f"rm -f {DROP_IN} && systemctl daemon-reload")

    yield findings, undo
    undo()


# Nothing else can be put right without taking what somebody wanted.
PUT_RIGHT = ("drift /srv/probe/live", "drift postgresql fsync")


def test_what_was_changed_by_hand_is_named_and_put_right_where_it_can_be(
    watched, told, playbook, fickle, changed
):
    run, sql = watched.host.check_output, watched.sql
    findings, undo = changed
    # Caddy does not see any more that green is live.
    down = [SITE] if fickle == "green" else []
    watched.looks_until(told, *findings, *((name, "critical") for name in down))
    tags = "--tags=postgresql,monitoring"

    # As the scenario's other tests have it.
    settings = {**told.settings, "monitoring_exporters_address": "127.0.0.1"}
    looked = playbook("playbooks/provision.yml", tags, "--check", **settings)
    assert looked.returncode == 0, looked.stdout
    assert "would be put right:" in said(looked)
    assert sql("show fsync") == "off", "--check changes nothing"

    done = playbook("playbooks/provision.yml", tags, **settings)
    assert done.returncode == 0, done.stdout
    words = said(done)
    # Its directories and their modes are the application's.
    done = playbook("playbooks/deploy.yml", "--tags=app", **settings)
    assert done.returncode == 0, done.stdout
    assert re.search(r"was put right: /var/lib/postgresql/\d+/main had mode 0777", words)
    assert "ALTER SYSTEM had set fsync = off over on" in words
    assert "WARNING: web1 is not as it is set:" in words
    for name in (DROP_IN, "deadlock_timeout", "synchronous_commit", "release probe"):
        assert name in words, name
    assert sql("show fsync") == "on"
    data = sql("show data_directory")
    assert run(f"stat -c %a {data} /srv/probe/live").split() == ["700", "755"]
    run("systemctl stop pergola-monitoring.timer")
    right = (*PUT_RIGHT, f"drift {data}")
    watched.looks_until(told, *((name, "ok") for name in (*right, *down)))
    undo()
    watched.looks_until(told, *((name, "ok") for name, _ in findings if name not in right))
    assert watched.state("drift") == "ok"
