import pytest

from testhosts import apt_sources, suites
from testhosts.apt_sources import Archive, Source, find_archive, parse_deb822, parse_one_line
from testhosts.settings import Settings
from testhosts.shell import HostsError

MAIN, SECURITY = "http://archive.example.test/debian", "http://security.example.test/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

ONE_LINE = f"""
# deb {MAIN} commented main
deb {MAIN} trixie main contrib  # why
deb [arch=amd64 signed-by={KEYRING}] {MAIN} trixie-updates main
  deb [ trusted=yes ] {SECURITY} trixie-security main
deb-src {MAIN} trixie main
"""

DEBIAN = f"""\
# a comment
Types: deb
URIs: {MAIN} {MAIN}-second
Suites: trixie
 trixie-updates
Components: main
Signed-By: {KEYRING}

Types: deb deb-src
# inside
URIs: {SECURITY}
Suites: trixie-security
Components: main
Signed-By: {KEYRING}

Enabled: no
Types: deb
URIs: http://off.example.test
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.example.test
Suites: trixie
Components: main
"""

UBUNTU = """\
Types: deb
URIs: http://archive.example.test/ubuntu/
Suites: noble noble-updates noble-backports
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security.example.test/ubuntu/
Suites: noble-security
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""


def settings(**values):
    return Settings.read({f"TESTHOSTS_{key}": value for key, value in values.items()})


@pytest.fixture
def keyrings(tmp_path, monkeypatch):
    monkeypatch.setattr(suites, "KEYRINGS", tmp_path)
    for distribution in ("debian", "ubuntu"):
        (tmp_path / f"{distribution}-archive-keyring.gpg").touch()
    return tmp_path


def test_one_line_sources_skip_comments_and_source_packages():
    assert parse_one_line(ONE_LINE) == [
        Source(MAIN, "trixie", ("main", "contrib")),
        Source(MAIN, "trixie-updates", ("main",), KEYRING),
        Source(SECURITY, "trixie-security", ("main",)),
    ]


def test_deb822_multiplies_uris_by_suites_and_skips_what_is_off():
    assert parse_deb822(DEBIAN) == [
        Source(MAIN, "trixie", ("main",), KEYRING),
        Source(MAIN, "trixie-updates", ("main",), KEYRING),
        Source(f"{MAIN}-second", "trixie", ("main",), KEYRING),
        Source(f"{MAIN}-second", "trixie-updates", ("main",), KEYRING),
        Source(SECURITY, "trixie-security", ("main",), KEYRING),
    ]


def test_deb822_keeps_an_inline_key():
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"
    text = f"Types: deb\nURIs: {MAIN}\nSuites: trixie\nComponents: main\nSigned-By:{key}\n"
    assert parse_deb822(text)[0].signed_by == key.strip()


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_empty_files_have_no_entries(text):
    assert parse_one_line(text) == parse_deb822(text) == []


@pytest.mark.parametrize(
    ("sources", "codename", "main", "security"),
    [
        (parse_one_line(ONE_LINE), "trixie", MAIN, SECURITY),
        (parse_deb822(DEBIAN), "trixie", MAIN, SECURITY),
        (
            parse_deb822(UBUNTU),
            "noble",
            "http://archive.example.test/ubuntu/",
            "http://security.example.test/ubuntu/",
        ),
    ],
)
def test_archive_of_the_machine(sources, codename, main, security):
    archive = find_archive(sources, codename)
    assert archive
    assert (archive.main, archive.security) == (main, security)


def test_archive_is_not_a_vendors_repository():
    vendor = "deb http://vendor.example.test trixie main\n"
    assert find_archive(parse_one_line(vendor + ONE_LINE), "trixie").main == MAIN
    assert find_archive(parse_one_line(vendor), "trixie") is None


def test_archive_of_a_machine_that_follows_stable():
    text = ONE_LINE.replace("trixie", "stable")
    assert find_archive(parse_one_line(text), "trixie") == Archive(MAIN, SECURITY)


def test_mirror_list_of_this_machine_is_resolved(tmp_path):
    listing = tmp_path / "mirrors.txt"
    listing.write_text(f"{MAIN}\tpriority:1\nhttp://second.example.test\n")
    assert apt_sources.resolve_uri(f"mirror+file:{listing}") == MAIN
    assert apt_sources.resolve_uri(f"mirror+file:{tmp_path}/lacking") is None
    assert apt_sources.resolve_uri("cdrom:[Debian]/") is None
    assert apt_sources.resolve_uri("file:///srv/mirror") is None


def test_machine_is_read_in_apts_order(tmp_path):
    (tmp_path / "sources.list").write_text("deb http://first.example.test trixie main\n")
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "b.list").write_text("deb http://third.example.test trixie main\n")
    (folder / "a.sources").write_text(DEBIAN)
    (folder / "c.list.disabled").write_text("deb http://never.example.test trixie main\n")
    uris = [source.uri for source in apt_sources.read_machine(tmp_path)]
    assert uris[0] == "http://first.example.test"
    assert uris[1] == MAIN
    assert uris[-1] == "http://third.example.test"


def test_the_other_release_comes_from_the_same_archive(keyrings):
    own = {"ID": "debian", "VERSION_CODENAME": "trixie"}
    archive = apt_sources.archive_for(
        suites.find("bookworm"), settings(), own, parse_deb822(DEBIAN)
    )
    text = apt_sources.render(suites.find("bookworm"), archive)
    assert [(s.uri, s.suite) for s in parse_deb822(text)] == [
        (MAIN, "bookworm"),
        (MAIN, "bookworm-updates"),
        (SECURITY, "bookworm-security"),
    ]
    assert f"Signed-By: {KEYRING}" in text


def test_mirror_settings_win(keyrings):
    own = {"ID": "debian", "VERSION_CODENAME": "trixie"}
    chosen = settings(MIRROR="http://m.example.test", MIRROR_SECURITY="http://s.example.test")
    archive = apt_sources.archive_for(suites.find("13"), chosen, own, parse_deb822(DEBIAN))
    assert archive == Archive("http://m.example.test", "http://s.example.test")


def test_ubuntus_mirror_brings_its_security_updates(keyrings):
    own = {"ID": "debian", "VERSION_CODENAME": "trixie"}
    chosen = settings(MIRROR="http://m.example.test")
    archive = apt_sources.archive_for(suites.find("noble"), chosen, own, parse_deb822(DEBIAN))
    assert archive == Archive("http://m.example.test", "http://m.example.test")


@pytest.mark.parametrize(
    ("suite", "values", "needed"),
    [
        ("noble", {}, "TESTHOSTS_MIRROR"),
        ("trixie", {"MIRROR": "http://m.example.test"}, "TESTHOSTS_MIRROR_SECURITY"),
    ],
)
def test_missing_archive_is_an_error(keyrings, suite, values, needed):
    own = {"ID": "debian", "VERSION_CODENAME": "trixie"}
    with pytest.raises(HostsError, match=f"set {needed}$"):
        apt_sources.archive_for(suites.find(suite), settings(**values), own, [])


def test_missing_keyring_is_an_error(keyrings):
    (keyrings / "ubuntu-archive-keyring.gpg").unlink()
    chosen = settings(MIRROR="http://m.example.test")
    with pytest.raises(HostsError, match="apt-get install ubuntu-keyring"):
        apt_sources.archive_for(suites.find("noble"), chosen, {"ID": "debian"}, [])
