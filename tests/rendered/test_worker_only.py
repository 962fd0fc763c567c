"""What an application without a site has on a server, and which settings it needs."""

import subprocess

import pytest
from test_systems import SYSTEMS, Host

WORKER = [{"name": "worker", "command": "w"}]


def host(**settings):
    found = Host(SYSTEMS["trixie"], app_web=False, app_processes=WORKER, **settings)
    found.variables |= {"__release_pythons": "3.13"}
    return found


@pytest.fixture
def worker():
    return host(app_domain="", app_asgi="")


def test_it_needs_neither_a_domain_nor_an_asgi_path(worker):
    assert worker.broken() == ""
    assert "app_domain 'notes.example.org' is a site's" in host().broken()


def test_it_has_no_socket_and_nothing_in_caddy_s_directory(worker):
    paths = worker("__app_files | map(attribute='path')")
    assert "/etc/systemd/system/notes@.service" in paths
    assert "/etc/pergola/monitoring/notes.json" in paths
    assert not [path for path in paths if "caddy" in path or "socket" in path]
    site = Host(SYSTEMS["trixie"])("__app_files | map(attribute='path')")
    assert "/etc/caddy/notes.caddy" in site
    assert "/etc/systemd/system/notes@.socket" in site


def test_its_slot_starts_no_process(worker, tmp_path):
    text = worker.file("app", "@.service.j2", role_name="app")
    lines = text.splitlines()
    assert "Type=oneshot" in lines
    assert "RemainAfterExit=yes" in lines
    assert [line for line in lines if line.startswith("Exec")] == ["ExecStart=/bin/true"]
    assert not [line for line in lines if line.startswith(("Restart", "Requires", "OnFailure"))]
    assert "NoNewPrivileges=yes" in lines
    assert "StateDirectory=notes" in lines
    serving = Host(SYSTEMS["trixie"]).file("app", "@.service.j2", role_name="app")
    assert "RemainAfterExit" not in serving
    assert "\nType=exec\n" in serving
    assert "\nRequires=notes@%i.socket\n" in serving
    (tmp_path / "notes@.service").write_text(text.replace("User=notes\nGroup=notes\n", ""))
    verify = ["systemd-analyze", "verify", "--man=no", tmp_path / "notes@.service"]
    try:
        said = subprocess.run(verify, capture_output=True, text=True).stderr
    except FileNotFoundError:
        pytest.skip("systemd-analyze is needed")
    assert "notes@" not in said


def test_it_answers_to_no_name_and_counts_no_workers(worker):
    assert worker("__app_order.domains") == []
    assert worker("__app_order.connections") == 15 * 2
    assert worker("__app_watched.site.web") is False
    assert worker("__release_live.url") == ""
    assert worker("__release_config.web") is False
    assert worker("visit_domain") == ""
    assert worker("release_settled") == ["app_processes", "app_web"]
    assert "WARNING" not in str(worker("__app_reports_of_look"))
