"""pg_hba.conf and pg_ident.conf of a server on the network, as a PostgreSQL reads them."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pergola.database import admission
from pergola.database.databases import Database
from pergola.database.needs import Need
from pergola.database.server import Noted
from pergola.errors import PergolaError
from postgresql_made import Throwaway, throwaway

SERVER = Noted(17, address="10.0.0.5")
NOTES = Need(databases=[Database("notes", "notes")], here=False, clients=["10.0.0.2", "fd00::2"])
WIKI = Need(databases=[Database("wiki", "wiki"), Database("wiki-log", "wiki")])
NEEDS = {"notes": NOTES, "wiki": WIKI}
OF_DEBIAN = """\
# Database administrative login by Unix domain socket
local   all             postgres                                peer
local   all             all                                     peer
host    all             all             127.0.0.1/32            scram-sha-256
host    replication     all             ::1/128                 scram-sha-256
"""
READ = """
select type || ' ' || array_to_string(database, ',') || ' ' || array_to_string(user_name, ',')
  || ' ' || coalesce(address, '') || ' ' || auth_method || ' '
  || coalesce((select string_agg(one, ',' order by one) from unnest(options) one), '')
from pg_hba_file_rules order by line_number
"""


class Server(Throwaway):
    log = "its log"

    def begin(self):
        self.make()
        self.home.chmod(0o755)
        self.certify()
        self.start("-c listen_addresses='' -c ssl=on -c ssl_ca_file=server.crt")

    def certify(self):
        """Have a certificate: lines for TLS alone are wrong without one."""
        key, certificate = self.data / "server.key", self.data / "server.crt"
        made = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-subj", "/CN=tests"]
        made += ["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", key, "-out", certificate]
        subprocess.run(made, check=True, capture_output=True)
        for path in (key, certificate):
            shutil.chown(path, self.account)

    def is_in_service(self):
        return True

    def rows(self, query):
        return self.sql(query).splitlines()

    def file(self, kind):
        return Path(self.sql(f"show {kind}_file"))


@pytest.fixture(scope="module")
def running():
    try:
        with throwaway(Server) as made:
            made.begin()
            yield made
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def server(running, monkeypatch, tmp_path):
    monkeypatch.setattr(admission, "save", lambda path, text: path.write_text(text))
    monkeypatch.setattr(admission.access, "FILES_LOCK", tmp_path / "lock")
    hba = running.file("hba")
    hba.write_text(OF_DEBIAN)
    running.sql("select pg_reload_conf()")
    return running


def test_a_server_on_no_network_keeps_its_files(server):
    before = server.file("hba").read_text()
    assert admission.bring(server, replace(SERVER, address=""), NEEDS) == []
    assert server.file("hba").read_text() == before


def test_applications_come_by_their_certificates_and_accounts_by_the_socket(server):
    made = admission.bring(server, SERVER, NEEDS)
    assert made == ["who may sign in (pg_hba.conf)", "who may sign in (pg_ident.conf)"]
    assert server.sql(READ).splitlines() == [
        "local all postgres  peer ",
        "local replication postgres  peer ",
        "local wiki,wiki-log wiki_migration  peer map=wiki_migration",
        "local all all  peer ",
        "hostssl notes notes,notes_migration 10.0.0.2 cert clientcert=verify-full,map=notes",
        "hostssl notes notes,notes_migration fd00::2 cert clientcert=verify-full,map=notes",
    ]
    assert server.file("ident").read_text().splitlines()[1:] == [
        'notes "notes" "notes"',
        'notes "notes" "notes_migration"',
        'wiki_migration "wiki" "wiki_migration"',
    ]
    assert admission.bring(server, SERVER, NEEDS) == []


def test_a_look_changes_nothing(server):
    before = server.file("hba").read_text()
    assert admission.bring(server, SERVER, NEEDS, only_look=True)
    assert server.file("hba").read_text() == before


def test_a_line_of_the_settings_that_cannot_be_read_is_refused_and_nothing_stays(server):
    before = server.file("hba").read_text()
    with pytest.raises(PergolaError, match="cannot read who may sign in") as caught:
        admission.bring(
            server, replace(SERVER, hba=["hostssl all all nowhere cert extra=1"]), NEEDS
        )
    assert "postgresql_hba" in caught.value.hint
    assert server.file("hba").read_text() == before


def test_lines_of_somebodys_own_are_named_before_they_go(server):
    own = "host reports ada 10.0.0.9/32 scram-sha-256"
    path = server.file("hba")
    path.write_text(path.read_text() + own + "\n")
    with pytest.raises(PergolaError, match="lines of somebody's own") as caught:
        admission.bring(server, SERVER, NEEDS)
    assert own in caught.value.reason
    assert own in path.read_text()
    # Said in the settings, they stay.
    admission.bring(server, replace(SERVER, hba=[own]), NEEDS)
    assert own in path.read_text()
