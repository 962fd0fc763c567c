"""Directories that stay: what a release links to, and what visitors see of them."""

import contextlib
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from pergola.app import directories
from pergola.app.directories import Directory
from pergola.errors import PergolaError
from pergola.release import phases, shared
from pergola.release.build import Ordered
from release_made import manifest

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
NOBODY = 65534


# -- in releases -----------------------------------------------------------------------------------


@pytest.fixture
def release(releases, monkeypatch):
    """A release with directories that stay, and files of the repository's."""
    monkeypatch.setattr(shared, "transient", lambda _releases, _release, command, *_: command)

    def made(*paths, directory="", files=()):
        manifest(releases, "a", shared_directories=list(paths), directory=directory)
        code = releases.path("a") / "code"
        for path in paths:
            (releases.home / "shared" / path).mkdir(parents=True, exist_ok=True)
        (code / directory).mkdir(parents=True, exist_ok=True)
        for name in files:
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            (code / name).write_text(f"{name} of the repository")
        return releases, code

    return made


def test_a_release_links_to_them_where_the_application_expects_them(release):
    releases, code = release("media", "var/data", directory="api")
    assert shared.share(releases, "a") == []
    for path in ("media", "var/data"):
        assert (code / "api" / path).readlink() == releases.home / "shared" / path
    (code / "api/media/a").write_text("1")
    assert (releases.home / "shared/media/a").read_text() == "1"


def test_what_the_repository_has_is_copied_once(release):
    releases, code = release("media", files=["media/a", "media/sub/b"])
    (said,) = shared.share(releases, "a")
    kept = releases.home / "shared/media"
    assert said.startswith(f"{kept} was empty and has the 2 files of the repository now")
    assert (kept / "sub/b").read_text() == "media/sub/b of the repository"
    assert (code / "media").is_symlink()
    (kept / "a").write_text("of the application")
    (kept / "sub/b").unlink()
    shutil.rmtree(code)
    releases, code = release("media", files=["media/a", "media/sub/b"])
    assert shared.share(releases, "a") == []
    assert (kept / "a").read_text() == "of the application"
    assert not (kept / "sub/b").exists()


def test_what_keeps_an_empty_directory_in_git_is_nobodys_file(release):
    releases, code = release("media", files=["media/.gitkeep"])
    assert shared.share(releases, "a") == []
    assert list((code / "media").iterdir()) == []


def test_a_copy_that_fails_is_told_with_what_to_empty(release, monkeypatch):
    releases, _ = release("media", files=["media/a"])
    monkeypatch.setattr(shared, "transient", lambda *_: ["sh", "-c", "echo disk full; exit 1"])
    with pytest.raises(PergolaError) as refused:
        shared.share(releases, "a")
    assert "disk full" in str(refused.value)
    assert f"empty {releases.home}/shared/media, which was empty before" in str(refused.value)


@pytest.mark.parametrize("made", ["file", "link", "file above", "link above"])
def test_what_a_build_put_in_their_place_is_refused(release, made):
    releases, code = release("var/data")
    (code / "elsewhere").mkdir()
    place = code / ("var" if "above" in made else "var/data")
    place.parent.mkdir(exist_ok=True)
    if "link" in made:
        place.symlink_to(code / "elsewhere")
    else:
        place.write_text("")
    with pytest.raises(PergolaError, match="var/data of app_shared_directories is a file or a"):
        shared.share(releases, "a")
    assert place.exists()
    assert list((code / "elsewhere").iterdir()) == []


def test_one_that_the_server_does_not_have_is_told(release):
    releases, _ = release("media")
    (releases.home / "shared/media").rmdir()
    with pytest.raises(PergolaError, match=r"there is no directory .*shared/media"):
        shared.share(releases, "a")


def test_a_release_of_before_has_none(releases):
    manifest(releases, "a")
    assert shared.share(releases, "a") == []


def test_a_deploy_says_what_was_copied(monkeypatch):
    class Build:
        left_out, copied = (), ("media has 2 files now",)
        __init__ = make = lambda *_: None

    said = []
    monkeypatch.setattr(phases, "Build", Build)
    work = SimpleNamespace(
        releases=SimpleNamespace(is_ready=lambda _: False),
        release="a",
        order=SimpleNamespace(manifest=Ordered()),
        progress=SimpleNamespace(),
        warn=said.append,
    )
    phases.prepare(work)
    assert said == ["media has 2 files now"]


# -- for visitors ----------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A server's units; `done`: what was asked of systemd. Mounting makes the same directory."""
    found = SimpleNamespace(units=tmp_path / "units", done=[], fails=False)
    found.units.mkdir()
    found.home = tmp_path / "srv/my-notes"

    def systemctl(*words):
        found.done.append(" ".join(words))
        if words[0] == "restart" and not found.fails:
            for path in (found.home / "shared").rglob("*"):
                where = found.home / "public" / path.relative_to(found.home / "shared")
                if directories.unit_of(where) == words[1]:
                    where.parent.mkdir(parents=True, exist_ok=True)
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                        where.rmdir()
                    where.symlink_to(path)
        return SimpleNamespace(returncode=int(found.fails and words[0] == "restart"))

    monkeypatch.setattr(directories, "UNITS", found.units)
    monkeypatch.setattr(directories, "systemctl", systemctl)
    monkeypatch.setattr(
        directories, "run", lambda *words, stdin: found.done.append(stdin.split()[1])
    )
    monkeypatch.setattr(directories, "journal", lambda _: "mount: unknown option")
    for name in ("enable", "disable"):
        monkeypatch.setattr(
            directories, name, lambda unit, name=name: found.done.append(f"{name} {unit}")
        )
    for path in ("media", "data/a-b"):
        (found.home / "shared" / path).mkdir(parents=True)
    return found


def test_what_is_public_is_mounted_and_nothing_else(host):
    listed = [Directory("media", "/media"), Directory("data/a-b")]
    made = directories.show(host.home, listed)
    (unit,) = host.units.iterdir()
    assert unit.name == directories.unit_of(host.home / "public/media")
    text = unit.read_text()
    assert f"What={host.home}/shared/media\nWhere={host.home}/public/media\n" in text
    options = text.partition("Options=")[2].split()[0].split(",")
    assert {"ro", "nosymfollow", "noexec"} <= {*options}
    assert made == [f"mount {unit.name}", "media for visitors"]
    assert host.done == [
        "daemon-reload",
        f"{host.home}/shared/media",  # Caddy may read what is there
        f"enable {unit.name}",
        f"restart {unit.name}",
    ]
    assert directories.show(host.home, listed) == []


def test_what_is_not_public_any_more_is_unmounted_and_stays(host):
    other = host.units / directories.unit_of(host.home.parent / "my/public/media")
    other.write_text("another application's")
    directories.show(host.home, [Directory("media", "/media")])
    unit = directories.unit_of(host.home / "public/media")
    host.done.clear()
    assert directories.show(host.home, [Directory("media")]) == [f"no mount {unit}"]
    assert host.done == [f"disable {unit}", f"stop {unit}", "daemon-reload"]
    assert list(host.units.iterdir()) == [other]
    assert (host.home / "shared/media").is_dir()


def test_a_directory_that_was_replaced_is_mounted_again(host):
    listed = [Directory("media", "/media")]
    directories.show(host.home, listed)
    (host.home / "public/media").unlink()
    (host.home / "public/media").mkdir()
    assert directories.show(host.home, listed) == ["media for visitors"]


def test_a_mount_that_fails_is_told_by_the_settings_name(host):
    host.fails = True
    with pytest.raises(PergolaError, match="app_shared_directories") as refused:
        directories.show(host.home, [Directory("media", "/media")])
    assert "unknown option" in str(refused.value)


@pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="needs systemd-escape")
@pytest.mark.parametrize("path", ["media", "my-media/a-b_c.d", ".cache/.x", "a--b"])
def test_the_unit_of_a_mount_is_called_as_systemd_wants_it(tmp_path, path):
    wanted = ["systemd-escape", "--path", "--suffix=mount", str(tmp_path / path)]
    said = subprocess.check_output(wanted, text=True).strip()
    assert directories.unit_of(tmp_path / path) == said


@needs_root
def test_one_inside_of_another_is_told_before_the_first_change(host):
    os.chown(host.home / "shared/media", NOBODY, NOBODY)
    (told,) = directories.wrong(host.home, [Directory("media/photos"), Directory("data/c")])
    assert told.startswith("app_shared_directories: media/photos is inside media, which is one of")
    assert list(directories.wrong(host.home, [Directory("media"), Directory("new/a/b")])) == []


@needs_root
def test_what_was_taken_from_the_list_is_told_while_it_has_files(host):
    for path in ("media", "data/a-b"):
        os.chown(host.home / "shared" / path, NOBODY, NOBODY)
    assert directories.left(host.home, []) == []
    for path in ("media", "data/a-b"):
        (host.home / "shared" / path / "file").touch()
    assert directories.left(host.home, [Directory("media")]) == [f"{host.home}/shared/data/a-b"]
    assert directories.left(host.home.parent / "none", []) == []


# -- other directories of the server ---------------------------------------------------------------


@needs_root
def test_a_directory_that_it_writes_to_is_made_once_and_others_stay_as_they_are(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(
        directories, "account_of", lambda _: SimpleNamespace(pw_uid=NOBODY, pw_gid=NOBODY)
    )
    there, new = tmp_path / "there", tmp_path / "data/media"
    there.mkdir(mode=0o700)
    paths = [str(there), str(new), "-/not/needed"]
    assert directories.missing(paths) == [str(new)]
    assert directories.make("notes", paths) == [f"directory {new}"]
    assert (new.stat().st_uid, new.stat().st_mode & 0o777) == (NOBODY, 0o750)
    assert (new.parent.stat().st_uid, there.stat().st_uid) == (0, 0)
    assert directories.make("notes", paths) == []
