import pytest

from testhosts import suites
from testhosts.shell import HostsError


@pytest.mark.parametrize(
    ("name", "codename"),
    [
        ("13", "trixie"),
        ("12", "bookworm"),
        ("forky", "forky"),
        ("24.04", "noble"),
        ("26.04", "resolute"),
        ("Noble", "noble"),
    ],
)
def test_suite_by_codename_or_version(name, codename):
    assert suites.find(name).codename == codename


def test_unknown_suite_names_the_known_ones():
    with pytest.raises(HostsError, match=r"unknown suite sid: .*bookworm \(12\)"):
        suites.find("sid")


@pytest.mark.parametrize(
    ("os_release", "codename"),
    [
        ({"ID": "debian", "VERSION_ID": "12"}, "trixie"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "24.04"}, "noble"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "26.04"}, "resolute"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "25.10"}, "noble"),
        ({"ID": "neon", "ID_LIKE": "ubuntu debian", "UBUNTU_CODENAME": "resolute"}, "resolute"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "noble"),
        ({"ID": "raspbian", "ID_LIKE": "debian"}, "trixie"),
    ],
)
def test_default_follows_the_machine(os_release, codename):
    assert suites.default(os_release).codename == codename


def test_other_systems_are_an_error():
    with pytest.raises(HostsError, match="Fedora Linux 42 is neither Debian nor Ubuntu"):
        suites.default({"ID": "fedora", "PRETTY_NAME": "Fedora Linux 42"})


def test_os_release_is_read_without_quotes(tmp_path):
    file = tmp_path / "os-release"
    file.write_text("# comment\nID=debian\nPRETTY_NAME=\"Debian 13\"\nHOME_URL='x=y'\n\n")
    assert suites.read_os_release(file) == {
        "ID": "debian",
        "PRETTY_NAME": "Debian 13",
        "HOME_URL": "x=y",
    }
