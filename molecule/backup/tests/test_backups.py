"""Backups as a first run leaves them: encrypted, by timers, and failing loudly."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenario import RUN, said, umount
from testinfra.host import Host

REPOSITORY = "/var/lib/pgbackrest"
KEY = RUN / "backup.key"


def as_postgres(host: Host, command: str) -> str:
    return host.check_output("cd / && runuser -u postgres -- " + command)


def flip(host: Host, path: str) -> None:
    """Change one bit in the middle of a file."""
    program = (
        "import sys; f = open(sys.argv[1], 'r+b'); f.seek(0, 2); at = f.tell() // 2; f.seek(at); "
        "b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 1]))"
    )
    host.check_output("python3 -c %s %s", program, path)


def test_nothing_in_the_repository_can_be_read_without_the_key(web1, postgres, pergola_backup):
    postgres("create table secret as select 'the-word-in-the-row' word from generate_series(1, 9)")
    pergola_backup("point")
    pergola_backup("incr")
    postgres("drop table secret")
    found = web1.run(f"grep -rlE 'the-word-in-the-row|datname|backup-timestamp' {REPOSITORY}")
    assert found.stdout == ""
    # A file is what a cipher makes of it, whatever its name says; in bundles, and where blocks of
    # a large file are kept by themselves, that has no header.
    program = (
        "import pathlib, sys; bad = [str(p) for p in pathlib.Path(sys.argv[1]).rglob('*') "
        "if p.is_file() and (h := p.read_bytes()[:8]) and h != b'Salted__' "
        "and (not (p.parent.name == 'bundle' or p.suffix == '.pgbi') "
        "or h[:4] == bytes.fromhex('28b52ffd'))]; print(bad)"
    )
    assert web1.check_output("python3 -c %s %s", program, REPOSITORY) == "[]"


def test_the_key_is_a_file_of_its_own_that_only_its_owner_reads(web1):
    assert KEY.stat().st_mode & 0o777 == 0o600
    key = KEY.read_text().strip()
    assert len(key) == 48
    file = web1.file("/etc/pgbackrest/pgbackrest.conf")
    assert f"repo1-cipher-pass={key}\n" in file.content_string
    assert (file.group, file.mode) == ("postgres", 0o640)


def fingerprint(key: str) -> str:
    """What messages call a key."""
    return hashlib.sha256(key.strip().encode()).hexdigest()[:8]


def configurations(*hosts: Host) -> list[str]:
    return [host.check_output("cat $(find /etc/pgbackrest -type f | sort)") for host in hosts]


def test_a_lost_key_file_is_fetched_back_and_a_wrong_one_refused(web1, vault1, playbook):
    """All that have a key agree, and are told by fingerprints; nothing is overwritten."""
    key, before = KEY.read_text(), configurations(web1, vault1)
    try:
        KEY.unlink()
        done = playbook("playbooks/provision.yml", "--tags=backup")
        assert done.returncode == 0, done.stdout
        assert KEY.read_text() == key
        KEY.write_text("another key\n")
        done = playbook("playbooks/provision.yml", "--tags=backup")
        assert done.returncode != 0
        output = said(done)
        for place in ("web1:/etc/pgbackrest/pgbackrest.conf", "vault1:/etc/pgbackrest/conf.d/web1"):
            assert f"- {fingerprint(key)}: {place}" in output
        assert f"all agree on {fingerprint(key)}: move" in output
        assert key.strip() not in output
        assert "another key" not in output
    finally:
        KEY.write_text(key)
    assert configurations(web1, vault1) == before


def test_a_key_that_only_the_copys_host_has_is_not_overwritten(web1, vault1, playbook):
    """The copy was made with another key: the run names it, and stops before its first change."""
    file = "/etc/pgbackrest/conf.d/web1.conf"
    vault1.check_output(f"cp -a {file} /root/kept && sed -i 's/cipher-pass=.*/&X/' {file}")
    before = configurations(web1, vault1)
    try:
        done = playbook("playbooks/provision.yml", "--tags=backup")
        assert done.returncode != 0
        output = said(done)
        assert f"vault1:{file} would be overwritten" in output
        assert fingerprint(KEY.read_text().strip() + "X") in output
        assert configurations(web1, vault1) == before
    finally:
        vault1.check_output(f"mv /root/kept {file}")


def test_the_timers_run_what_they_name(web1, result):
    for verb, job in (("full", "backup"), ("incr", "backup"), ("verify", "verify")):
        assert web1.service(f"pergola-backup-{verb}.timer").is_enabled
        web1.check_output(f"systemctl start pergola-backup@{verb}.service")
        assert result(job)["ok"]
    assert web1.service("pergola-backup-drill.timer").is_enabled


def test_wal_is_archived_without_being_asked(web1, postgres):
    assert postgres("show archive_timeout") == "1min"
    before = int(postgres("select archived_count from pg_stat_archiver"))
    postgres("create table archived (); drop table archived; select pg_switch_wal()")
    wait = f"select archived_count > {before} from pg_stat_archiver"
    program = (
        f'until [ "$(cd / && runuser -u postgres -- psql -XAtc "{wait}")" = t ]; do sleep 0.2; done'
    )
    web1.check_output("timeout 30 sh -c %s", program)


def test_a_changed_bit_is_found_and_its_file_named(web1, result):
    bundle = web1.check_output(f"ls {REPOSITORY}/backup/web1/*F/bundle/1 | tail -1")
    web1.check_output(f"cp -a {bundle} /var/tmp/good")
    flip(web1, bundle)
    try:
        assert web1.run("systemctl start pergola-backup@verify.service").rc != 0
        seen = result("verify")
    finally:
        web1.check_output(f"cp -a /var/tmp/good {bundle} && rm /var/tmp/good")
    assert not seen["ok"]
    # pgBackRest 2.45 names the database's file that is in it, later ones the bundle.
    label = Path(bundle).parts[-3]
    assert any(f"{label}/{inside}" in seen["says"] for inside in ("bundle/1", "pg_data/")), seen
    web1.check_output("systemctl start pergola-backup@verify.service")
    assert result("verify")["ok"]


@pytest.fixture
def full(web1: Host) -> Iterator[str]:
    """The repository is on a disk without room; removing the file makes some."""
    disk, filler = "/run/full", f"{REPOSITORY}/filler"
    size = int(web1.check_output(f"du -sm {REPOSITORY}").split()[0]) + 60
    web1.check_output(
        f"mkdir {disk} && mount -t tmpfs -o size={size}m,mode=0750 full {disk} && "
        f"cp -a {REPOSITORY}/. {disk} && chown postgres: {disk} && mount --bind {disk} {REPOSITORY}"
    )
    web1.run(f"dd if=/dev/zero of={filler} bs=64k")
    try:
        yield filler
    finally:
        web1.check_output(
            f"rm -f {filler}; {umount(REPOSITORY)} && cp -a {disk}/. {REPOSITORY} && "
            f"umount {disk} && rmdir {disk}"
        )


def test_a_full_repository_stops_backups_and_not_the_database(
    web1, postgres, playbook, pergola_backup, result, full
):
    postgres("create table goes_on (id int); insert into goes_on select generate_series(1, 1000)")
    assert web1.run("systemctl start pergola-backup@incr.service").rc != 0
    assert not result("backup")["ok"]
    # pgBackRest leaves a file of no bytes for the WAL that it had no room for.
    refused = web1.run("pergola-backup point while-full")
    assert refused.rc != 0
    assert (
        "No space left on device" in refused.stderr or "did not reach the archive" in refused.stderr
    )
    done = playbook("playbooks/provision.yml", "--tags=backup")
    assert done.returncode != 0
    assert "WAL does not reach a repository" in said(done)
    assert postgres("select count(*) from goes_on") == "1000"
    web1.check_output("rm " + full)
    pergola_backup("point", "after-full")
    pergola_backup("incr")
    assert result("backup")["ok"]
    postgres("drop table goes_on")
