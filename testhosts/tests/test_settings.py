from pathlib import Path

import pytest

from testhosts.settings import Settings
from testhosts.shell import HostsError


def test_defaults_and_empty_values():
    settings = Settings.read({"TESTHOSTS_SUITE": "", "TESTHOSTS_DNS": ""})
    assert settings.state == Path("/var/lib/pergola-testhosts")
    assert (settings.network, settings.suite, settings.dns) == ("10.213", None, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TESTHOSTS_STATE", "relative"),
        ("TESTHOSTS_STATE", "/with space"),
        ("TESTHOSTS_STATE", "/with:colon"),
        ("TESTHOSTS_NETWORK", "10"),
        ("TESTHOSTS_NETWORK", "10.300"),
        ("TESTHOSTS_NETWORK", "10.1.2"),
    ],
)
def test_wrong_values_are_named(name, value):
    with pytest.raises(HostsError, match=f"{name}={value}"):
        Settings.read({name: value})


def test_nameservers_leave_out_what_hosts_cannot_reach(tmp_path):
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    real.write_text("# x\nnameserver 127.0.0.1\nnameserver fd00::1\nnameserver 192.0.2.53\n")
    assert Settings.read({}).nameservers((stub, real)) == ["192.0.2.53"]
    assert Settings.read({"TESTHOSTS_DNS": "192.0.2.1,192.0.2.2"}).nameservers() == [
        "192.0.2.1",
        "192.0.2.2",
    ]
    with pytest.raises(HostsError, match="set TESTHOSTS_DNS"):
        Settings.read({}).nameservers((stub, tmp_path / "missing"))
