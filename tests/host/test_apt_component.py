"""Ubuntu's universe is switched on wherever the distribution's archive is written down."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "library/apt_component.py"
spec = importlib.util.spec_from_file_location("apt_component", PATH)
apt_component = importlib.util.module_from_spec(spec)
sys.modules["apt_component"] = apt_component
spec.loader.exec_module(apt_component)

SERVER = """# As the installer writes it.
Types: deb
URIs: http://archive.example.org/ubuntu/
Suites: noble noble-updates noble-backports
Components: main restricted
# A comment between fields.
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security.example.org/ubuntu/
Suites: noble-security
Components: main restricted
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""
FOLDED = """Types: deb
URIs: http://a.example.org/u
Suites: noble
 noble-updates
Components: main
 restricted
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 Components: main
"""
OFF = "Enabled: no\n" + SERVER.replace("Components: main", "Components: nothing main")
LINES = """# deb http://a.example.org/u noble main
deb [signed-by=/k.gpg] http://a.example.org/u noble main other # ours
deb-src http://a.example.org/u noble main
deb http://a.example.org/u/ noble-updates main
deb http://s.example.org/u noble-security main
"""
# Named after the release, and none of the distribution's.
VENDORS = """deb https://apt.example.com noble main
deb https://pg.example.com/apt noble-pgdg main
"""


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/vendors.list").write_text(VENDORS)
    return tmp_path


def changed(etc, name, text):
    (etc / name).write_text(text)
    texts = apt_component.lacking(etc, "noble", "universe")
    assert set(texts) <= {etc / name}, "vendors' entries stay"
    return texts.get(etc / name, text)


def test_every_stanza_of_the_archive_gets_it(etc):
    text = changed(etc, "sources.list.d/ubuntu.sources", SERVER)
    assert text == SERVER.replace("main restricted", "main restricted universe")


def test_the_file_may_have_any_name_and_folded_fields(etc):
    text = changed(etc, "sources.list.d/system.sources", FOLDED)
    assert text == FOLDED.replace(" restricted\n", " restricted universe\n")


def test_lines_get_it_before_their_comments(etc):
    assert changed(etc, "sources.list", LINES).splitlines() == [
        "# deb http://a.example.org/u noble main",
        "deb [signed-by=/k.gpg] http://a.example.org/u noble main other universe # ours",
        "deb-src http://a.example.org/u noble main",
        "deb http://a.example.org/u/ noble-updates main universe",
        "deb http://s.example.org/u noble-security main universe",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [("sources.list.d/ubuntu.sources", SERVER), ("sources.list", LINES)],
)
def test_it_is_added_once(etc, name, text):
    once = changed(etc, name, text)
    assert once != text
    assert changed(etc, name, once) == once


@pytest.mark.parametrize("text", [OFF.split("\n\n")[0], "", "Types: deb-src\nSuites: noble\n"])
def test_without_an_archive_there_is_nothing_to_add_it_to(etc, text):
    (etc / "sources.list.d/ubuntu.sources").write_text(text)
    assert apt_component.lacking(etc, "noble", "universe") is None
    says = apt_component.NONE.format(component="universe", release="noble", etc=etc)
    assert "Components: main universe" in says


def test_what_apt_has_not_read_yet_is_read(tmp_path):
    names = [str(tmp_path / "a_Packages"), str(tmp_path / "b_Packages")]
    assert apt_component.unread(names)
    (tmp_path / "a_Packages").touch()
    (tmp_path / "b_Packages.lz4").touch()
    assert not apt_component.unread(names)
