"""PostgreSQL: who gets in, with which settings, and what happens when it dies."""

import re
import socket
import time

import pytest

testinfra_hosts = ["ansible://web1"]


@pytest.fixture(scope="module")
def unit(host):
    """The unit of the only cluster, such as postgresql@17-main."""
    version, name = host.check_output("pg_lsclusters --no-header").split()[:2]
    return f"postgresql@{version}-{name}"


def psql(host, query, user="postgres", database="postgres", options=""):
    return host.run(f"runuser -u {user} -- psql -XAtq {options} -d {database} -c %s", query)


def answer(host, query, **more):
    done = psql(host, query, **more)
    assert done.rc == 0, done.stderr
    return done.stdout.strip()


def test_nothing_of_it_listens_on_the_network(host, site):
    listeners = host.check_output("ss --listening --tcp --udp --numeric --processes --no-header")
    assert "postgres" not in listeners
    assert ":5432" not in listeners
    with pytest.raises(OSError, match=r"timed out|refused"):
        socket.create_connection((site.server, 5432), 0.5)


def test_the_application_signs_in_without_a_password(host):
    said = answer(
        host,
        "select current_user, inet_client_addr() is null",
        user="linkboard",
        database="linkboard",
        options="--no-password",
    )
    assert said == "linkboard|t"


def test_the_application_signs_in_as_nobody_else(host):
    refused = psql(host, "select 1", user="linkboard", options="--no-password -U postgres")
    assert refused.rc != 0
    assert "Peer authentication failed" in refused.stderr


@pytest.mark.parametrize("user", ["nobody", "caddy", "linkboard-build", "ada"])
def test_no_other_account_signs_in_as_the_application(host, user):
    refused = psql(
        host, "select 1", user=user, database="linkboard", options="--no-password -U linkboard"
    )
    assert refused.rc != 0
    assert "Peer authentication failed" in refused.stderr


@pytest.fixture
def neighbour(host):
    """A role of another application of the server, with a system account of the same name."""
    answer(host, "create role nobody login")
    yield "nobody"
    answer(host, "drop role nobody")


def test_a_neighbour_cannot_open_the_applications_database(host, neighbour):
    refused = psql(host, "select 1", user=neighbour, database="linkboard")
    assert refused.rc != 0
    assert 'permission denied for database "linkboard"' in refused.stderr


def test_the_application_has_no_power_over_the_server(host):
    powers = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
    assert answer(host, f"select {powers} from pg_roles where rolname = 'linkboard'") == "f|f|f|f|f"
    memberships = "select count(*) from pg_auth_members where member = 'linkboard'::regrole"
    assert answer(host, memberships) == "0"


@pytest.mark.parametrize(
    "statement",
    [
        "create database more",
        "create role more",
        "alter system set jit = on",
        "copy (select 1) to '/tmp/more'",
        "copy users from program 'id'",
        "select pg_read_file('/etc/passwd')",
        "select pg_reload_conf()",
    ],
)
def test_the_application_is_denied_what_is_the_servers(host, statement):
    refused = psql(host, statement, user="linkboard", database="linkboard")
    assert refused.rc != 0
    # PostgreSQL 15 words two of them otherwise.
    assert re.search("permission denied|must be superuser", refused.stderr), refused.stderr


def test_the_application_owns_its_tables(host):
    owners = "select distinct tableowner from pg_tables where schemaname = 'public'"
    assert answer(host, owners, database="linkboard") == "linkboard"


def test_pages_carry_checksums(host):
    assert answer(host, "show data_checksums") == "on"


def test_text_is_utf8_and_sorts_the_same_everywhere(host):
    columns = "pg_encoding_to_char(encoding), datcollate, datctype"
    query = f"select {columns} from pg_database where datname = 'linkboard'"
    assert answer(host, query) == "UTF8|C.UTF-8|C.UTF-8"


def test_every_setting_of_the_file_is_in_force(host):
    file = host.check_output(
        "cat /etc/postgresql/*/main/conf.d/pergola.conf /etc/postgresql/*/main/conf.d/pergola_applications.conf"
    )
    wanted = dict(re.findall(r"^(\w+) = ('[^']*'|\S+)", file, re.MULTILINE))
    assert {"shared_buffers", "listen_addresses", "max_connections"} <= wanted.keys()
    names = ", ".join(f"'{name}'" for name in wanted)
    in_force = dict(
        line.split("|", 1)
        for line in answer(
            host,
            "select lower(name), case when unit in ('8kB', 'kB', 'MB') "
            "then pg_size_bytes(current_setting(name)) / 1048576 || 'MB' else setting end "
            f"from pg_settings where lower(name) in ({names})",
        ).splitlines()
    )
    expected = {
        name: f"{int(value[:-2]) * 1024}MB" if value.endswith("GB") else value.strip("'")
        for name, value in wanted.items()
    }
    # "on" became a choice of methods in PostgreSQL 15, and means the first.
    aliases = {("wal_compression", "pglz"): "on"}
    assert {name: aliases.get((name, value), value) for name, value in in_force.items()} == expected


def test_no_setting_waits_for_a_restart_and_none_is_wrong(host):
    assert answer(host, "select name from pg_settings where pending_restart") == ""
    wrong = "select name, error from pg_file_settings where error is not null"
    assert answer(host, wrong) == ""


def test_killed_it_is_back_within_seconds_and_so_is_the_site(host, site, unit):
    pid = host.check_output(f"systemctl show --property MainPID --value {unit}")
    assert pid != "0"
    host.check_output(f"kill -9 {pid}")
    began = time.monotonic()
    while time.monotonic() - began < 20:
        now = host.check_output(f"systemctl show --property MainPID --value {unit}")
        if now not in ("0", pid) and site.get("/readyz").status_code == 200:
            break
        time.sleep(0.2)
    else:
        journal = host.run(f"journalctl --no-pager --lines 40 --unit {unit} --unit 'linkboard@*'")
        raise AssertionError(f"not ready 20 s after the postmaster was killed:\n{journal.stdout}")
    assert answer(host, "select pg_is_in_recovery()") == "f"
