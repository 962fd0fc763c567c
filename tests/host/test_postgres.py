"""The clusters of this host, by the files that Debian and Ubuntu keep for them."""

import os
import subprocess
from pathlib import Path

import pytest
from pergola import postgres, system
from pergola.errors import PergolaError
from pergola.postgres import Cluster


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with clusters: v15_main=port, or the whole of its postgresql.conf."""

    def make(**clusters):
        for name, says in clusters.items():
            version, cluster = name.removeprefix("v").split("_")
            file = tmp_path / version / cluster / "postgresql.conf"
            file.parent.mkdir(parents=True)
            text = f"#port = 1\nport = {says}\t\t\t# (change requires restart)\n"
            file.write_text(says if isinstance(says, str) else text)

    monkeypatch.setattr(postgres, "CONFIGURATIONS", tmp_path)
    return make


@pytest.fixture
def ran(monkeypatch):
    """The programs that are run; each succeeds and says nothing, unless `says` has its name."""
    done, says = [], {}

    def attempt(*words, **more):
        done.append((*map(str, words), more))
        code, out, err = says.get(Path(str(words[0])).name, (0, "", ""))
        return subprocess.CompletedProcess(words, code, out, err)

    for module in (postgres, system):
        monkeypatch.setattr(module, "attempt", attempt)
    return done, says


def test_the_cluster_on_the_usual_port_serves(server):
    server(v15_main=5433, v17_main=5432, v16_another=5434)
    assert str(postgres.serving()) == "17/main"
    assert [str(cluster) for cluster in postgres.mains()] == ["15/main", "17/main"]
    assert postgres.free_port() == 5435


def test_versions_are_numbers(server):
    server(v9_main=5433, v10_main=5434)
    assert [cluster.version for cluster in postgres.mains()] == [9, 10]


def test_the_newest_client_is_asked_without_a_search_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(postgres, "PROGRAMS", tmp_path)
    assert postgres.client() == "psql"
    for version in ("9", "17", "16", "old"):
        (tmp_path / version / "bin").mkdir(parents=True)
        if version != "9":
            (tmp_path / version / "bin/psql").touch()
    assert postgres.client() == str(tmp_path / "17/bin/psql")
    assert Cluster(16).program("psql") == str(tmp_path / "16/bin/psql")


def test_a_server_without_a_cluster_has_none_that_serves(server):
    assert postgres.serving() is None
    assert postgres.free_port() == 5433


@pytest.mark.parametrize(
    ("text", "port", "data"),
    [
        ("", 5432, "/var/lib/postgresql/17/main"),
        ("port = 5433\ndata_directory = '/srv/pg data'  # moved", 5433, "/srv/pg data"),
        ("port 5434\ndata_directory=/srv/pg# x", 5434, "/srv/pg"),
        ("  Port = '5435'\n# port = 1\n#data_directory = 'x'", 5435, "/var/lib/postgresql/17/main"),
        ("port = 5433\nport = 5436\nreport = 1", 5436, "/var/lib/postgresql/17/main"),
    ],
)
def test_settings_are_read_as_postgresql_reads_them(server, text, port, data):
    server(v17_main=text)
    assert Cluster(17).port == port
    assert Cluster(17).data == Path(data)


def test_a_cluster_that_is_not_there_yet_has_its_places(server):
    new = Cluster(18)
    assert not new.exists()
    assert new.data == Path("/var/lib/postgresql/18/main")
    assert new.unit == "postgresql@18-main.service"


def test_it_is_asked_as_its_own_account_over_the_socket(server, ran):
    server(v17_main=5433)
    done, says = ran
    says["psql"] = (0, "1|a\n2|b\n", "")
    assert Cluster(17).rows("select 1", "notes") == ["1|a", "2|b"]
    *command, more = done[0]
    assert command[0] == "/usr/lib/postgresql/17/bin/psql"
    assert command[command.index("-p") + 1] == "5433"
    assert command[command.index("-d") + 1] == "notes"
    assert (more["account"], more["stdin"]) == ("postgres", "select 1")


def test_a_server_that_does_not_answer_is_told_with_where_to_look(server, ran):
    server(v17_main=5432)
    ran[1]["psql"] = (2, "", "connection refused\n")
    with pytest.raises(PergolaError, match="PostgreSQL 17/main does not answer") as failed:
        Cluster(17).sql("select 1")
    assert "systemctl status postgresql@17-main" in failed.value.hint


def test_a_statement_that_is_refused_is_told(server, ran):
    server(v17_main=5432)
    ran[1]["psql"] = (3, "", "ERROR: no such table\n")
    with pytest.raises(
        PergolaError, match="a script for the database notes ended with 3"
    ) as failed:
        Cluster(17).sql("select 1", "notes")
    assert failed.value.evidence == "ERROR: no such table"


def test_how_it_starts_makes_its_settings_no_newer(server, ran, monkeypatch):
    server(v17_main=5432)
    monkeypatch.setattr(postgres, "ACCOUNT", "")
    folder = Cluster(17).configuration
    os.utime(folder, (1000, 1000))
    Cluster(17).set_start("manual")
    assert (folder / "start.conf").read_text().splitlines()[-1] == "manual"
    assert folder.stat().st_mtime == (folder / "start.conf").stat().st_mtime == 1000


def test_what_is_dropped_is_all_its_own(server, ran):
    server(
        v15_main=5432,
        v15_rehearsal="port = 5433\ndata_directory = '/var/lib/postgresql/15/rehearsal'",
    )
    Cluster(15, "rehearsal").drop()
    words = [" ".join(done[:-1]) for done in ran[0]]
    assert "pg_dropcluster --stop 15 rehearsal" in words
    assert "rm -rf --one-file-system /var/lib/postgresql/15/rehearsal" in words


def test_of_one_that_names_another_clusters_data_only_its_own_places_are_removed(server, ran):
    """As a copy of settings does that was cut off before its own were written."""
    data = "data_directory = '/var/lib/postgresql/15/main'"
    server(v15_main=data, v15_rehearsal=f"port = 5433\n{data}")
    copy = Cluster(15, "rehearsal")
    copy.drop()
    assert [" ".join(done[:-1]) for done in ran[0] if done[0] != "systemctl"] == [
        f"rm -rf --one-file-system {copy.configuration}",
        "rm -rf --one-file-system /var/lib/postgresql/15/rehearsal",
    ]


def test_a_setting_that_is_changed_stands_in_one_line():
    text = "# port = 1\nPort = 5432 # as it is\nport=5433\nreport = on\ndata_directory = '/old'\n"
    assert postgres.with_settings(text, {"port": 5434, "data_directory": "/new"}) == (
        "# port = 1\nreport = on\nport = 5434\ndata_directory = '/new'\n"
    )


def test_names_are_quoted():
    assert postgres.quoted('a"b') == '"a""b"'


def test_what_a_control_file_says(ran, tmp_path):
    done, says = ran
    assert Cluster(17).control_data(tmp_path) == {}
    (tmp_path / "global").mkdir()
    (tmp_path / "global/pg_control").touch()
    says["pg_controldata"] = (0, "pg_control version number:   1300\nDatabase: in\n", "")
    assert Cluster(17).control_data(tmp_path)["pg_control version number"] == "1300"
    assert done[-1][:3] == ("/usr/lib/postgresql/17/bin/pg_controldata", "-D", str(tmp_path))


def test_a_script_may_have_settings_of_libpq(ran):
    done, _ = ran
    Cluster(17).sql("select 1", timeout=9, environment={"PGAPPNAME": "x"})
    assert (done[-1][-1]["environment"], done[-1][-1]["timeout"]) == ({"PGAPPNAME": "x"}, 9)
