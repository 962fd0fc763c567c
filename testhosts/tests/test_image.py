import time
from pathlib import Path

import pytest

from testhosts import apt_sources, image, suites
from testhosts.image import Ingredients, keyring_files
from testhosts.settings import Settings


def ingredients(**changes):
    values = {
        "sources": "Types: deb\n",
        "signed_by": None,
        "apt_options": [],
        "environment": {},
        "authorities": {},
        "pip_conf": "",
        "uv_toml": "",
    }
    return Ingredients(**(values | changes))


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """No image is really built: an empty folder takes its place."""
    monkeypatch.setattr(image, "collect", lambda suite, settings: ingredients())
    monkeypatch.setattr(image, "build", lambda suite, _, target, log: target.mkdir(parents=True))
    monkeypatch.setattr(image, "customise", lambda root, suite, _: None)
    return Settings.read({"TESTHOSTS_STATE": str(tmp_path)})


def folder(settings, age, key=None):
    built = int(time.time()) - age
    path = settings.state / "images" / f"trixie-{key or ingredients().key()}-{built}"
    path.mkdir(parents=True)
    return path


def test_key_changes_with_every_ingredient():
    keys = {
        ingredients().key(),
        ingredients(pip_conf="[global]\n").key(),
        ingredients(authorities={"ca.crt": "PEM"}).key(),
        ingredients(apt_options=['Acquire::Retries "3"']).key(),
    }
    assert len(keys) == 4


def test_fresh_image_is_used_again(settings):
    folder(settings, 100)
    newest = folder(settings, 10)
    folder(settings, 5, key="00000000")
    assert image.find_or_build(suites.find("13"), settings) == newest


@pytest.mark.parametrize("age", [image.MAX_AGE + 1, -3600])
def test_outdated_image_and_one_of_the_future_are_built_anew(settings, age):
    old = folder(settings, age)
    (settings.state / "images" / ".trixie-00000000-building").mkdir()
    built = image.find_or_build(suites.find("13"), settings)
    assert built != old
    assert set(built.parent.iterdir()) == {old, built}


def test_garbage_is_old_and_unused_or_half_built(settings):
    used = folder(settings, image.MAX_AGE + image.GRACE + 10)
    folder(settings, image.MAX_AGE + image.GRACE + 20)
    fresh = folder(settings, 0)
    (settings.state / "images" / ".noble-00000000-building").mkdir()
    image.collect_garbage(settings, {str(used)})
    assert set((settings.state / "images").iterdir()) == {used, fresh}


@pytest.mark.parametrize(
    ("signed_by", "files"),
    [
        (None, []),
        ("/etc/apt/keyrings/a.gpg", ["/etc/apt/keyrings/a.gpg"]),
        ("/a.gpg, /b.gpg 0123456789ABCDEF", ["/a.gpg", "/b.gpg"]),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n /base64", []),
    ],
)
def test_files_of_a_signed_by_field(signed_by, files):
    assert keyring_files(signed_by) == [Path(file) for file in files]


@pytest.mark.parametrize(("name", "file"), [("24.04", "ubuntu.sources"), ("13", "system.sources")])
def test_an_image_has_the_sources_of_its_distribution(tmp_path, monkeypatch, name, file):
    """Ubuntu's in Ubuntu's file and without universe, which the roles must switch on."""
    monkeypatch.setattr(image, "run", lambda *command: None)
    monkeypatch.setattr(image.os, "chown", lambda *_: None)
    for folder in ("etc/apt/sources.list.d", "etc/sudoers.d", "etc/ssh", f"home/{image.USER}"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text("deb file:/tmp/build x main\n")
    (tmp_path / "etc/apt/sources.list.d/0000build.sources").write_text("Types: deb\n")
    suite = suites.find(name)
    sources = apt_sources.render(suite, apt_sources.Archive("http://a.example", "http://s.example"))
    image.customise(tmp_path, suite, ingredients(sources=sources))
    assert not (tmp_path / "etc/apt/sources.list").exists()
    assert [path.name for path in (tmp_path / "etc/apt/sources.list.d").iterdir()] == [file]
    text = (tmp_path / "etc/apt/sources.list.d" / file).read_text()
    assert text.count("Components: main\n") == 2
