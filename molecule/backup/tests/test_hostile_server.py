"""Somebody who is root on the database host, and the copies of its backups on another host."""

import json
from collections.abc import Iterator

import pytest
import testinfra
from scenario import INVENTORY, said, wait_for
from testinfra.host import Host

COPIES = "/var/lib/pgbackrest/copies"
ARCHIVE = f"{COPIES}/archive/web1"


@pytest.fixture(scope="module")
def vault1() -> Iterator[Host]:
    """The other host; its timer does not look in the middle of an attack."""
    host = testinfra.get_host("ansible://vault1", ansible_inventory=INVENTORY, sudo=True)
    host.check_output("systemctl stop pergola-backup-protect.timer")
    yield host
    host.check_output("systemctl start pergola-backup-protect.timer")


@pytest.fixture
def protected(vault1: Host) -> Iterator[None]:
    """What was sent until now is protected; afterwards the copies are as they were."""
    vault1.check_output("systemctl start pergola-backup@protect.service")
    try:
        yield
    finally:
        vault1.check_output("pergola-backup recover web1")
        vault1.check_output("systemctl start pergola-backup@protect.service")


class Attacker:
    """Uses what any database host has: pgBackRest, its certificate, and options of its choice."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def __call__(self, command: str, *, path: str = COPIES, stdin: str = "/dev/null") -> str:
        """Run a command against the other host's repository; what it said."""
        options = f"--stanza=web1 --repo=2 --repo2-path={path}"
        line = f"cd / && runuser -u postgres -- pgbackrest {options} {command} <{stdin}"
        done = self.host.run(line)
        return done.stdout + done.stderr

    def delete_all(self) -> str:
        """Remove the stanza with everything in it."""
        stop = "cd / && runuser -u postgres -- pgbackrest --stanza=web1"
        self.host.check_output(f"{stop} stop")
        try:
            options = "--stanza=web1 --repo=2 --force"
            done = self.host.run(
                f"cd / && runuser -u postgres -- pgbackrest {options} stanza-delete"
            )
            return done.stdout + done.stderr
        finally:
            self.host.check_output(f"{stop} start")


@pytest.fixture(scope="module")
def attack(web1: Host) -> Attacker:
    return Attacker(web1)


def names(host: Host, directory: str) -> set[str]:
    return set(host.check_output(f"find {directory} -type f").splitlines())


def segments(host: Host) -> list[str]:
    return sorted(name for name in names(host, ARCHIVE) if name.endswith(".zst"))


@pytest.mark.usefixtures("protected")
def test_all_that_was_sent_can_be_restored_after_it_was_deleted(
    web1, vault1, attack, rows, pergola_backup
):
    """By one command of pgBackRest's; then what that leaves, as a client of one's own could."""
    rows.add(rows.next())
    pergola_backup("point", "before-the-attack")
    vault1.check_output("systemctl start pergola-backup@protect.service")
    backups = names(vault1, f"{COPIES}/backup/web1")
    there = segments(vault1)
    said = attack.delete_all()
    assert "Read-only file system" in said, said
    assert not vault1.file(f"{ARCHIVE}/archive.info").exists
    vault1.check_output(f"runuser -u postgres -- rm -r {ARCHIVE}")
    # The backups are out of reach, and what lies in the archive's place is told of.
    assert names(vault1, f"{COPIES}/backup/web1") == backups
    told = vault1.run("pergola-backup protect")
    assert told.rc == 1
    assert "the copies of web1: pgBackRest finds no backup in it any more" in told.stderr
    back = vault1.check_output("pergola-backup recover web1")
    assert back.startswith("the copies of web1 are back"), back
    assert set(there) <= set(segments(vault1))
    vault1.check_output("pergola-backup verify")
    # From that repository alone, and compared with what is live.
    said = pergola_backup("drill", "--repo", "2")
    result = json.loads(web1.file("/var/lib/pergola/results/drill.json").content_string)
    assert result["ok"], said


def test_what_was_sent_is_protected_within_a_minute(vault1):
    """By default systemd would let a timer be late for a minute."""
    show = "systemctl show pergola-backup-protect.timer --property"
    assert "OnCalendar=*-*-* *:*:00 " in vault1.check_output(f"{show} TimersCalendar")
    late = f"{show} AccuracyUSec --property RandomizedDelayUSec --value"
    assert vault1.check_output(late).split() == ["1s", "1s"]


@pytest.mark.usefixtures("protected")
def test_what_was_sent_cannot_be_overwritten(web1, vault1, attack):
    segment = segments(vault1)[-1]
    digest = f"sha256sum <{segment}"
    before = vault1.check_output(digest)
    web1.check_output("head -c 4096 /dev/urandom >/tmp/garbage && chmod 644 /tmp/garbage")
    attack(f"repo-put {segment.removeprefix(COPIES + '/')}", stdin="/tmp/garbage")
    assert vault1.check_output(digest) != before
    told = vault1.run("pergola-backup protect")
    assert told.rc == 1
    assert "was replaced by another file" in told.stderr
    vault1.check_output("pergola-backup recover web1")
    assert vault1.check_output(digest) == before


def test_a_moment_before_the_attack_is_named_where_files_were_added(web1, vault1, attack):
    vault1.check_output("systemctl start pergola-backup@protect.service && sleep 1")
    moment = vault1.check_output("date -u +%Y-%m-%dT%H:%M:%SZ")
    before = names(vault1, ARCHIVE)
    segment = segments(vault1)[-1].removeprefix(COPIES + "/")
    second = segment.rpartition("-")[0] + f"-{'b' * 40}.zst"
    web1.check_output("echo hostile >/tmp/garbage && chmod 644 /tmp/garbage")
    attack(f"repo-put {second}", stdin="/tmp/garbage")
    attack("repo-put archive/web1/archive.info", stdin="/tmp/garbage")
    attack("repo-put archive/web1/archive.info.copy", stdin="/tmp/garbage")
    assert vault1.run("pergola-backup protect").rc == 1
    vault1.check_output("pergola-backup recover web1 --before %s", moment)
    assert names(vault1, ARCHIVE) == before
    vault1.check_output("systemctl start pergola-backup@protect.service")
    vault1.check_output("pergola-backup verify")


def test_the_other_host_gives_away_no_key(vault1, attack):
    """pgBackRest's client names any path; the daemon sees no configuration but who is let in."""
    assert "repo2-cipher-pass" in vault1.check_output("cat /etc/pgbackrest/conf.d/*.conf")
    seen = attack("repo-ls --recurse", path="/etc/pgbackrest")
    assert seen.split() == ["pgbackrest.conf"]
    assert "cipher" not in attack("--raw repo-get pgbackrest.conf", path="/etc/pgbackrest")
    refused = attack("repo-ls --recurse", path="/var/lib/pgbackrest/protected")
    assert "ermission denied" in refused or not refused.strip()
    assert "Read-only file system" in attack("repo-put x", path="/var/lib/pgbackrest")


def test_who_holds_a_file_open_cannot_write_to_it_once_it_is_protected(vault1):
    """As a client could: it opens a file of its own, waits, and writes when it is protected."""
    vault1.check_output(
        "install -d -o postgres -g postgres %s && install -o postgres -g postgres /dev/null %s",
        f"{ARCHIVE}/17-1/open",
        f"{ARCHIVE}/17-1/open/file",
    )
    hold = f"exec 9>>{ARCHIVE}/17-1/open/file; echo >/tmp/held; sleep 30; echo late >&9"
    vault1.check_output("systemd-run --unit=holder --uid=postgres sh -c %s", hold)
    try:
        wait_for("it is open", lambda: vault1.file("/tmp/held").exists)
        told = vault1.run("pergola-backup protect")
        assert "archive/web1/17-1/open/file is held open for writing" in told.stderr
        protected = "/var/lib/pgbackrest/protected/web1/archive/web1/17-1/open/file"
        assert not vault1.file(protected).exists
    finally:
        vault1.check_output("systemctl stop holder; rm -rf /tmp/held %s", f"{ARCHIVE}/17-1/open")
    vault1.check_output("systemctl start pergola-backup@protect.service")


def test_what_a_host_answers_is_no_line_of_anothers_files(web1, vault1, playbook):
    """A second certificate behind its own would be trusted by the other host for all servers."""
    known = vault1.check_output("cat /etc/pergola/backup-tls/peers.crt /etc/pgbackrest/conf.d/*")
    own = "/etc/pergola/backup-tls/own.crt"
    names = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=web2 -keyout /dev/null"
    web1.check_output(f"cp -a {own} /root/own.crt && openssl req -x509 -nodes {names} >>{own}")
    try:
        done = playbook("playbooks/provision.yml", "--tags", "backup")
    finally:
        web1.check_output(f"cp -a /root/own.crt {own} && rm /root/own.crt")
    assert done.returncode != 0
    assert "web1 answered what no healthy host answers: certificate" in said(done)
    assert vault1.check_output(
        "cat /etc/pergola/backup-tls/peers.crt /etc/pgbackrest/conf.d/*"
    ) == (known)
