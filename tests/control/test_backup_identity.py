"""Whose backups there are, and by which key: decided from what all hosts have told."""

import importlib.util
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def module(name, path):
    spec = importlib.util.spec_from_file_location(name, PROJECT / path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # its dataclasses look it up
    spec.loader.exec_module(found)
    return found


decided = module("backup_identity", "roles/backup/filter_plugins/backup_identity.py")
seen = module("backups_seen", "library/backups_seen.py")
fingerprint = importlib.import_module("pergola_control.backups.known").fingerprint

KEY, OTHER = "the key " * 6, "another " * 6
COPY = "/var/lib/pgbackrest/copies"


def host(system="", stanza="", stanzas=(), keys=()):
    return {"system": system, "stanza": stanza, "stanzas": list(stanzas), "keys": list(keys)}


def stanza(name="web1", of="", systems=("71",), place="/var/lib/pgbackrest"):
    found = {"name": name, "place": place, "host": of, "systems": list(systems)}
    return {**found, "version": "17" if systems else "", "newest": 1795546836}


def key(text=KEY, of="web1", place="/etc/pgbackrest/pgbackrest.conf", current=True):
    return {"place": place, "stanza": of, "key": text, "current": current}


def copy(name="web1", of="web1", systems=("71",), text=KEY):
    """What a host tells that keeps one server's copy."""
    there = key(text, name, f"/etc/pgbackrest/conf.d/{name}.conf")
    return host(stanzas=[stanza(name, of, systems, COPY)], keys=[there])


def decide(hosts, inventory=(), named=None, control=None, beside=None, versions=None):
    databases = [name for name in hosts if name.startswith(("web", "db"))]
    keepers = [name for name in hosts if name.startswith("vault")]
    return decided.identity(
        {
            "hosts": hosts,
            "databases": databases,
            "keepers": keepers,
            "inventory": [*hosts, *inventory],
            "named": named or {},
            "control": control or {},
            "beside": beside or {},
            "directory": "inventory/prod",
            "site": "ansible-playbook site.yml -i inventory/prod",
            "versions": versions or {},
        }
    )


def test_a_new_server_begins_under_its_inventory_name():
    found = decide({"web1": host(), "vault1": host()})
    assert found["stanzas"] == {"web1": "web1"}
    assert found["questions"] == {}
    assert (found["lost"], found["key"], found["key_question"]) == ([], "", "")


@pytest.mark.parametrize("of", ["web1", "old-name"])
def test_what_is_there_goes_on_by_its_cluster_whatever_it_is_called(of):
    """Made when the host's own name was the stanza's; or renamed in the inventory."""
    here = host("71", "ip-10-0-0-1", [stanza("ip-10-0-0-1")], [key(of="ip-10-0-0-1")])
    found = decide({"web1": here, "vault1": copy("ip-10-0-0-1", of)}, control={"backup.key": KEY})
    assert found["stanzas"] == {"web1": "ip-10-0-0-1"}
    assert (found["questions"], found["key_question"]) == ({}, "")


def test_a_server_that_was_not_asked_keeps_the_name_that_its_copys_host_knows():
    found = decide({"web1": {}, "vault1": copy("ip-10-0-0-1", "web1")})
    assert found["stanzas"] == {"web1": "ip-10-0-0-1"}
    assert found["questions"] == {}


def test_a_cluster_decides_not_what_the_configuration_says():
    here = host("71", "renamed", [stanza("renamed", systems=["99"]), stanza("before")])
    assert decide({"web1": here})["stanzas"] == {"web1": "before"}


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "a b", "", ".hidden", "x" * 64])
def test_what_a_server_tells_is_no_name_unless_it_has_the_form_of_one(name):
    here = host("71", name, [stanza(name)])
    assert decide({"web1": here})["stanzas"] == {"web1": "web1"}


def test_a_server_cannot_take_anothers_backups_by_telling_their_cluster():
    liar = host("72", "web2", [stanza("web2", systems=["72"])])
    other = host("72", "web2", [stanza("web2", systems=["72"])])
    found = decide({"web1": liar, "web2": other, "vault1": copy("web2", "web2", ["72"])})
    assert found["stanzas"] == {"web1": "web1", "web2": "web2"}


def test_two_servers_never_write_the_same_backups():
    twins = {"web1": host("71"), "db9": host("72"), "vault1": host()}
    found = decide(twins, named={"db9": "web1"})
    assert "db9 and web1 would write to the same backups" in found["twins"]


def test_a_new_machine_of_a_lost_servers_name_is_asked_about():
    found = decide({"web1": host(), "vault1": copy()})
    text = found["questions"]["web1"]
    assert "vault1 holds backups of web1" in text
    assert "web1 has no database cluster" in text
    assert "ansible-playbook site.yml -i inventory/prod -e rebuild=true" in text
    assert "backup_stanza: web1-2" in text
    assert found["lost"] == ["web1"]


def test_backups_of_another_version_of_postgresql_are_told_before_an_empty_one_is_made():
    hosts = {"web1": host(), "vault1": copy()}
    found = decide(hosts, versions={"web1": "18"})
    text = found["questions"]["web1"]
    assert "They are of PostgreSQL 17, and it has or gets 18" in text
    assert "postgresql_version to 17" in text
    assert "rebuild=true" not in text
    assert found["lost"] == []
    assert decide(hosts, versions={"web1": "17"})["lost"] == ["web1"]


def test_a_lost_server_whose_backups_had_its_own_name_is_found_by_the_copys_host():
    found = decide({"web1": host(), "vault1": copy("ip-10-0-0-1", "web1")})
    assert found["stanzas"] == {"web1": "ip-10-0-0-1"}
    assert found["lost"] == ["web1"]


def test_an_empty_cluster_that_a_stopped_run_left_is_asked_about_too():
    found = decide({"web1": host("99"), "vault1": copy()})
    assert "web1 has another database cluster" in found["questions"]["web1"]
    assert "stanza-upgrade" in found["questions"]["web1"]


def test_a_copy_of_a_server_that_the_inventory_has_no_more_is_asked_about():
    found = decide({"db9": host(), "vault1": copy()})
    text = found["questions"]["db9"]
    assert "vault1 holds backups of web1" in text
    assert "which is not in this inventory" in text
    assert "`backup_stanza: web1`" in text
    assert "`backup_stanza: db9`" in text
    assert decide({"db9": host(), "vault1": copy()}, named={"db9": "db9"})["questions"] == {}
    taken = decide({"db9": host(), "vault1": copy()}, named={"db9": "web1"})
    assert taken["lost"] == ["db9"]


def test_backups_with_another_key_are_another_environments():
    found = decide({"db9": host(), "vault1": copy(text=OTHER)}, control={"backup.key": KEY})
    assert found["questions"] == {}


def test_backups_on_a_disk_that_survived_are_asked_about():
    found = decide({"web1": host(stanzas=[stanza(systems=[])])})
    assert "web1 holds backups of web1" in found["questions"]["web1"]
    assert "their key is nowhere" in found["key_question"]


def test_no_server_begins_while_its_copys_host_could_not_be_asked():
    found = decide({"web1": host(), "vault1": {}})
    assert "vault1 could not be asked" in found["questions"]["web1"]
    assert decide({"web1": host("71"), "vault1": {}})["questions"] == {}


@pytest.mark.parametrize(
    "hosts",
    [
        {"web1": host(), "vault1": copy()},
        {"web1": host("71", "web1", [stanza()], [key()]), "vault1": host()},
        {"web1": host(keys=[key(place="/etc/pgbackrest/pgbackrest.conf.old", current=False)])},
    ],
    ids=["the copy's host", "the server", "a file put aside"],
)
def test_a_key_is_found_wherever_it_is(hosts):
    found = decide(hosts)
    assert (found["key"], found["key_question"]) == (KEY, "")


@pytest.mark.parametrize("text", [f"{KEY}\ntls-server-auth=x=y", "k" * 2000, ["k"], None])
def test_what_a_host_tells_is_no_key_unless_it_is_one_line(text):
    told = {"web1": host("71", "web1", [stanza()], [key(), key(text, place="/etc/x")])}
    assert decide(told)["key"] == KEY


def test_a_key_beside_the_control_nodes_file_is_found():
    assert decide({"web1": host()}, beside={"backup.key.old": KEY})["key"] == KEY


def test_another_environments_key_on_the_copys_host_is_none_of_this_one():
    assert decide({"web1": host(), "vault1": copy("other", "other")})["key"] == ""


def test_two_keys_without_one_on_the_control_node_are_both_told():
    here = host("71", "web1", [stanza()], [key()])
    found = decide({"web1": here, "vault1": copy(text=OTHER, systems=[])})
    text = found["key_question"]
    assert f"{fingerprint(KEY)}: web1:/etc/pgbackrest/pgbackrest.conf, which reads" in text
    assert f"{fingerprint(OTHER)}: vault1:/etc/pgbackrest/conf.d/web1.conf\n" in text
    assert f"Put {fingerprint(KEY)} into backup_key_file" in text
    assert found["key"] == ""


def test_a_control_node_that_alone_has_its_key_is_told_to_fetch_the_servers():
    here = host("71", "web1", [stanza()], [key()])
    text = decide({"web1": here, "vault1": copy()}, control={"backup.key": OTHER})["key_question"]
    assert f"all agree on {fingerprint(KEY)}: move backup.key away" in text


def test_the_copys_key_is_not_overwritten_by_the_control_nodes():
    here = host("71", "web1", [stanza()], [key()])
    hosts = {"web1": here, "vault1": copy(text=OTHER)}
    text = decide(hosts, control={"backup.key": KEY})["key_question"]
    assert "vault1:/etc/pgbackrest/conf.d/web1.conf would be overwritten" in text
    assert "fetches theirs" not in text


def test_no_message_holds_a_key():
    hosts = {"web1": host("71", "web1", [stanza()], [key()]), "vault1": copy(text=OTHER)}
    for control in ({}, {"backup.key": KEY}, {"backup.key": "a third"}):
        text = decide(hosts, control=control)["key_question"]
        assert text
        assert KEY not in text
        assert OTHER not in text
        assert "a third" not in text


def test_a_host_tells_its_cluster_its_stanza_and_every_key(tmp_path):
    (tmp_path / "main/global").mkdir(parents=True)
    control = (7431552131552131552).to_bytes(8, sys.byteorder) + bytes(64)
    (tmp_path / "main/global/pg_control").write_bytes(control)
    assert seen.system_of(str(tmp_path / "main")) == "7431552131552131552"
    assert seen.system_of("") == ""
    folder = tmp_path / "pgbackrest"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "pgbackrest.conf").write_text(
        "[global]\nrepo1-path=/r\nrepo1-cipher-pass=one\n\n[global:backup]\nx=y\n[web1]\npg1-path=/d\n"
    )
    (folder / "conf.d/vault1.conf").write_text("[web1]\nrepo2-cipher-pass = two\n")
    (folder / "conf.d/vault1.conf.old").write_text("[web1]\nrepo2-cipher-pass=three\n")
    (tmp_path / "pgbackrest.conf.bak").write_text("[global]\nrepo1-cipher-pass=four\n")
    found = list(seen.keys(seen.configuration(folder)))
    assert {(one["key"], one["stanza"]) for one in found} == {
        ("one", "web1"),
        ("two", "web1"),
        ("three", "web1"),
        ("four", ""),
    }


def test_backups_that_no_configuration_knows_are_told_by_their_directories(tmp_path):
    (tmp_path / "backup/web1").mkdir(parents=True)
    (tmp_path / "backup/web1/backup.info").write_text("encrypted")
    (tmp_path / "backup/none").mkdir()
    found = list(seen.other_stanzas([str(tmp_path), str(tmp_path / "missing")], []))
    assert [(one["name"], one["systems"]) for one in found] == [("web1", [])]
