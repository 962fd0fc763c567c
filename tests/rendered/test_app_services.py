"""Services of an application: what is refused of the setting, and what an application gets."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from test_systems import SYSTEMS, Host

from pergola.app import services  # isort: skip - test_systems finds it
from pergola.app.order import ORDER  # isort: skip
from pergola.status import services as looked  # isort: skip

URL = "unix:///run/notes/valkey/valkey.sock"
QUEUE = {"name": "valkey", "memory_max": "1G", "eviction": "allkeys-lru", "persistent": True}
MB = 2**20


def host(*wanted, **settings):
    found = Host(SYSTEMS["trixie"], app_services=list(wanted), **settings)
    found.variables |= {"__release_pythons": "3.13"}
    return found


def environment(found):
    templar = Templar(DataLoader(), found.variables)
    return templar.template(trust_as_template("{{ __release_config }}"))["environment"]


@pytest.mark.parametrize("wanted", [[], ["valkey"], [{"name": "valkey"}], [QUEUE]])
def test_services_are_taken(wanted):
    assert host(*wanted).broken() == ""


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (["redis"], "app_services: there is no service redis; there is valkey"),
        ([None], "there is no service None"),
        ([{"memory_max": "1G"}], "there is no service None"),
        (["valkey", {"name": "valkey"}], "app_services: valkey is there twice"),
        ([{**QUEUE, "memory": "1G"}], "app_services, valkey: memory: it has memory_max, eviction"),
        ([{**QUEUE, "memory_max": "infinity"}], "memory_max 'infinity' must be a size of 8M"),
        ([{**QUEUE, "memory_max": "4M"}], "memory_max '4M' must be a size of 8M at least"),
        ([{**QUEUE, "memory_max": 256}], "memory_max '256' must be a size"),
        ([{**QUEUE, "eviction": "lru"}], "eviction 'lru' is none of noeviction, allkeys-lru"),
        ([{**QUEUE, "persistent": "yes"}], "persistent is true or false"),
    ],
)
def test_what_they_cannot_be_is_refused_by_the_settings_name(wanted, says):
    assert says in host(*wanted).broken()


def test_its_url_is_in_the_environment_unless_that_is_set():
    found = environment(host("valkey"))
    assert (found["REDIS_URL"], found["VALKEY_URL"]) == (URL, URL)
    found = environment(
        host("valkey", app_environment={"REDIS_URL": "redis://x", "VALKEY_URL": None})
    )
    assert found["REDIS_URL"] == "redis://x"
    assert "VALKEY_URL" not in found
    for more in ({}, {"app_database_url": "postgresql://u:p@db.example.org/d"}):
        assert "REDIS_URL" not in environment(host(**more))
        assert environment(host("valkey", **more))["REDIS_URL"] == URL


def test_templates_have_its_socket_and_its_url():
    found = host(
        "valkey",
        app_environment={
            "SOCKET": "{{ app_service.valkey.socket }}",
            "CELERY": "{{ app_service.valkey.url | with_scheme('redis+socket') }}",
        },
    )
    assert environment(found)["SOCKET"] == "/run/notes/valkey/valkey.sock"
    assert environment(found)["CELERY"] == "redis+socket:///run/notes/valkey/valkey.sock"


def test_the_host_gets_them_with_all_their_settings():
    order = ORDER.parse(json.dumps(host("valkey")("__app_order")), "the order")
    assert order.services == [services.Service("valkey", 256 * MB, "noeviction", False)]
    assert order.system.required == {"valkey-tools | redis-tools": "app_services: valkey"}
    order = ORDER.parse(json.dumps(host(QUEUE)("__app_order")), "the order")
    assert order.services == [services.Service("valkey", 1024 * MB, "allkeys-lru", True)]
    assert "/srv/notes/services/valkey" in order.files, "it is told that these are in no backup"


def test_without_any_nothing_is_another_than_before():
    found = host()
    for name in ("sysusers.conf.j2", "tmpfiles.conf.j2"):
        assert "store" not in found.file("app", name)
        assert "services" not in found.file("app", name)
    assert found("app_after_units") == ["postgresql.service"]
    assert found("__app_order.services") == []
    assert found("__app_watched.site.services") == []


def test_all_that_runs_of_the_application_starts_after_it():
    found = host("valkey")
    assert found("app_after_units") == ["postgresql.service", "notes@valkey.service"]
    assert found("__release_settings.after_units") == found("app_after_units")
    assert "postgresql.service notes@valkey.service\n" in found.file("app", "@.service.j2")
    assert host("valkey", app_databases=[])("app_after_units") == ["notes@valkey.service"]


def test_the_monitoring_is_told_of_it():
    assert host("valkey")("__app_watched.site.services") == ["valkey"]


def test_only_the_application_gets_into_its_directory():
    files = host(QUEUE).file("app", "tmpfiles.conf.j2").splitlines()
    unit = services.text_of("notes", services.Service("valkey"))
    assert "install -d -m 0750 -o notes-store -g notes /run/notes/valkey\n" in unit
    assert "d /srv/notes/services/valkey 0700 notes-store notes-store" in files
    assert "d /srv/notes/services 0755 root root" in files
    assert "services" not in "".join(host("valkey").file("app", "tmpfiles.conf.j2"))
    users = host("valkey").file("app", "sysusers.conf.j2")
    assert 'u notes-store - "notes, services" /srv/notes/services /usr/sbin/nologin\n' in users


def test_several_servers_are_told_that_each_has_its_own():
    found = host("valkey", app_certificates="internal")
    found.variables["groups"] = {"app": ["web1", "web2"]}
    (said,) = found("__app_reports_of_look | select | map('trim') | select")
    assert "WARNING: app_services: web1 has valkey of its own, as each of web1, web2 has" in said


def test_data_that_nothing_keeps_any_more_is_told():
    found = host()
    found.variables["__app_applied"] = {"answer": {"left_by_services": ["/srv/notes/services/v"]}}
    (said,) = found("__app_reports_of_apply | select")
    assert "/srv/notes/services/v on web1: nothing in app_services keeps its data there" in said


@pytest.fixture
def started(tmp_path):
    """A real one, by the command line of its unit."""
    program = next((path for path in services.PROGRAMS if path.exists()), None)
    if program is None:
        pytest.skip("neither Valkey nor Redis is here")
    top = Path(os.path.relpath(tmp_path))
    text = services.text_of("notes", services.Service("valkey", 16 * MB))
    line = text.replace("\\\n", "").partition("\nExecStart=@")[2].partition("\n")[0]
    words = [word.strip('"') for word in line.split()[1:]]
    words = [word.replace("/run/notes/valkey", str(tmp_path)) for word in words]
    words[words.index("systemd")] = "no"
    process = subprocess.Popen(words, executable=program, cwd=top)
    for _ in range(100):
        if (tmp_path / "valkey.sock").exists():
            break
        time.sleep(0.1)
    yield tmp_path / "valkey.sock"
    process.terminate()
    process.wait()


def test_a_real_one_answers_on_its_socket_only(started):
    said = looked.answer(str(started))
    assert f"maxmemory:{16 * MB}" in said
    assert "maxmemory_policy:noeviction" in said
    if shutil.which("ss"):
        listening = subprocess.run(["ss", "-Hltn", "sport = 6379"], capture_output=True, check=True)
        assert listening.stdout == b""
