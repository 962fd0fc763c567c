"""The second copy: on a host of the group `backup` over TLS, and in a storage that speaks S3."""

import json
from collections.abc import Iterator

import pytest
import scenario
from scenario import wait_for
from testinfra.host import Host

ASYNC_LOG = "/var/log/pgbackrest/web1-archive-push-async.log"


def as_postgres(host: Host, command: str) -> str:
    return host.check_output("cd / && runuser -u postgres -- " + command)


def newest(host: Host, repository: int) -> dict:
    """The newest backup in a repository."""
    found = json.loads(as_postgres(host, "pgbackrest --stanza=web1 --output=json info"))
    backups = [b for b in found[0]["backup"] if b["database"]["repo-key"] == repository]
    return backups[-1]


def test_both_hosts_hold_backups_after_the_first_run(web1, vault1):
    assert newest(web1, 1)
    assert newest(vault1, 2)["label"] == newest(web1, 2)["label"]
    for host, number in ((web1, 1), (vault1, 2)):
        info = as_postgres(host, f"pgbackrest --stanza=web1 --repo={number} info")
        assert "full backup: " in info


def test_the_copy_is_made_and_verified_by_the_other_hosts_own_timers(vault1):
    for verb in ("full", "incr", "verify"):
        assert vault1.service(f"pergola-backup-{verb}.timer").is_enabled
    assert not vault1.service("pergola-backup-drill.timer").exists
    for verb, job in (("incr", "backup"), ("verify", "verify")):
        vault1.check_output(f"systemctl start pergola-backup@{verb}.service")
        result = json.loads(vault1.file(f"/var/lib/pergola/results/{job}.json").content_string)
        assert result["ok"], result
    assert newest(vault1, 2)["type"] == "incr"


def test_the_keys_stay_where_they_were_made(web1, vault1):
    keys = []
    for host in (web1, vault1):
        key = host.file("/etc/pergola/backup-tls/own.key")
        assert (key.user, key.mode) == ("postgres", 0o600)
        keys.append(key.content_string)
        assert host.run("find / -xdev -name own.key -not -path %s", key.path).stdout == ""
    assert keys[0] != keys[1]
    for host, peer in ((web1, vault1), (vault1, web1)):
        own = peer.file("/etc/pergola/backup-tls/own.crt").content_string
        assert host.file("/etc/pergola/backup-tls/peers.crt").content_string == own


def test_the_daemon_answers_its_peers_only(web1, vault1):
    """Not this machine by the firewall, and not a stranger's certificate by itself."""
    for host in (web1, vault1):
        assert "saddr" in host.check_output("nft list ruleset | grep 8432")
        assert host.service("pgbackrest").is_enabled
    names = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=web1"
    stranger = f"openssl req -x509 -nodes -days 1 {names} -keyout /tmp/s.key -out /tmp/s.crt"
    web1.check_output(f"{stranger} && chown postgres /tmp/s.*")
    options = "--repo=2 --repo2-host-cert-file=/tmp/s.crt --repo2-host-key-file=/tmp/s.key"
    refused = web1.run(f"cd / && runuser -u postgres -- pgbackrest --stanza=web1 {options} info")
    web1.check_output("rm /tmp/s.key /tmp/s.crt")
    assert "repo2: error" in refused.stdout or "error (other)" in refused.stdout, refused
    assert "backup:" not in refused.stdout


def test_a_client_may_touch_its_own_backups_only(web1):
    options = web1.check_output("grep -E '^repo2-(host|path)' /etc/pgbackrest/conf.d/vault1.conf")
    words = " ".join(f"--{line}" for line in options.splitlines())
    other = f"cd / && runuser -u postgres -- pgbackrest --stanza=other {words} --repo=2 info"
    refused = web1.run(other)
    assert "access denied" in refused.stdout + refused.stderr


@pytest.fixture
def cut_off() -> Iterator[None]:
    """The other host is away; afterwards it is back, and WAL has arrived."""
    scenario.testhosts("cut", "vault1")
    try:
        yield
    finally:
        scenario.testhosts("join", "vault1")


@pytest.mark.usefixtures("cut_off")
def test_without_the_other_host_the_server_goes_on(web1, vault1, postgres, pergola_backup):
    """Rows are written, deploys get their points in the repository here, WAL waits."""
    postgres("create table away (id int); insert into away select generate_series(1, 1000)")
    pergola_backup("point", "while-away")
    waiting = "ls /var/lib/postgresql/*/main/pg_wal/archive_status/*.ready"
    assert web1.run(waiting).rc == 0
    scenario.testhosts("join", "vault1")
    wait_for("what has waited arrives", lambda: web1.run(waiting).rc != 0)
    postgres("drop table away")
    vault1.check_output("pergola-backup verify")
