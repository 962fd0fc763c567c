"""web1: a blog, services of its own, rules of its own, a shop's database, chrony."""

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import scenario
from conftest import (
    KEPT,
    SETTINGS,
    TOTAL,
    Seen,
    changed,
    database,
    gets_in,
    named,
    page,
    said,
    state,
    tcp,
    udp,
)
from scenario import address, described
from testinfra.host import Host

Run = Callable[..., CompletedProcess[str]]
SERVER = address("web1")
SUMS = "find /etc/caddy -type f -exec sha256sum {} +"
# Who answers what, today and after the run.
SERVICES = {
    "mail": lambda: tcp(SERVER, 25),
    "mail by a redirect": lambda: tcp(SERVER, 2525),
    "mqtt": lambda: tcp(SERVER, 1883),
    "tunnel": lambda: udp(SERVER, 51820),
    "blog": lambda: page(SERVER, "blog.example.org", plain=True)[1].strip(),
}
ANSWERS = {
    "mail": "mail",
    "mail by a redirect": "mail",
    "mqtt": "mqtt",
    "tunnel": "tunnel",
    "blog": "the old blog",
}
FILES = [
    "/etc/nftables.conf",
    "/etc/chrony/conf.d/ours.conf",
    "/etc/postgresql/*/main/pg_hba.conf",
    "/etc/postgresql/*/main/conf.d/shop.conf",
    "/etc/systemd/system/mqtt.service",
    "/var/www/blog/index.html",
]


def digests(host: Host) -> list[str]:
    return host.check_output(f"sha256sum {' '.join(FILES)}").splitlines()


def all_answer() -> dict[str, str]:
    """What each service says; those that say something else than ever were cut."""
    heard = {name: ask() for name, ask in SERVICES.items()}
    TOTAL.cut += [name for name, answer in heard.items() if answer != ANSWERS[name]]
    return heard


@pytest.fixture(scope="module")
def files(refused: Seen, web1: Host) -> list[str]:
    """The server's own files before anything was said yes to."""
    return digests(web1)


def test_everything_is_named_before_the_first_change(refused):
    assert refused.names == {
        "tcp-25",
        "tcp-1883",
        "tcp-5432",
        "udp-51820",
        "caddyfile",
        "postgresql",
    }
    assert refused.changes == []


def test_each_is_named_with_who_it_is_and_the_way_on(refused):
    assert "mqtt.service (python3)" in refused.text
    assert "add 51820 to base_firewall_udp_ports" in refused.text
    assert (
        "add 25 to base_firewall_tcp_ports (with all that are named here: [25, 80, 443, 1883,"
        in refused.text
    )
    assert "databases of others (shop)" in refused.text
    assert "listen_addresses: '*' -> ''; max_connections: '300' -> '250'" in refused.text
    assert (
        "base_adopt: [tcp-25, tcp-1883, tcp-5432, udp-51820, caddyfile, postgresql]" in refused.text
    )


def test_a_refused_run_cuts_nothing(refused):
    assert all_answer() == ANSWERS


def test_what_was_agreed_to_stays_reachable(files, adopted):
    assert all_answer() == ANSWERS
    assert page(SERVER, "probe.test", "/readyz")[0] == 200


def test_no_file_of_the_servers_own_is_overwritten(files, adopted, web1):
    now = digests(web1)
    TOTAL.overwritten += [line for line in files if line not in now]
    assert now == files


def test_what_was_replaced_by_a_yes_is_kept_beside(adopted, web1):
    assert web1.file("/etc/caddy/Caddyfile.before-pergola").contains("blog.example.org")


def test_the_database_of_others_keeps_what_it_has(adopted, web1):
    assert database(web1, "show listen_addresses") == "*"
    assert database(web1, "show max_connections") == "300"
    query = "psql -XAtq -h %s -U shop shop -c 'select 1'"
    assert web1.check_output(query, SERVER).strip() == "1"


def test_jobs_stay_with_who_does_them(adopted, web1):
    assert web1.package("chrony").is_installed
    assert not web1.package("systemd-timesyncd").is_installed
    assert web1.check_output("readlink /etc/localtime").endswith("Europe/Vienna")


def test_a_second_run_needs_no_yes_and_changes_nothing(again):
    assert again.changes == []


@pytest.fixture(scope="module")
def second(again: Seen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another application on the same server: its own settings only, as deploy.yml takes them."""
    own = {name: value for name, value in SETTINGS.items() if name.startswith("app_")}
    own |= {"app_name": "second", "app_domain": "second.test"}
    own["app_environment"] = {"PROBE_DATABASE": "second"}
    folder = tmp_path_factory.mktemp("second")
    return described(folder, {"app": ["web1"], "db": ["web1"]}, own)


@pytest.mark.parametrize("name", ["probe.test", "blog.example.org"])
def test_a_name_that_another_site_has_is_refused(second, playbook, name):
    done = playbook("playbooks/deploy.yml", inventory=second, app_domain=name, fails=True)
    assert f"answers to {name} already" in said(done)
    assert "choose another app_domain" in said(done)
    assert changed(done) == []
    TOTAL.named.add(f"web1 name-{name}")


def test_the_server_is_provisioned_by_the_inventory_that_did_so_first(second, playbook, web1):
    """Another one's ports would be opened and closed by whichever ran last."""
    before = state(web1)
    for book in ("site.yml", "playbooks/provision.yml"):
        done = playbook(book, inventory=second, fails=True)
        assert "web1 is provisioned by the inventory of probe" in said(done)
        assert "playbooks/deploy.yml" in said(done)
        assert changed(done) == []
    assert state(web1) == before
    assert all_answer() == ANSWERS


def test_the_ports_of_the_inventory_of_before_stay_open_when_another_takes_over(
    second, one, playbook, web1
):
    """They add up; closing them is a change of its own."""
    over = {"preflight_takes_over": True, "backup_key_unattended": True}
    playbook("playbooks/provision.yml", "--tags=base", inventory=second, **over)
    try:
        assert all_answer() == ANSWERS
    finally:
        web1.check_output("rm -f /etc/pergola/firewall.d/second.json")
        playbook("playbooks/provision.yml", "--tags=base", inventory=one, **KEPT, **over)
    assert all_answer() == ANSWERS


def test_what_caddy_does_not_load_is_taken_back(again, one, playbook, web1):
    before = web1.check_output(SUMS)
    wrong = {"app_maintenance_allowed_networks": ["10.0.0.0/99"]}
    done = playbook("playbooks/deploy.yml", inventory=one, fails=True, **wrong)
    assert "The files of /etc/caddy do not go together; nothing was replaced." in said(done)
    assert web1.check_output(SUMS) == before
    web1.check_output("systemctl restart caddy")
    assert all_answer() == ANSWERS


def test_rules_that_lock_people_out_are_taken_back_by_the_server(again, one, playbook, web1):
    """A port that nobody listens on, although the run has named it and somebody said yes."""
    wrong = {**KEPT, "base_firewall_ssh_ports": [2222]}
    done = playbook("playbooks/provision.yml", "--tags=base", inventory=one, fails=True, **wrong)
    assert named(done) == {"tcp-22"}
    wrong["base_adopt"] = ["tcp-22"]
    done = playbook("playbooks/provision.yml", "--tags=base", inventory=one, fails=True, **wrong)
    assert "Its rules of before are back, and it answers again" in said(done)
    assert gets_in("web1", 22)
    assert all_answer() == ANSWERS
    playbook("playbooks/provision.yml", "--tags=base", inventory=one, **KEPT)


@pytest.fixture
def rebooted(again: Seen, web1: Host) -> Iterator[None]:
    scenario.testhosts("stop", "web1")
    scenario.testhosts("start", "web1")
    scenario.wait_for("the blog", lambda: SERVICES["blog"]() == ANSWERS["blog"])
    scenario.wait_for("mail", lambda: SERVICES["mail"]() == ANSWERS["mail"])
    return


def test_both_firewalls_are_there_after_a_reboot(rebooted, web1):
    tables = web1.check_output("nft list tables").splitlines()
    assert {"table inet mine", "table inet pergola"} <= set(tables)
    assert all_answer() == ANSWERS
    assert gets_in("web1", 22)


def test_a_reload_of_the_servers_own_rules_leaves_no_server_without_ours(again, web1):
    def both() -> bool:
        tables = web1.check_output("nft list tables").splitlines()
        return {"table inet mine", "table inet pergola"} <= set(tables)

    for verb in ("reload", "restart"):
        web1.check_output("systemctl %s nftables", verb)
        # systemctl waits for that unit only; ours follows it.
        scenario.wait_for(f"both tables after a {verb}", both)
