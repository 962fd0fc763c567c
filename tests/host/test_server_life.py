"""What a server had before Pergola came: each is named, and nothing that only Pergola made is."""

import hashlib
import re
import socket
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "roles/preflight/module_utils"))

from server_life import database, files, network, packages, rules, sites, sockets  # noqa: E402
from server_life.sockets import Listener  # noqa: E402

OURS = """table inet pergola {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		tcp dport 22 accept comment "SSH"
		tcp dport { 80, 443 } accept
		ip saddr 192.0.2.9 tcp dport 9187 accept
	}
}
"""
# As some clouds' images have it, seen by iptables-restore-translate and by nft.
REJECT = """add table ip filter
add chain ip filter INPUT { type filter hook input priority 0; policy accept; }
add rule ip filter INPUT ct state related,established counter accept
add rule ip filter INPUT iifname "lo" counter accept
add rule ip filter INPUT tcp dport 22 counter accept
add rule ip filter INPUT counter reject with icmp type host-prohibited
"""
UFW = """table ip filter {
	chain ufw-user-input {
		tcp dport 22 counter packets 0 bytes 0 accept
	}
	chain INPUT {
		type filter hook input priority filter; policy drop;
		counter packets 1 bytes 2 jump ufw-user-input
	}
}
"""
WEB = {"tcp": [80, 443], "ssh": [22]}


def listener(kind: str = "tcp", port: int = 1883, address: str = "0.0.0.0", **more) -> Listener:
    return Listener(kind, port, address, "1", **{"pid": 7, "program": "mqttd", **more})


def around(
    listed: str = "", addresses: tuple[str, ...] = ("203.0.113.1",), **more
) -> network.Network:
    return network.Network(rules.tables(listed), frozenset(addresses), **more)


def names(found) -> list[str]:
    return [one.name for one in found]


def cut(there, listed="", wanted=WEB, own=None, others=None, **more):
    return list(network.cut(around(listed, **more), there, wanted, own or {}, others or {}))


@pytest.fixture
def ufw(tmp_path, monkeypatch):
    """Installed and off, as on Ubuntu; what it says of itself by its arguments."""
    (tmp_path / "ufw.conf").write_text("# /etc/ufw/ufw.conf\nENABLED=no\nLOGLEVEL=low\n")
    monkeypatch.setattr(network, "UFW", tmp_path / "ufw.conf")
    says = {"status": "Status: inactive\n", "show added": "Added user rules …:\n(None)\n"}
    monkeypatch.setattr(
        network, "output", lambda *command, **_: says[" ".join(command).partition("ufw ")[2]]
    )
    return says


def test_a_ufw_that_is_off_is_no_news(ufw):
    assert list(network.ufw()) == []


def test_a_ufw_that_is_on_or_will_be_is_named_with_its_rules(ufw, tmp_path):
    ufw["show added"] = "Added user rules …:\nufw limit 22/tcp\nufw deny from 192.0.2.0/24\n"
    ufw["status"] = "Status: active\n\nTo …\n"
    (found,) = network.ufw()
    assert found.name == "ufw"
    assert found.adoptable
    assert "(ufw limit 22/tcp; ufw deny from 192.0.2.0/24)" in found.what
    ufw["status"] = "Status: inactive\n"
    (tmp_path / "ufw.conf").write_text("ENABLED=yes\n")
    assert names(network.ufw()) == ["ufw"]


# -- who listens -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
    ],
)
@pytest.mark.skipif(sys.byteorder != "little", reason="written for this machine's order")
def test_addresses_are_read_as_the_kernel_writes_them(text, address):
    assert sockets.address(text) == address


def test_a_socket_of_this_very_process_is_seen():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ours = [one for one in sockets.sockets() if (one.kind, one.port) == ("tcp", port)]
        assert [one.address for one in ours] == ["127.0.0.1"]
        assert sockets.owners()[ours[0].inode]
        assert sockets.is_loopback(ours[0])


def test_a_datagram_socket_that_is_connected_is_a_clients():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        ports = {one.port for one in sockets.sockets() if one.kind == "udp"}
        assert server.getsockname()[1] in ports
        assert client.getsockname()[1] not in ports


@pytest.fixture
def proc(tmp_path):
    """A /proc: our process comes from sudo, and that from the server of SSH, which listens."""

    def process(pid: int, parent: int, exe: str, environment: str = "") -> None:
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (a (name) x) S {parent} 1 1")
        (folder / "environ").write_text(environment)
        (folder / "exe").symlink_to(exe)

    process(30, 20, "/usr/bin/python3")
    process(20, 10, "/usr/bin/bash", "A=1\0SSH_CONNECTION=198.51.100.2 51000 203.0.113.1 2022\0")
    process(10, 1, "/usr/sbin/sshd")
    process(11, 1, "/usr/sbin/sshd")
    process(12, 1, "/usr/sbin/nginx")
    return tmp_path


def test_ports_of_ssh_are_this_connections_and_all_of_its_server(proc):
    there = [
        listener(port=2022, pid=10),
        listener(port=2222, pid=11),
        listener(port=80, pid=12),
    ]
    assert sockets.ssh_ports(30, there, proc) == [2022, 2222]


def test_a_socket_unit_that_started_ssh_is_known_by_the_connections_port(proc):
    there = [listener(port=2022, pid=1), listener(port=25, pid=1)]
    assert sockets.ssh_ports(30, there, proc) == [2022]


# -- what the firewall would cut -------------------------------------------------------------------


def test_services_of_every_kind_are_named_with_the_setting_that_keeps_them():
    found = cut([listener(), listener("udp", 51820), listener("protocol", 112)])
    assert names(found) == ["protocol-112", "tcp-1883", "udp-51820"]
    assert "add 51820 to base_firewall_udp_ports" in found[2].way
    assert "mqttd" in found[1].what


def test_what_stays_open_is_not_named():
    there = [listener(port=port) for port in (22, 80, 443)]
    there += [listener("udp", 443), listener("udp", 68), listener("udp", 546)]
    assert cut(there) == []


def test_names_of_the_local_network_are_kept_and_not_named():
    resolved = {"port": 5355, "program": "systemd-resolve", "unit": "systemd-resolved.service"}
    assert cut([listener(**resolved), listener("udp", **resolved)]) == []
    assert names(cut([listener(port=5355, unit="mine.service")])) == ["tcp-5355"]


def test_what_other_inventories_let_in_is_not_named():
    assert cut([listener()], others={"tcp": [1883]}) == []


def test_what_was_taken_out_of_the_settings_is_no_news():
    assert cut([listener()], OURS, own={"tcp": [80, 443, 1883]}) == []


def test_what_a_role_needs_no_more_is_no_news():
    """As the port of the backups' daemon, once backups are switched off."""
    before = {"peers": [{"port": 8432, "from": ["192.0.2.9"]}]}
    pgbackrest = listener(port=8432, unit="pgbackrest.service")
    assert cut([pgbackrest], OURS.replace("9187", "8432"), own=before) == []
    assert names(cut([pgbackrest], own={"peers": []})) == ["tcp-8432"]


def test_a_port_of_ssh_is_named_whatever_was_let_in_before():
    found = cut([listener(port=22)], OURS, wanted={"tcp": [80], "ssh": [2222]}, own={"ssh": [22]})
    assert names(found) == ["tcp-22"]


def test_the_loopback_is_nobodys_business():
    assert cut([listener(address="127.0.0.1"), listener(address="::1")]) == []


def test_a_rule_that_leads_to_the_loopback_makes_a_service_of_it():
    listed = """table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 8883 counter packets 0 bytes 0 dnat to 127.0.0.1:1883
	}
}
"""
    there = [listener(address="127.0.0.1")]
    assert names(cut(there, listed, loopback_is_led_to=True)) == ["tcp-1883"]
    assert cut(there, listed) == []


def test_what_is_sent_on_to_a_container_is_not_cut():
    listed = """table ip nat {
	chain DOCKER {
		iifname != "docker0" tcp dport 8080 counter packets 0 bytes 0 dnat to 172.17.0.2:80
	}
}
"""
    assert cut([listener(port=8080, program="docker-proxy")], listed) == []
    assert names(cut([listener(port=8080)], listed, addresses=("172.17.0.2",))) == ["tcp-8080"]
    # What comes over IPv6 is not sent on, and reaches docker-proxy.
    there = [listener(port=8080, address="::", program="docker-proxy")]
    assert cut(there, listed) == []
    assert names(cut(there, listed, addresses=("203.0.113.1", "2001:db8::1"))) == ["tcp-8080"]


def test_who_is_reached_by_another_port_only_is_reached():
    listed = """table inet mine {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport { 25, 2525 } counter packets 0 bytes 0 redirect to :1883
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct status dnat accept
	}
}
"""
    assert names(cut([listener(), listener(port=9000)], listed)) == ["tcp-1883"]
    # After a yes to its being cut it is no news.
    assert cut([listener()], listed + OURS) == []


@pytest.mark.parametrize(
    ("rule", "kind", "ports", "address", "port"),
    [
        ("tcp dport 80 dnat to 172.17.0.2:8080", "tcp", "80", "172.17.0.2", 8080),
        ("udp dport 1-9 dnat ip to 10.0.0.2", "udp", "1-9", "10.0.0.2", 0),
        ("tcp dport 80 dnat ip6 to [fd00::2]:80", "tcp", "80", "fd00::2", 80),
        ("tcp dport 80 counter dnat to 2001:db8::2", "tcp", "80", "2001:db8::2", 0),
        ("tcp dport { 80, 443 } redirect", "tcp", "{ 80, 443 }", "", 0),
    ],
)
def test_rules_that_give_another_destination(rule, kind, ports, address, port):
    table = rules.Table("ip", "nat", {"PREROUTING": [rule]})
    assert list(rules.led([table])) == [rules.Led(kind, ports, address, port)]


def test_what_nobody_reaches_today_is_not_cut():
    assert cut([listener()], UFW) == []
    # Over IPv6 it is reached, where the server has that.
    assert names(cut([listener(address="::")], UFW, addresses=("2001:db8::1",))) == ["tcp-1883"]


def test_a_port_for_some_addresses_is_a_limit_before_the_first_run_only():
    wanted = {**WEB, "peers": [{"port": 9187, "from": ["192.0.2.9"]}]}
    assert names(cut([listener(port=9187)], wanted=wanted)) == ["tcp-9187"]
    assert cut([listener(port=9187)], OURS, wanted=wanted) == []


SOME = UFW.replace(
    "tcp dport 22 counter", "ip saddr 10.0.0.5 tcp dport 5432 accept\n\t\ttcp dport 22 counter"
)


def test_a_port_that_some_addresses_reach_is_not_advised_to_be_opened_to_everybody():
    (found,) = cut([listener(port=5432)], SOME)
    assert found.name == "tcp-5432"
    assert "base_firewall_tcp_from: [{port: 5432, from: [ADDRESS, …]}]" in found.way
    (found,) = cut([listener(port=5432)])
    assert "add 5432 to base_firewall_tcp_ports" in found.way
    kept = {**WEB, "peers": [{"port": 5432, "from": ["10.0.0.5"]}], "limited": [5432]}
    assert cut([listener(port=5432)], SOME, wanted=kept) == []


def test_the_notes_of_inventories_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "NOTES", tmp_path)
    (tmp_path / "shop.json").write_text('{"tcp": [80, 8000], "udp": [1]}')
    (tmp_path / "blog.json").write_text(
        '{"tcp": [80, 9000], "peers": [{"port": 1, "from": ["a"]}]}'
    )
    own, others = network.notes("shop")
    assert own["tcp"] == [80, 8000]
    assert others["tcp"] == [80, 9000]
    assert others["udp"] == []
    assert others["peers"] == [{"port": 1, "from": ["a"]}]


# -- what is in the way ----------------------------------------------------------------------------


def test_whoever_holds_a_port_of_the_web_is_named_and_caddy_is_not():
    nginx = listener(port=80, program="nginx", unit="nginx.service")
    caddy = listener(port=443, program="caddy", unit="caddy.service")
    found = list(network.in_the_way([nginx, caddy, listener(port=443, unit="caddy-api.service")]))
    assert names(found) == ["port-80", "port-443"]
    assert not found[0].adoptable
    assert "systemctl disable --now nginx.service" in found[0].way


def test_rules_that_keep_visitors_out_are_named():
    tables = rules.added(REJECT)
    found = list(network.visitors(network.Network(tables), [80, 443]))
    assert names(found) == ["firewall"]
    assert "TCP 80 and 443" in found[0].what
    assert list(network.visitors(around(OURS), [80, 443])) == []


def test_ufw_is_not_named_as_it_is_turned_off():
    assert list(network.visitors(around(UFW), [80])) == []


def test_rules_that_came_after_pergola_are_a_matter_of_the_monitoring():
    tables = [*rules.added(REJECT), *rules.tables(OURS)]
    assert list(network.visitors(network.Network(tables), [80])) == []


def test_rules_of_an_address_family_that_the_server_does_not_have_are_nobodys_business():
    six = network.Network(rules.added(REJECT), addresses=frozenset({"2001:db8::1"}))
    assert list(network.visitors(six, [80])) == []


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
def dpkg(monkeypatch):
    """Which packages have brought which content."""
    brought: dict[str, bytes] = {}

    def output(*command: str, text: str = "") -> str:
        if "--search" in command:
            return f"caddy: {command[-1]}\n" if command[-1] in brought else ""
        digest = {path: hashlib.md5(text).hexdigest() for path, text in brought.items()}
        return "".join(f" {path} {one}\n" for path, one in digest.items())

    monkeypatch.setattr(files, "output", output)
    return brought


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("http://blog.example.org {\n}\n", True),
        ("# Managed by Ansible (role caddy).\n", False),
        (":80 {\n}\n", False),  # as the package brought it
        ("", False),
        (None, False),
    ],
)
def test_a_file_is_somebodys_unless_pergola_or_the_package_wrote_it(tmp_path, dpkg, text, named):
    path = tmp_path / "Caddyfile"
    dpkg[str(path)] = b":80 {\n}\n"
    if text is not None:
        path.write_text(text)
    found = list(files.found([{"path": str(path), "name": "caddyfile"}]))
    assert names(found) == (["caddyfile"] if named else [])
    assert [one.path for one in found] == ([str(path)] if named else [])


# Where the server's own people write too: a piece of a file only, or what a setting asks for.
ALLOWED = {
    "/etc/environment",  # a block of it
    "/etc/locale.conf",  # unless the server has a locale
    "/etc/default/locale",
    "/usr/local/share/ca-certificates/",  # the name of the user's own file
    "/etc/apt/sources.list.d/ubuntu.sources",  # one word of it
    "/etc/caddy/adopted.caddy",
    "/etc/caddy/paths/",  # the name of a domain that is a site's here
    "/usr/sbin/ufw",  # looked for
    "/etc/pgbackrest/conf.d/",  # the name of the stanza
    "/etc/systemd/system/prometheus-",  # a drop-in of our name
    "/etc/postgresql/",  # the same
    "/etc/systemd/system/",  # the application's units
}


def test_every_file_that_a_role_writes_is_ours_by_name_or_looked_at_first():
    """What a role writes under a name that others may use is among what it brings."""
    written, looked_at = set(), set()
    place = re.compile(r"""(?:path|dest|'path')"?: *['"]?(/(?:etc|usr|srv|var)[^'"} ,\n]*)""")
    for path in [*PROJECT.glob("roles/*/tasks/*.yml"), *PROJECT.glob("roles/*/vars/main.yml")]:
        text = path.read_text()
        written |= {one.partition("{{")[0] for one in place.findall(text) if "pergola" not in one}
    for path in PROJECT.glob("roles/*/meta/checks.yml"):
        brings = yaml.safe_load(path.read_text()).get("brings", {})
        looked_at |= {one.partition("{{")[0] for one in place.findall(str(brings.get("files")))}
    assert written - looked_at - ALLOWED == set()
    assert {"/etc/caddy/Caddyfile", "/etc/pgbackrest/pgbackrest.conf"} <= looked_at


# -- packages, settings, sites, databases ----------------------------------------------------------


def test_the_program_that_keeps_the_clock_is_the_one_that_says_so():
    there = {"zsh": set(), "chrony": {"time-daemon"}}
    assert packages.time_daemon(there) == "chrony"
    assert packages.time_daemon({"zsh": set()}) == ""


def test_packages_that_apt_would_remove_are_named(monkeypatch):
    said = {
        "apt-cache": "caddy\nnew\n",
        "apt-get": "Remv exim4 [4.98]\nInst new (1.0 Debian)\n",
    }
    monkeypatch.setattr(packages, "output", lambda *command, **_: said[command[0]])
    assert names(packages.removed(["new", "caddy", "unknown"], {"caddy": set()})) == [
        "package-exim4"
    ]
    assert list(packages.removed(["caddy"], {"caddy": set()})) == []


@pytest.mark.parametrize(
    ("files_there", "named"),
    [
        ({"20auto-upgrades": 'APT::Periodic::Unattended-Upgrade "1";'}, False),
        ({"20auto-upgrades": 'APT::Periodic::Unattended-Upgrade "0";'}, True),
        ({"50unattended": '//APT::Periodic::Unattended-Upgrade "0";'}, False),
        # It wins over Pergola's.
        ({"99ours": 'APT::Periodic::Unattended-Upgrade "0";'}, False),
        # It was said before.
        ({"20auto": 'APT::Periodic::Unattended-Upgrade "0";', "52pergola-updates": ""}, False),
        ({}, False),
    ],
)
def test_how_the_server_updates_itself_is_not_changed_without_a_word(
    tmp_path, monkeypatch, files_there, named
):
    monkeypatch.setattr(packages, "APT", tmp_path)
    for name, text in files_there.items():
        (tmp_path / name).write_text(text + "\n")
    found = packages.updates({"APT::Periodic::Unattended-Upgrade": "1"})
    assert names(found) == (["updates"] if named else [])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[Journal]\nSystemMaxUse=5G\n", True),
        ("[Journal]\n#SystemMaxUse=\n", False),
        ("SystemMaxUse=5G\nSystemMaxUse=1G\n", False),
        ("SystemMaxUse=5G\n# Managed by Ansible (role base).\nSystemMaxUse=1G\n", False),
    ],
)
def test_a_journal_that_is_kept_longer_is_not_cut_without_a_word(monkeypatch, text, named):
    monkeypatch.setattr(packages, "output", lambda *_, **__: text)
    assert names(packages.journal({"SystemMaxUse": "1G"})) == (["journal"] if named else [])


def test_a_unit_that_somebody_has_changed_is_named_before_the_first_run(tmp_path, dpkg):
    assert list(files.units(["caddy.service"], tmp_path)) == []
    (tmp_path / "caddy.service.d").mkdir()
    (tmp_path / "caddy.service.d/override.conf").write_text("[Service]\nExecStart=\n")
    assert names(files.units(["caddy.service"], tmp_path)) == ["unit-caddy"]
    (tmp_path / "caddy.service.d/50-pergola.conf").write_text(
        "# Managed by Ansible (role caddy).\n"
    )
    assert list(files.units(["caddy.service"], tmp_path)) == []


def test_a_name_of_another_site_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sites, "FOLDER", tmp_path)
    for name in ("probe", "blog"):
        (tmp_path / f"{name}.caddy").write_text(name)
    adapted = {"blog": '{"match":[{"host":["www.example.org","example.org"]}]}', "probe": "{}"}
    monkeypatch.setattr(sites, "output", lambda *command, **_: adapted[Path(command[-1]).stem])
    found = list(sites.found("probe", ["example.org", "probe.test"]))
    assert names(found) == ["name-example.org"]
    assert not found[0].adoptable
    assert list(sites.found("blog", ["example.org"])) == []


def test_an_application_of_the_same_name_of_another_inventory_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sites, "FOLDER", tmp_path)
    (tmp_path / "shop.caddy").write_text("# Managed by Ansible (role caddy).\n")
    monkeypatch.setattr(sites, "output", lambda *_, **__: '{"host":["shop.example.org"]}')
    own = {"identity": "prod, shop"}

    def found(identity, *wanted):
        return names(sites.taken("shop", [*wanted], identity, own))

    assert found("staging, shop", "staging.example.org") == ["application-shop"]
    # The same inventory with another domain, or another one that has the same.
    assert found("prod, shop", "new.example.org") == []
    assert found("staging, shop", "shop.example.org") == []
    assert names(sites.taken("shop", ["a"], "staging, shop", {})) == []


USED = '{"databases": ["notes", "shop"], "set": {"max_connections": "300", "work_mem": "4MB"}}'
FRESH = '{"databases": [], "set": {"timezone": "Europe/Vienna"}}'
SETTINGS = {"max_connections": "100", "work_mem": "4MB", "timezone": "'UTC'"}


@pytest.mark.parametrize(("answer", "named"), [(USED, True), (FRESH, False), ("", False)])
def test_a_database_that_others_use_is_named_with_what_would_change(
    tmp_path, monkeypatch, answer, named
):
    monkeypatch.setattr(database, "Path", lambda _: tmp_path)
    monkeypatch.setattr(database, "asked", lambda *_: answer)
    found = list(database.found(17, SETTINGS))
    assert names(found) == (["postgresql"] if named else [])
    if named:
        assert "(notes, shop)" in found[0].what
        assert "max_connections: '300' -> '100'" in found[0].what
        assert "work_mem" not in found[0].what
        assert "postgresql_max_connections: 300" in found[0].way


def test_a_cluster_of_pergolas_own_has_nothing_to_say(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "Path", lambda _: tmp_path)
    monkeypatch.setattr(database, "asked", lambda *_: USED)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/pergola.conf").write_text("# Managed by Ansible (role postgresql).\n")
    assert list(database.found(17, SETTINGS)) == []


@pytest.mark.parametrize(
    ("one", "other"), [("*", "'*'"), ("64 MB", "64MB"), ("60", "60  # seconds"), ("on", "on")]
)
def test_spellings_of_a_setting(one, other):
    assert database.same(one, other)
