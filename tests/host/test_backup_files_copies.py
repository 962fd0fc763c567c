"""Copies of applications' files on another host: fetched, kept from the server, and fetched back.

Instead of pgBackRest and another host there is a function that gives the files of a directory.
"""

import grp
import hashlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from pergola import notes, results
from pergola.backup import settings, verify
from pergola.backup.files import copies, make, mirror, readers, remote, repositories
from pergola.errors import PergolaError
from pergola.people import DAY

PROJECT = Path(__file__).parents[2]
NOW = 1_800_000_000.0
PEER = """\
# Managed by Ansible (role backup).
[global]
tls-server-auth=peer=web1

[web1]
{side}=192.0.2.1
{side}-type=tls
{side}-cert-file=/own.crt
pg1-path=/var/lib/postgresql/17/main
repo2-path={path}
repo2-retention-full=14
"""


class Hosts:
    """Two hosts, web1 and vault1, and what is between them."""

    def __init__(self, top):
        self.theirs, self.ours = top / "web1/files", top / "vault1/copies"
        self.copy = self.ours / "files/web1/notes"
        self.commands = []
        self.answers = True
        self.gives = {}  # other content of a file, by its path
        self.after = lambda _: None  # what happens there after a command
        self.settings = settings.Settings(
            "web1", 17, (settings.Repository(2, "", True, str(self.ours)),), files=str(self.theirs)
        )

    def attempt(self, *words, account, output):
        words = [str(word) for word in words]
        self.commands.append(words)
        (path,) = (one.partition("=")[2] for one in words if one.startswith("--repo1-path="))
        code, text = 0, b""
        if not self.answers:
            code = 49
        elif "repo-ls" in words:
            text = json.dumps(listed(Path(path), "--recurse" in words)).encode()
        else:
            file = Path(path, words[-1])
            text = self.gives.get(words[-1], file.read_bytes() if file.exists() else None)
            code, text = (0, text) if text is not None else (remote.MISSING, b"")
            (most,) = (one.partition("=")[2] for one in words if one.startswith("--fsize="))
            if len(text) > int(most):
                code, text = -signal.SIGXFSZ, text[: int(most)]
        os.write(output.fileno(), text)
        self.after(words)
        return subprocess.CompletedProcess(words, code, None, "ERROR: it says why" if code else "")

    def write(self, kind, content=b"content", app="notes"):
        """A file of a repository on the server; its path there."""
        name = hashlib.sha256(content).hexdigest()
        path = f"data/{name[:2]}/{name}" if kind == "data" else f"{kind}/{name}"
        path = "config" if kind == "config" else path
        (self.theirs / app / path).parent.mkdir(parents=True, exist_ok=True)
        (self.theirs / app / path).write_bytes(content)
        return path

    def repository(self, app="notes"):
        kinds = ("config", "keys", "snapshots", "index", "data")
        return [self.write(kind, f"{kind} of {app}".encode(), app) for kind in kinds]

    def fetch(self, now=NOW):
        copies.fetch([self.settings], now)
        return results.every()["files-copy"].says

    def kept(self):
        return sorted(mirror.files(self.copy))


def listed(top, below):
    paths = top.rglob("*") if below else top.glob("*")
    kinds = {str(one.relative_to(top)): one for one in paths}
    return {".": {"type": "path"}} | {
        name: {"type": "path"} if one.is_dir() else {"type": "file", "size": one.stat().st_size}
        for name, one in kinds.items()
    }


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    found = Hosts(tmp_path)
    found.theirs.mkdir(parents=True)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/web1.conf").write_text(PEER.format(side="pg1-host", path="/unused"))
    monkeypatch.setattr(copies, "CONFIGURATIONS", tmp_path / "conf.d")
    monkeypatch.setattr(remote, "attempt", found.attempt)
    monkeypatch.setattr(make, "WORK", tmp_path / "work")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "IN_RUN", tmp_path / "run-results")
    return found


# -- what is fetched -------------------------------------------------------------------------------


def test_a_repository_is_copied_and_later_what_is_new(hosts):
    paths = hosts.repository()
    assert hosts.fetch().startswith("notes of web1: 5 files (")
    assert hosts.kept() == sorted(paths)
    for path in paths:
        assert (hosts.copy / path).read_bytes() == (hosts.theirs / "notes" / path).read_bytes()
        assert (hosts.copy / path).stat().st_mode & 0o777 == 0o440
    more = hosts.write("snapshots", b"another night")
    hosts.commands.clear()
    assert "1 of them new" in hosts.fetch()
    fetched = [words[-1] for words in hosts.commands if "repo-get" in words]
    assert fetched == ["config", more], "what is there is not fetched again"


def test_the_host_is_asked_as_its_configuration_says(hosts):
    hosts.repository()
    hosts.fetch()
    for words in hosts.commands:
        assert words[0] == "prlimit"
        assert {"--no-config", "--stanza=web1", "--repo1-host=192.0.2.1"} <= set(words)
        assert {"--repo1-host-type=tls", "--repo1-host-cert-file=/own.crt"} <= set(words)
    assert "--raw" in hosts.commands[-2], "pgBackRest decrypts nothing"


def test_a_snapshot_comes_after_what_it_is_of_and_config_last(hosts):
    order = [path.split("/")[0] for path in hosts.repository()]
    hosts.fetch()
    fetched = [words[-1].split("/")[0] for words in hosts.commands if "repo-get" in words]
    assert sorted(fetched) == sorted(order)
    assert fetched == ["data", "index", "keys", "snapshots", "config"]


def test_what_is_written_meanwhile_comes_too(hosts):
    """A backup is at work: its snapshot is listed, and its data are not yet, or the other way."""
    hosts.repository()
    later = []

    def write_more(words):
        if "repo-get" in words and len(later) < 3:
            later.append(hosts.write("data", b"%d" % len(later)))

    hosts.after = write_more
    hosts.fetch()
    assert set(later) <= set(hosts.kept())


def test_what_has_gone_meanwhile_is_no_fault(hosts):
    hosts.repository()
    pack = hosts.write("data", b"is removed")

    def remove(words):
        if len(hosts.commands) > 2:  # it has been listed
            (hosts.theirs / "notes" / pack).unlink(missing_ok=True)

    hosts.after = remove
    assert "5 files" in hosts.fetch()


def test_only_files_of_restic_are_taken(hosts):
    """By any name that a server could think of."""
    hosts.repository()
    digest = hashlib.sha256(b"x").hexdigest()
    names = ["locks/" + digest, "data/00/" + digest, f"data/{digest[:2]}/{digest}-tmp-1"]
    names += ["other", "keys/../../escaped", "data/" + digest, "snapshots/" + digest.upper()]
    for name in names:
        (hosts.theirs / "notes" / name).parent.mkdir(parents=True, exist_ok=True)
        (hosts.theirs / "notes" / name).write_bytes(b"x")
    hosts.repository("UPPER")
    (hosts.theirs / "notes2" / "data").mkdir(parents=True)
    says = hosts.fetch()
    assert "5 files" in says
    assert "UPPER" not in says
    assert sorted(one.name for one in hosts.copy.parent.iterdir()) == ["notes", "notes2"]


def test_no_files_are_no_failure(hosts):
    hosts.theirs.rmdir()
    assert hosts.fetch() == copies.NONE


def test_each_servers_and_applications_failure_is_its_own(hosts, tmp_path):
    hosts.repository()
    hosts.repository("wiki")
    hosts.gives = {"config": b"no repository's, as it is so long that it is not the one listed"}
    with pytest.raises(PergolaError, match=r"notes of web1.*; .*wiki of web1"):
        hosts.fetch()
    hosts.gives = {}
    away = settings.Settings("web2", 17, hosts.settings.repositories, files="/files")
    with pytest.raises(PergolaError, match=r"web2[.]conf is missing"):
        copies.fetch([away, hosts.settings], NOW)
    assert len(hosts.kept()) == 5
    assert not results.every()["files-copy"].ok


def test_a_server_that_does_not_answer_is_told(hosts):
    hosts.answers = False
    with pytest.raises(PergolaError, match="the files on web1 cannot be listed") as told:
        hosts.fetch()
    assert told.value.evidence == "ERROR: it says why"


def test_the_disks_reserve_is_not_taken(hosts, monkeypatch):
    hosts.repository()
    monkeypatch.setattr(mirror.shutil, "disk_usage", lambda _: SimpleNamespace(free=3))
    with pytest.raises(PergolaError, match="there is no room for"):
        hosts.fetch()


# -- a server that means harm ----------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"another", b"content of another size", b""])
def test_what_is_not_what_its_name_says_is_refused_and_told(hosts, content):
    hosts.repository()
    path = hosts.write("data", b"pack of", "notes")
    hosts.gives = {path: content}
    with pytest.raises(PergolaError, match=path):
        hosts.fetch()
    assert path not in hosts.kept()
    assert not list(hosts.copy.glob(".new"))
    hosts.gives = {}
    hosts.fetch()
    assert path in hosts.kept(), "the right one is taken later"


def test_what_is_there_is_not_replaced(hosts):
    *_, pack = hosts.repository()
    hosts.fetch()
    before = (hosts.copy / pack).read_bytes()
    (hosts.theirs / "notes" / pack).write_bytes(b"other bytes of another size")
    with pytest.raises(PergolaError, match="was replaced by another file"):
        hosts.fetch()
    assert (hosts.copy / pack).read_bytes() == before


def test_another_repository_in_its_place_is_not_mixed_with_it(hosts):
    hosts.repository()
    hosts.fetch()
    before = hosts.kept()
    hosts.write("config", b"config of other")
    hosts.write("index", b"of the other")
    with pytest.raises(PergolaError, match="has begun another repository") as told:
        hosts.fetch()
    assert hosts.kept() == before
    assert f"sudo rm -r {hosts.copy}" in told.value.hint


def test_what_is_deleted_there_stays_and_is_told(hosts):
    hosts.repository()
    hosts.fetch()
    before = hosts.kept()
    shutil.rmtree(hosts.theirs / "notes")
    for days in (0, 20, 200):
        with pytest.raises(PergolaError, match="the server has nothing of it any more"):
            hosts.fetch(NOW + days * DAY)
    assert hosts.kept() == before


@pytest.mark.parametrize("newer_goes", [False, True])
def test_old_backups_may_go_and_new_ones_may_not(hosts, newer_goes):
    """They go from the server by their age; the newest is no old one."""
    *_, pack = hosts.repository()
    hosts.fetch()
    (old,) = (path for path in hosts.kept() if path.startswith("snapshots/"))
    new = hosts.write("snapshots", b"the next night")
    hosts.fetch(NOW + DAY)
    (hosts.theirs / "notes" / (new if newer_goes else old)).unlink()
    if newer_goes:
        with pytest.raises(PergolaError, match=f"{new} has vanished there"):
            hosts.fetch(NOW + 2 * DAY)
        return
    (hosts.theirs / "notes" / pack).unlink()
    hosts.fetch(NOW + 2 * DAY)
    hosts.fetch(NOW + 15 * DAY)
    assert {old, pack} <= set(hosts.kept()), "as long as backups are kept"
    hosts.fetch(NOW + 17 * DAY)
    assert not {old, pack} & set(hosts.kept())
    assert new in hosts.kept()


def test_what_is_there_again_is_not_gone(hosts):
    *_, pack = hosts.repository()
    hosts.fetch()
    content = (hosts.theirs / "notes" / pack).read_bytes()
    (hosts.theirs / "notes" / pack).unlink()
    hosts.fetch(NOW + DAY)
    (hosts.theirs / "notes" / pack).write_bytes(content)
    hosts.fetch(NOW + 10 * DAY)
    (hosts.theirs / "notes" / pack).unlink()
    hosts.fetch(NOW + 20 * DAY)
    assert pack in hosts.kept()


@pytest.mark.parametrize("lost", ["config", "keys"])
def test_what_opens_a_repository_does_not_go(hosts, lost):
    paths = hosts.repository()
    hosts.fetch()
    (path,) = (one for one in paths if one.startswith(lost))
    (hosts.theirs / "notes" / path).unlink()
    with pytest.raises(PergolaError, match=f"{path} has vanished there"):
        hosts.fetch()


# -- what was copied is read -----------------------------------------------------------------------


def test_every_copy_is_read_and_a_damaged_one_is_named(hosts):
    *_, pack = hosts.repository()
    hosts.fetch()
    wrong = []
    assert (verify.verify_files(hosts.settings, wrong), wrong) == (5, [])
    (hosts.copy / pack).chmod(0o600)
    (hosts.copy / pack).write_bytes(b"a bit of it")
    verify.verify_files(hosts.settings, wrong)
    assert wrong[0].reason == f"copies of files are damaged: {hosts.copy / pack}"
    (hosts.copy / pack).unlink()
    hosts.fetch()
    assert verify.verify_files(hosts.settings, []) == 5


def test_a_server_has_no_copies_of_others_to_read(hosts):
    own = settings.Settings("web1", 17, (*hosts.settings.repositories,) * 2)
    assert verify.verify_files(own, []) == 0


# -- and comes back --------------------------------------------------------------------------------


@pytest.fixture
def own(hosts, tmp_path, monkeypatch):
    """The repository of a server whose disk is new, and the calls of restic in it."""
    (tmp_path / "conf.d/vault1.conf").write_text(PEER.format(side="repo2-host", path=hosts.ours))
    main = "[global]\nrepo1-path={}\nrepo1-cipher-pass=key\nrepo1-retention-full=14\n"
    (tmp_path / "pgbackrest.conf").write_text(main.format(tmp_path / "new"))
    monkeypatch.setattr(repositories, "CONFIGURATION", tmp_path / "pgbackrest.conf")
    kept = notes.BackupRepository(2, "vault1", local=False)
    notes.BACKUP.write(tmp_path / "backup.json", notes.BackupSettings("web1", 17, (kept,)))
    monkeypatch.setattr(settings, "FILE", tmp_path / "backup.json")
    calls = []
    monkeypatch.setattr(repositories.Repository, "do", lambda self, *w: calls.append(w[0]) or "[]")
    return SimpleNamespace(repository=repositories.of("notes")[0], restic=calls)


def test_a_lost_repository_comes_back_before_anything_is_added(hosts, own):
    paths = hosts.repository()
    hosts.fetch()
    shutil.rmtree(hosts.theirs)
    own.repository.have()
    assert own.restic == ["unlock"]
    assert sorted(mirror.files(own.repository.path)) == sorted(paths)


def test_an_application_without_any_begins(hosts, own):
    own.repository.have()
    assert own.restic == ["init"]


def test_none_is_begun_while_nobody_knows_whether_there_is_a_copy(hosts, own):
    """Two repositories in one place, one after the other, could never be copied together."""
    hosts.answers = False
    with pytest.raises(PergolaError, match="is not there, and vault1 may have it"):
        own.repository.have()
    assert own.restic == []
    hosts.answers = True
    own.repository.have()
    assert own.restic == ["init"]


def test_a_plan_fetches_what_it_needs_only_and_changes_nothing(hosts, own):
    hosts.repository()
    hosts.fetch()
    hosts.commands.clear()
    own.repository.snapshots()
    fetched = [words[-1].split("/")[0] for words in hosts.commands if "repo-get" in words]
    assert fetched == ["keys", "snapshots", "config"]
    assert own.restic == ["snapshots"]
    assert not own.repository.path.exists()


def test_one_that_is_cut_off_is_not_taken_for_whole(hosts, own):
    hosts.repository()
    hosts.fetch()
    calls = []

    def cut(words):
        calls.append(words)
        hosts.answers = len(calls) < 4

    hosts.after = cut
    with pytest.raises(PergolaError, match="vault1 may have it"):
        own.repository.bring_back()
    assert mirror.files(own.repository.path)
    assert not own.repository.is_there()
    hosts.answers, hosts.after = True, lambda _: None
    assert own.repository.bring_back()
    assert len(mirror.files(own.repository.path)) == 5


def test_a_damaged_copy_gives_what_is_whole_and_says_so(hosts, own):
    *_, pack = hosts.repository()
    hosts.fetch()
    hosts.gives = {pack: b"damaged"}
    with pytest.raises(PergolaError, match=f"the copy on vault1 is damaged: {pack}"):
        own.repository.bring_back()
    assert len(mirror.files(own.repository.path)) == 4
    assert own.repository.bring_back()


def test_whether_files_are_elsewhere_too(own, tmp_path):
    assert repositories.are_elsewhere()
    (tmp_path / "conf.d/vault1.conf").unlink()
    assert not repositories.are_elsewhere(), "a host that no run has reached keeps none"


# -- who reads them --------------------------------------------------------------------------------


def test_the_daemon_reads_and_nobody_follows_a_link(tmp_path, monkeypatch):
    group = grp.getgrgid(os.getegid()).gr_name
    monkeypatch.setattr(readers, "GROUP", group)
    (tmp_path / "files/notes/data").mkdir(parents=True, mode=0o700)
    (tmp_path / "files/notes/data/pack").touch(mode=0o400)
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "secret").touch(mode=0o600)
    (tmp_path / "link").symlink_to(outside)
    readers.share(tmp_path / "files")
    readers.share(tmp_path / "link")
    readers.share(tmp_path / "nothing")
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o7777
        for name in ("files", "files/notes/data", "files/notes/data/pack", "outside/secret")
    }
    assert modes == {
        "files": 0o2750, "files/notes/data": 0o2750, "files/notes/data/pack": 0o440,
        "outside/secret": 0o600,
    }  # fmt: skip
    assert outside.stat().st_mode & 0o7777 == 0o700


def test_without_other_hosts_they_are_roots_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "GROUP", "no-such-group")
    (tmp_path / "files").mkdir(mode=0o700)
    readers.share(tmp_path / "files")
    assert (tmp_path / "files").stat().st_mode & 0o7777 == 0o700


def test_the_daemon_alone_is_in_the_group():
    template = PROJECT / "roles/backup/templates/pgbackrest.service.conf.j2"
    assert f"\nSupplementaryGroups={readers.GROUP}\n" in template.read_text()


def test_the_group_is_made_once(monkeypatch):
    done = []
    monkeypatch.setattr(readers, "run", lambda *words: done.append(words))
    monkeypatch.setattr(readers, "GROUP", grp.getgrgid(0).gr_name)
    readers.have_group()
    monkeypatch.setattr(readers, "GROUP", "no-such-group")
    readers.have_group()
    assert done == [("groupadd", "--system", "no-such-group")]
