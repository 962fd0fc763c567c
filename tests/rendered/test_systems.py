"""What differs between the systems, on rendered files: Ubuntu does not boot on every machine.

The facts are those that Ansible recorded on each system, cut down to what the roles read.
"""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

PROJECT = Path(__file__).parents[2]
sys.path += [str(PROJECT / "control"), str(PROJECT / "host")]
from pergola.app.look import Look  # noqa: E402 - found through that line
from pergola.documents import answer  # noqa: E402
from pergola.web.site import Site  # noqa: E402
from pergola_control.settings.checks import checks_of, said  # noqa: E402

init_plugin_loader()
PROVISION = [
    "preflight",
    "base",
    "cluster",
    "postgresql",
    "backup",
    "uv",
    "caddy",
    "app",
    "monitoring",
]
PROVISION += ["release", "upgrade"]

COMMON = {
    "memtotal_mb": 3915,
    "processor_vcpus": 2,
    "mounts": [{"mount": "/", "size_available": 30 * 2**30}],
    "python_version": "3.12.3",
    "hostname": "web1",
}


def system(distribution, version, release, **more):
    return {
        **COMMON,
        "distribution": distribution,
        "distribution_version": version,
        "distribution_major_version": version.split(".")[0],
        "distribution_release": release,
        **more,
    }


SYSTEMS = {
    "noble": system("Ubuntu", "24.04", "noble"),
    "resolute": system("Ubuntu", "26.04", "resolute", python_version="3.14.2"),
    "bookworm": system("Debian", "12.11", "bookworm", python_version="3.11.2"),
    "trixie": system("Debian", "13.1", "trixie", python_version="3.13.5"),
}


def trusted(value):
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


@functools.cache
def load(path):
    return trusted(yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


CHECKS = checks_of(sorted((PROJECT / "roles").iterdir()), load)


class Host:
    """The variables of a host, as the roles see them, and templates over them."""

    def __init__(self, facts, **settings):
        variables = dict(CHECKS.variables)
        for kind in ("defaults", "vars"):
            for role in PROVISION:
                variables |= load(PROJECT / "roles" / role / kind / "main.yml")
            if kind == "defaults":
                variables |= load(PROJECT / "group_vars/all/wiring.yml")
                variables |= trusted(
                    {
                        "app_name": "notes",
                        "app_domain": "notes.example.org",
                        "app_source": ".",
                        "app_asgi": "notes:app",
                    }
                )
                variables |= trusted(settings)
        self.variables = variables | {
            "ansible_facts": facts,
            "group_names": ["app", "db", "servers"],
            "inventory_hostname": "web1",
            # It is the only host.
            "groups": trust_as_template("{{ dict(group_names | product([['web1']])) }}"),
            "hostvars": {"web1": {"inventory_hostname": "web1", **settings}},
            "inventory_dir": "inventory/prod",
            "inventory_file": "inventory/prod/hosts.yml",
            "ansible_managed": "Ansible managed",
            "ansible_check_mode": False,
        }
        self.looked(Site("2.6.2"))

    def looked(self, site):
        """What `pergola app look` answers."""
        look = json.loads(answer(Look(site, provisioned=True)))
        self.variables["__app_looked"] = {"answer": look}

    def __call__(self, expression):
        return self.template("{{ " + expression + " }}")

    def template(self, text, role="base"):
        loader = DataLoader()
        loader.set_basedir(str(PROJECT / "roles" / role / "templates"))
        paths = [str(PROJECT / "roles" / role)]
        variables = self.variables | {"ansible_search_path": paths}
        templar = Templar(loader, variables)
        return templar.template(trust_as_template(text))

    def file(self, role, name, **variables):
        self.variables |= trusted(variables)
        path = PROJECT / "roles" / role / "templates" / name
        # What ansible.builtin.template sets for its own environment.
        return self.template("#jinja2: trim_blocks: True\n" + path.read_text(), role)

    def said(self, rules):
        return " ".join(text for rule in rules for text in said(rule, self.template))

    def broken(self):
        """What the rules say of the settings."""
        return self.said(CHECKS.rules)

    def unfit(self):
        """What they say of the server, once its facts are known."""
        return self.said([*CHECKS.system_rules, *CHECKS.server_rules])


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_supported_system_is_fit(name):
    assert Host(SYSTEMS[name]).unfit() == ""


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (system("Ubuntu", "22.04", "jammy"), "It runs Ubuntu 22.04. Pergola needs Ubuntu 24.04"),
        (system("Ubuntu", "25.10", "questing"), "It runs Ubuntu 25.10."),
        (system("Debian", "11.9", "bullseye"), "It runs Debian 11.9."),
        (system("Debian", "n/a", "forky"), "It runs Debian forky."),
        (system("Fedora", "43", ""), "It runs Fedora 43."),
        (system("Debian", "12.1", "bookworm", python_version="3.10.4"), "Its Python is 3.10.4"),
        (
            system("Debian", "13.1", "trixie", mounts=[{"mount": "/", "size_available": 2**20}]),
            "Its root file system has 1 MB free",
        ),
    ],
)
def test_an_unfit_system_is_refused_with_what_to_do(facts, says):
    assert says in Host(facts).unfit()


@pytest.mark.parametrize(
    ("name", "version"), [("bookworm", 15), ("trixie", 17), ("noble", 16), ("resolute", 18)]
)
def test_postgresql_is_the_distributions_own(name, version):
    host = Host(SYSTEMS[name])
    assert host("postgresql_version") == version
    assert f"postgresql-{version}" in host("base_packages")
    assert host("__postgresql_config_dir") == f"/etc/postgresql/{version}/main"


def with_clusters(name, *versions):
    host = Host(SYSTEMS[name])
    files = [f"/etc/postgresql/{cluster}/postgresql.conf" for cluster in versions]
    host.variables["__preflight_clusters"] = {"stdout_lines": files}
    return host


def test_the_cluster_on_the_usual_port_is_the_one_that_applications_reach(tmp_path):
    text = (PROJECT / "roles/preflight/tasks/system.yml").read_text()
    (asked,) = (
        task["host_command"]["cmd"] for task in yaml.safe_load(text) if "host_command" in task
    )
    asked = asked.replace("/etc/", f"{tmp_path}/")

    def said():
        return subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True)

    assert (said().stdout, said().stderr) == ("", "")
    lines = {15: "port = 5432 # ours\n", 16: "#port = 5432\nport = 54321\n", 17: "port=5433\n"}
    for version, line in lines.items():
        file = tmp_path / f"postgresql/{version}/main/postgresql.conf"
        file.parent.mkdir(parents=True)
        file.write_text(f"data_directory = '/x'\n{line}")
    assert said().stdout == f"{tmp_path}/postgresql/15/main/postgresql.conf\n"


def test_the_cluster_on_the_server_decides_and_not_a_new_release_of_the_system():
    host = with_clusters("trixie", "15/main", "16/another")
    assert host("postgresql_version") == 15
    assert "postgresql-15" in host("base_packages")
    assert host.unfit() == ""


def test_another_version_than_that_of_the_cluster_is_refused():
    host = with_clusters("trixie", "15/main")
    host.variables["postgresql_version"] = 17
    assert (
        "Its cluster of PostgreSQL has version 15, and postgresql_version says 17" in host.unfit()
    )
    assert "playbooks/upgrade.yml -e postgresql=17" in host.unfit()
    host.variables["preflight_postgresql"] = False
    assert host.unfit() == ""


@pytest.mark.parametrize(
    ("name", "daemon"),
    [("noble", "systemd-timesyncd"), ("resolute", "chrony"), ("trixie", "systemd-timesyncd")],
)
def test_the_clock_is_kept_by_what_the_distribution_ships(name, daemon):
    assert daemon in Host(SYSTEMS[name])("__base_packages")


def test_all_packages_of_a_host_are_in_one_list():
    packages = Host(SYSTEMS["noble"])("(__base_packages + base_packages) | unique")
    assert {"postgresql-16", "caddy", "python3-venv", "nftables"} <= set(packages)


def test_a_host_without_a_database_gets_no_postgresql():
    host = Host(SYSTEMS["noble"])
    host.variables["group_names"] = ["app", "servers"]
    assert not [name for name in host("base_packages") if name.startswith("postgresql")]
    assert host("base_package_files") == []
    assert host("app_after_units") == []


@pytest.mark.parametrize(("name", "components"), [("noble", "main universe"), ("trixie", "main")])
def test_a_mirror_gets_the_components_that_the_packages_are_in(name, components):
    host = Host(SYSTEMS[name], base_apt_mirror="http://mirror.example.org/x")
    text = host.file("base", "pergola.sources.j2")
    assert f"Suites: {name} {name}-updates" in text
    assert f"Suites: {name}-security" in text
    assert text.count(f"Components: {components}\n") == 2
    archive = SYSTEMS[name]["distribution"].lower()
    assert f"Signed-By: /usr/share/keyrings/{archive}-archive-keyring.gpg" in text


def test_universe_is_asked_for_on_ubuntu_only():
    tasks = yaml.safe_load((PROJECT / "roles/base/tasks/universe.yml").read_text())
    task = next(task for task in tasks if "Enable Ubuntu's universe" in task["name"])
    for name, facts in SYSTEMS.items():
        assert Host(facts)(task["when"]) is (facts["distribution"] == "Ubuntu"), name


@pytest.mark.parametrize("name", SYSTEMS)
def test_needrestart_is_configured_wherever_it_may_come(name):
    host = Host(SYSTEMS[name])
    paths = [file["path"] for file in host("__base_files")]
    assert "/etc/needrestart/conf.d/50-pergola.conf" in paths


def test_needrestart_neither_asks_nor_restarts_anything_in_any_mode():
    text = (PROJECT / "roles/base/templates/needrestart.conf.j2").read_text()
    assert "$nrconf{restart} = 'l';" in text
    assert "$nrconf{override_rc} = { qr(.) => 0 };" in text


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_firewall_lets_ssh_and_the_web_in(name):
    host = Host(SYSTEMS[name], ansible_port=2222)
    rules = host.file("base", "firewall-rules.j2")
    assert "tcp dport { 22, 2222 } accept" in rules
    assert "tcp dport { 80, 443 } accept" in rules


@pytest.mark.parametrize("name", SYSTEMS)
def test_postgresql_is_tuned_to_its_share_of_the_memory(name):
    text = Host(SYSTEMS[name])("__postgresql_settings_file")
    assert "listen_addresses = ''" in text
    assert "shared_buffers = 384MB" in text
    assert "max_connections = 250" in text
    for line in text.splitlines():
        if line and not line.startswith("#"):
            assert "  # " in line, f"{line} says no reason"


def test_a_setting_of_the_users_own_wins_over_the_computed_one():
    host = Host(
        SYSTEMS["noble"], postgresql_settings={"work_mem": "32MB", "jit": True, "port": 5433}
    )
    text = host("__postgresql_settings_file")
    assert "work_mem = '32MB'" in text
    assert "jit = on" in text
    assert "port = 5433" in text
    assert text.count("\nwork_mem = ") == 1


OURS, ANOTHERS = ["192.0.2.10", "2001:db8::10"], ["198.51.100.7"]


@pytest.mark.parametrize(
    ("settings", "leads_to", "is_public", "internal", "plain"),
    [
        ({}, OURS[:1], False, False, False),
        ({}, [], False, True, True),
        ({}, ANOTHERS, False, True, True),
        # What has been public stays so, whatever DNS answers.
        ({}, [], True, False, False),
        ({}, ANOTHERS, True, False, False),
        # A cloud's server that does not know its public address: Ansible reaches it by that.
        ({"ansible_host": "198.51.100.7"}, ANOTHERS, False, False, False),
        ({"ansible_host": "notes.example.org"}, [], False, False, False),
        # Debian's installer maps the host's own name to a loopback address.
        ({}, ["127.0.1.1"], False, True, True),
        ({"app_certificates": "acme"}, [], False, False, False),
        ({"app_certificates": "internal"}, OURS, False, True, False),
        ({"app_certificates": "internal"}, [], True, True, False),
    ],
)
def test_the_certificate_comes_from_where_it_can_be_had(
    settings, leads_to, is_public, internal, plain
):
    host = Host(SYSTEMS["noble"], **settings)
    host.looked(Site("2.6.2", OURS, leads_to, is_public))
    assert host("__app_internal") is internal
    assert host("__app_plain_http") is plain
    site = host.file("app", "site.caddy.j2")
    assert ("tls internal" in site) is internal
    assert ("notes.example.org, http://notes.example.org {" in site) is plain


def test_a_site_is_reached_over_its_own_sockets_and_files():
    host = Host(SYSTEMS["noble"], app_static_url="/static", app_redirected_domains=["example.org"])
    host.looked(Site("2.6.2", OURS, OURS))
    site = host.file("app", "site.caddy.j2")
    assert "reverse_proxy unix//run/notes/blue.sock" in site
    assert "reverse_proxy unix//run/notes/green.sock" in site
    assert "root /srv/notes/live" in site
    # The page until the first release is live: what decides, and what is shown.
    assert "try_files nothing.html" in site
    assert "/srv/notes/live/maintenance.html /srv/notes/live/nothing.html" in site
    assert "root * /srv/notes/assets" in site
    assert "output file /var/log/caddy/notes.log" in site
    assert "redir https://notes.example.org{uri} permanent" in site


@pytest.mark.parametrize(
    ("settings", "ports"),
    [
        ({}, []),
        ({"app_listen_ports": [9100]}, ["tcp:9100"]),
    ],
)
def test_a_slot_may_open_the_ports_that_it_is_told_and_no_others(settings, ports):
    unit = Host(SYSTEMS["noble"], **settings).file("app", "@.service.j2")
    assert re.findall(r"^SocketBindAllow=(.*)$", unit, re.MULTILINE) == ports
    assert "\nSocketBindDeny=1-65535\n" in unit
    assert "PERGOLA_DRAIN_SECONDS=20\n" in unit


def test_a_site_is_as_the_applications_settings_say():
    """All of it, so that a deploy alone brings each of them into force."""
    host = Host(
        SYSTEMS["noble"],
        app_maintenance_allowed_networks=["192.0.2.0/24"],
        app_retry_after_seconds=77,
        app_max_body_size="3MB",
        app_response_header_seconds=33,
        app_hsts_seconds=99,
        app_security_headers={"X-Own": "yes"},
        app_log_roll_size_mb=7,
        app_log_roll_keep=9,
        app_health_path="/up",
    )
    site = host.file("app", "site.caddy.j2")
    for line in (
        "not remote_ip 192.0.2.0/24",
        "header Retry-After 77",
        "max_size 3MB",
        "response_header_timeout 33s",
        'header Strict-Transport-Security "max-age=99"',
        'header ?X-Own "yes"',
        "roll_size 7MiB",
        "roll_keep 9",
        "handle /up {",
    ):
        assert f"{line}\n" in site
    assert "X-Frame-Options" not in site


def test_the_authority_is_the_servers_for_all_sites():
    host = Host(SYSTEMS["noble"])
    assert "issuer" not in host.file("caddy", "authority.j2"), "Caddy's own authorities"
    host = Host(
        SYSTEMS["noble"],
        app_certificates="acme",
        caddy_email="you@example.org",
        caddy_acme_directory="https://ca/dir",
    )
    (issuer,) = re.findall(
        r"^tls \{\n\tissuer acme \{\n(.*?)^\t\}\n\}",
        host.file("caddy", "authority.j2"),
        re.M | re.S,
    )
    assert issuer.split() == ["dir", "https://ca/dir", "email", "you@example.org"]
    site = host.file("app", "site.caddy.j2")
    assert "import /etc/caddy/authority*" in site
    assert "email" not in site


def test_a_site_with_a_certificate_of_caddys_own_asks_no_authority():
    site = Host(SYSTEMS["noble"], app_certificates="internal").file("app", "site.caddy.j2")
    assert "tls internal" in site
    assert "/etc/caddy/authority" not in site


def test_the_monitoring_looks_at_a_site_as_its_deploys_say():
    """Who is told of its deploys is told of its server, unless that names others."""
    settings = {"app_certificates": "internal", "app_writable_paths": ["/var/lib/more"]}
    host = Host(SYSTEMS["noble"], release_notify_urls=["https://a"], **settings)
    watched = host("__app_watched")
    assert watched["site"] == {
        "app": "notes",
        "web": True,
        "path": "",
        "domain": "notes.example.org",
        "certificates": "internal",
        "log": "/var/log/caddy/notes.log",
        "addresses": ["web1"],
        "files": ["/var/lib/notes", "/srv/notes/shared", "/var/lib/more"],
        "services": [],
        "edge": False,
        "upstreams": {},
        "behind": "",
    }
    assert watched["urls"] == ["https://a"]
    assert host("__monitoring_config")["urls"] == []
    assert "site" not in host("__monitoring_config")
    host.variables["__preflight_checkout"] = {"owner": "shop"}
    assert host("__app_watched")["urls"] == ["https://a"]
    host.variables["monitoring_notify_urls"] = ["https://b"]
    assert host("__app_watched")["urls"] == []
    assert host("__monitoring_config")["urls"] == ["https://b"]


def test_a_server_without_an_application_tells_whom_deploys_tell():
    host = Host(SYSTEMS["noble"], release_notify_urls=["https://a"])
    host.variables["group_names"] = ["db", "servers"]
    assert host("__monitoring_config")["urls"] == ["https://a"]


def test_a_sandbox_directive_is_relaxed_by_its_name():
    host = Host(SYSTEMS["noble"], app_sandbox_overrides={"MemoryDenyWriteExecute": "no"})
    unit = host.file("app", "@.service.j2")
    assert "MemoryDenyWriteExecute=no\n" in unit
    assert "MemoryDenyWriteExecute=yes" not in unit
    assert "NoNewPrivileges=yes\n" in unit
    assert unit.count("SystemCallFilter=") == 3


def test_caddys_own_repository_is_signed_by_the_pinned_key_only():
    """How a repository is added, and a wrong key refused, is the same for all: test_postgresql."""
    assert Host(SYSTEMS["noble"])("base_repositories") == []
    host = Host(SYSTEMS["noble"], caddy_repository="upstream")
    (repository,) = host("base_repositories")
    source = host.file("base", "repository.sources.j2", item=repository)
    assert "Signed-By: /usr/share/keyrings/pergola-caddy.asc" in source
    assert repository["key_fingerprint"] == "65760C51EDEA2017CEA2CA15155B6D79CA56EA34"


@pytest.mark.parametrize(
    ("looked", "by", "said"),
    [
        (
            {"msg": "No start of json", "module_stdout": "Please login as the user x.\n"},
            "login",
            "Please login as the user x.",
        ),
        ({"msg": "Task failed: Missing sudo password"}, "password", "Missing sudo password"),
        (
            {
                "msg": "MODULE FAILURE",
                "module_stderr": "sudo: interactive authentication is required",
            },
            "password",
            "interactive authentication",
        ),
        ({"msg": "MODULE FAILURE", "module_stderr": "sudo: not found"}, "sudo", "sudo: not found"),
    ],
)
def test_who_refused_to_let_ansible_in_is_quoted_with_what_to_do(looked, by, said):
    host = Host(SYSTEMS["noble"])
    host.variables["__preflight_looked"] = looked
    refused = host("__preflight_refused")
    assert host("__preflight_refused_by") == by
    assert said in refused["said"]
    assert refused["todo"] == host("__preflight_advice")[by]


@pytest.mark.parametrize(
    ("version", "keeps"),
    [("2.6.2", False), ("2.7.6", True), ("2.11.1", True), ("", False)],
)
def test_a_reload_keeps_websockets_where_the_installed_caddy_can(version, keeps):
    host = Host(SYSTEMS["noble"])
    host.looked(Site(version))
    assert ("stream_close_delay" in host.file("app", "site.caddy.j2")) is keeps


def test_environments_are_told_apart_where_only_their_copies_are_kept(tmp_path):
    """Each lets its own servers in: one folder with a file for each, or a folder for each."""
    host = Host(SYSTEMS["trixie"])
    host.variables |= {"group_names": ["backup", "servers"], "inventory_dir": str(tmp_path)}
    seen = set()
    for name in ("prod.yml", "staging.yml", "hosts.yml"):
        (tmp_path / name).touch()
        host.variables["ansible_inventory_sources"] = [str(tmp_path / name)]
        seen.add(host("base_inventory"))
    host.variables["ansible_inventory_sources"] = [str(tmp_path)]
    seen.add(host("base_inventory"))
    folder = f"notes@{tmp_path.name}"
    assert seen == {folder, f"{folder}.prod", f"{folder}.staging"}
    host.variables["group_names"] = ["app", "servers"]
    assert host("base_inventory") == "notes"


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        (["ii  one", "hi  two"], []),
        (["ii  one", "rc  two"], ["two"]),
        (["ii  one", "ii  two-more"], ["two"]),
        ([], ["one", "two"]),
        # apt would remove it with what it came with.
        (["ii  one", "ii  two", "auto two", "auto three"], ["two"]),
    ],
)
def test_apt_is_called_when_a_package_is_lacking(there, lacking):
    host = Host(SYSTEMS["noble"])
    host.variables["__base_packages_wanted"] = ["one", "two"]
    host.variables["__base_packages_there"] = {"stdout_lines": there}
    assert sorted(host("__base_packages_lacking")) == lacking
    host.variables["__base_packages_wanted"] = ["one=1.2"]
    assert host("__base_packages_lacking") == ["one=1.2"]
