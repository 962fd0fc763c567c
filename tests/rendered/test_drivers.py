"""The table of drivers in docs/your-application.md, each line typed and connected to PostgreSQL.

The cluster signs in as on a server: by peer over its socket, and by the role's password over TCP.
"""

import datetime
import getpass
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from postgresql_made import Throwaway, throwaway
from test_release_variables import made
from test_systems import PROJECT, SYSTEMS, Host

sys.path += [str(PROJECT / "control"), str(PROJECT / "host")]
from pergola import access
from pergola.app import tcp
from pergola.app.order import Order
from pergola.database import admission
from pergola.database.databases import Database
from pergola.database.needs import Need
from pergola.database.server import Noted
from pergola.release.database import ROOM
from pergola.release.migrations import UNFINISHED, as_user
from pergola_control import uv
from pergola_control.certificates import authorities
from pergola_control.certificates.signing import Wanted, sign

REQUIREMENTS = Path(__file__).with_name("drivers") / "requirements.txt"
PAGE = (PROJECT / "docs/your-application.md").read_text()
SECTION = PAGE.partition("\n## The database\n")[2].partition("\n## ")[0]
ROWS = {
    cells[0]: (cells[1].replace("\\|", "|"), cells[2].strip("`"))
    for line in SECTION.splitlines()
    if line.startswith("| ") and "you have" not in line
    for cells in [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]]
    if len(cells) == 3
}
PASSWORD = "0f" * 24
ASK = "select current_user || '@' || current_database()"
SYNC = (
    "import os, psycopg, psycopg2\nc = {}\nr = c.cursor()\nr.execute(ASK)\nprint(r.fetchone()[0])"
)
ASYNC = """import asyncio, asyncpg, os
async def main():
    c = await {}
    print(await c.fetchval(ASK))
asyncio.run(main())"""
ENGINE = """import os
from sqlalchemy import create_engine, text
with ({}).connect() as c: print(c.execute(text(ASK)).scalar())"""
ASYNC_ENGINE = """import asyncio, os
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
async def main():
    e = {}
    async with e.connect() as c: print((await c.execute(text(ASK))).scalar())
    await e.dispose()
asyncio.run(main())"""
DJANGO = """import os, dj_database_url, environ
from django.conf import settings
settings.configure(DATABASES={{"default": {}}})
from django.db import connection
with connection.cursor() as c:
    c.execute(ASK)
    print(c.fetchone()[0])"""
TORTOISE = """import asyncio, os, sys, types
from tortoise import Tortoise, connections
sys.modules |= {{name: types.ModuleType(name) for name in ("your_app", "your_app.models")}}
async def main():
    await {}
    c = connections.get("default")
    print((await c.execute_query_dict(ASK + " as x"))[0]["x"])
    await Tortoise.close_connections()
asyncio.run(main())"""
CONFIG = """Tortoise.init(config={{"connections": {{"default": {}}},
    "apps": {{"a": {{"models": ["your_app.models"]}}}}}})"""
DATABASES = """import asyncio, os
from databases import Database
async def main():
    async with {} as c: print(await c.fetch_val(ASK))
asyncio.run(main())"""
PICCOLO = """import asyncio, os
from piccolo.engine.postgres import PostgresEngine
async def main():
    e = {}
    print((await e._run_in_new_connection(ASK + " as x"))[0]["x"])
asyncio.run(main())"""
PYDANTIC = "from pydantic import PostgresDsn, TypeAdapter\n"
PROGRAMS = {
    "psycopg 3": SYNC,
    "psycopg 2": SYNC,
    "asyncpg": ASYNC,
    "psycopg 3, psycopg 2 or asyncpg with a URL": ASYNC,
    "SQLAlchemy or SQLModel, with psycopg 3": ENGINE,
    "SQLAlchemy or SQLModel, with psycopg 2": ENGINE,
    "SQLAlchemy or SQLModel, with asyncpg": ASYNC_ENGINE,
    "the same, with the URL in the code": ASYNC_ENGINE,
    "Django": DJANGO,
    "Django with dj-database-url": DJANGO,
    "Django with django-environ": DJANGO,
    "Tortoise": TORTOISE,
    "Tortoise, without a URL": TORTOISE.replace("{}", CONFIG),
    "databases": DATABASES,
    "Piccolo": PICCOLO,
    "pydantic's `PostgresDsn`, which wants a host, for psycopg or SQLAlchemy": PYDANTIC + SYNC,
    "the same for asyncpg": PYDANTIC + ASYNC,
    "a variable for each part": SYNC,
}


class Cluster(Throwaway):
    """One that signs in as a server's does, and has a certificate."""

    def begin(self):
        self.make()
        order = Order("notes", [], databases=[Database("notes", "notes")], tcp=True)
        rules = [tcp.rule(order), "local all all peer map=tests", ""]
        (self.data / "pg_hba.conf").write_text("\n".join(rules))
        roles = ("root", "notes")
        maps = "".join(f"tests {getpass.getuser()} {role}\n" for role in roles)
        (self.data / "pg_ident.conf").write_text(maps)
        self.start(
            "-c listen_addresses=127.0.0.1 -c ssl=on "
            f"-c ssl_cert_file={self.certificate()} -c ssl_key_file={self.home}/key"
        )
        # What says the usual port itself finds the socket nevertheless.
        (self.home / ".s.PGSQL.5432").symlink_to(f".s.PGSQL.{self.port}")
        for role in ("notes", "notes_migration"):
            self.sql(f"create role {role} login password '{access.verifier(PASSWORD)}'")
        self.sql("create database notes owner notes")
        self.sql("grant notes to notes_migration; alter role notes_migration set role = notes")
        self.sql("create role guest login")

    def certificate(self, name="certificate"):
        """A certificate of localhost, which is its own authority."""
        key = "key" if name == "certificate" else f"{name}.key"
        self.call_openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", key, "-out", name),
        )
        return self.home / name

    def call_openssl(self, *options):
        before = self.before or ["env", "-C", str(self.home)]
        subprocess.run([*before, "openssl", *options], check=True, capture_output=True)


class OnTheNetwork(Throwaway):
    """One that lets the application in over the network, by its certificate alone.

    At the usual port, which some drivers say themselves, and at an address that is nobody's.
    """

    address = "127.0.0.9"

    def __init__(self, home):
        super().__init__(home)
        self.port = 5432

    def begin(self):
        self.make()
        self.home.chmod(0o755)
        needs = {
            "notes": Need(databases=[Database("notes", "notes")], here=False, clients=["127.0.0.1"])
        }
        files = admission.wanted(Noted(self.version, address=self.address), needs)
        own = f"local all all peer map=tests\n{files.hba}"
        (self.data / "pg_hba.conf").write_text(own)
        itself = f"tests {getpass.getuser()} root\n"
        (self.data / "pg_ident.conf").write_text(itself + files.ident)
        self.certificates()
        self.start(
            f"-c listen_addresses={self.address} -c ssl=on -c ssl_ca_file={self.home}/clients.crt "
            f"-c ssl_cert_file={self.home}/host.crt -c ssl_key_file={self.home}/host.key"
        )
        self.sql("create role notes login; create role notes_migration login")
        self.sql("create database notes owner notes")
        self.sql("grant notes to notes_migration; alter role notes_migration set role = notes")

    def certificates(self):
        """Those of the host and of the application, as a run of site.yml has them signed."""
        now = datetime.datetime.now(datetime.UTC)
        signers = authorities.read(authorities.made("tests", now), "the tests' own")
        for trust, bundle in signers.bundles().items():
            (self.home / f"{trust}.crt").write_text(bundle)
        for wanted in (
            Wanted("host", "members", "db1", (self.address,), "root"),
            Wanted("notes", "clients", "notes", (), "root"),
        ):
            key, request = (self.home / f"{wanted.name}.{end}" for end in ("key", "csr"))
            command = ["openssl", "req", "-new", "-newkey", "ec", "-nodes", "-subj", "/CN=any"]
            command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", key, "-out", request]
            subprocess.run(command, check=True, capture_output=True)
            signed = sign(signers, wanted, request.read_text(), now)
            (self.home / f"{wanted.name}.crt").write_text(signed)
            key.chmod(0o600)
        shutil.chown(self.home / "host.key", self.account)


@pytest.fixture(scope="module")
def networked():
    with throwaway(OnTheNetwork) as made:
        made.begin()
        yield made


@pytest.fixture(scope="module")
def cluster():
    with throwaway(Cluster) as made:
        made.begin()
        yield made


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment with the drivers, by their hashes."""
    venv = tmp_path_factory.mktemp("drivers") / "venv"
    subprocess.run([uv.program(), "venv", "--quiet", "--python", sys.executable, venv], check=True)
    sync = ["pip", "sync", "--quiet", "--require-hashes", "--python", venv, REQUIREMENTS]
    subprocess.run([uv.program(), *sync], check=True)
    return venv / "bin/python"


def variables(cluster, written, by_tcp):
    """What a release gets of what the page says to write; this cluster's place and password."""
    host = Host(SYSTEMS["trixie"], app_environment=written, app_database_tcp=by_tcp)
    host.variables |= {"__release_pythons": "3.13"}
    assert host.broken() == ""
    environment, secrets = made(host)
    places = {"/run/postgresql": str(cluster.home), "%2Frun%2Fpostgresql": quoted(cluster.home)}
    places |= {"5432": str(cluster.port), access.STANDS_FOR: PASSWORD}
    for before, after in places.items():
        for values in (environment, secrets):
            values |= {name: value.replace(before, after) for name, value in values.items()}
    return environment | secrets | {"PGPORT": str(cluster.port)}


def quoted(path):
    return str(path).replace("/", "%2F")


def written_for(cell):
    """The variables that a line of the table says to set."""
    if cell == "nothing":
        return {}
    if cell == "as below":
        block = SECTION.partition("\n    app_environment:\n")[2].partition("\n\n")[0]
        return yaml.safe_load(block)
    return yaml.safe_load(cell.strip("`"))


def test_each_line_of_the_table_is_tried():
    assert list(ROWS) == list(PROGRAMS)


@pytest.mark.parametrize("by_tcp", [False, True], ids=["socket", "tcp"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_driver_connects_as_the_page_says(cluster, python, name, by_tcp):
    written, code = ROWS[name]
    environment = variables(cluster, written_for(written), by_tcp)
    code = code.replace("5432", str(cluster.port))
    program = f"ASK = {ASK!r}\n" + PROGRAMS[name].format(code)
    done = ran(python, program, environment)
    assert (done.returncode, done.stdout.strip()) == (0, "notes@notes"), done.stderr[-2000:]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_line_connects_to_a_database_host(networked, python, name):
    """What the page says to write stays as it is when the database moves to a host of its own."""
    written, code = ROWS[name]
    environment = over_the_network(networked, written_for(written))
    program = f"ASK = {ASK!r}\n" + PROGRAMS[name].format(code)
    done = ran(python, program, environment)
    assert (done.returncode, done.stdout.strip()) == (0, "notes@notes"), done.stderr[-2000:]


@pytest.mark.parametrize("lacks", ["PGSSLCERT", "PGSSLROOTCERT"])
def test_over_the_network_each_knows_the_other_or_nothing_is_said(networked, python, lacks):
    environment = over_the_network(networked, {}) | {lacks: "/nonexistent"}
    program = f"ASK = {ASK!r}\n" + SYNC.format("psycopg.connect()")
    done = ran(python, program, environment)
    assert done.returncode == 1
    assert "does not exist" in done.stderr or "valid client certificate" in done.stderr


def test_an_applications_certificate_lets_in_nobody_else(networked, python):
    environment = over_the_network(networked, {}) | {"PGUSER": "root", "PGDATABASE": "postgres"}
    program = f"ASK = {ASK!r}\n" + SYNC.format("psycopg.connect()")
    done = ran(python, program, environment)
    assert "no pg_hba.conf entry" in done.stderr


def over_the_network(networked, written):
    """What a release on another host gets of what the page says to write."""
    host = Host(SYSTEMS["trixie"], app_environment=written)
    host.variables |= {
        "__release_pythons": "3.13",
        "group_names": ["app", "servers"],
        "groups": {"app": ["web1"], "db": ["db1"], "servers": ["web1", "db1"]},
        "cluster_address": "127.0.0.2",
        "hostvars": {
            "web1": {"inventory_hostname": "web1", "cluster_address": "127.0.0.2"},
            "db1": {"inventory_hostname": "db1", "cluster_address": networked.address},
        },
    }
    environment, secrets = made(host)
    files, here = "/etc/pergola/certificates", str(networked.home)
    return {name: text.replace(files, here) for name, text in (environment | secrets).items()}


def ran(python, program, environment):
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
    command = [python, "-c", program]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60)


def test_by_tcp_a_migration_signs_in_as_its_own_role_and_acts_as_the_owner(cluster, python):
    found = variables(cluster, {"DATABASE_URL": "{{ app_database.url }}"}, by_tcp=True)
    url = as_user(found["DATABASE_URL"], "notes", "notes_migration", PASSWORD)
    program = f"ASK = {ASK.replace('||', '|| session_user ||', 1)!r}\n"
    program += SYNC.format('psycopg.connect(os.environ["DATABASE_URL"])')
    done = ran(python, program, found | {"DATABASE_URL": url})
    assert done.stdout.strip() == "notesnotes_migration@notes", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("user", "database", "password"),
    [("notes", "notes", "wrong"), ("guest", "notes", PASSWORD), ("notes", "postgres", PASSWORD)],
)
def test_nobody_else_gets_in_by_tcp(cluster, python, user, database, password):
    where = {"PGHOST": "127.0.0.1", "PGPORT": str(cluster.port), "PGDATABASE": database}
    program = f"ASK = {ASK!r}\n" + SYNC.format("psycopg.connect()")
    done = ran(python, program, where | {"PGUSER": user, "PGPASSWORD": password})
    assert done.returncode == 1
    assert "no pg_hba.conf entry" in done.stderr or "password authentication" in done.stderr


@pytest.mark.parametrize("name", ["psycopg 3", "asyncpg", "SQLAlchemy or SQLModel, with asyncpg"])
@pytest.mark.parametrize("is_known", [True, False])
def test_the_certificate_of_another_server_is_verified(cluster, python, name, is_known):
    """By each driver, although the URL that templates have says nothing of it."""
    url = f"postgresql://notes:{PASSWORD}@localhost:{cluster.port}/notes"
    written = written_for(ROWS[name][0])
    host = Host(SYSTEMS["trixie"], app_database_url=url, app_secrets=written)
    host.variables |= {"__release_pythons": "3.13"}
    assert host.broken() == ""
    environment, secrets = made(host)
    assert environment["PGSSLROOTCERT"] == "/etc/ssl/certs/ca-certificates.crt"
    known = cluster.home / "certificate" if is_known else cluster.certificate("another")
    program = f"ASK = {ASK!r}\n" + PROGRAMS[name].format(ROWS[name][1])
    done = ran(python, program, environment | secrets | {"PGSSLROOTCERT": str(known)})
    if is_known:
        assert done.stdout.strip() == "notes@notes", done.stderr[-2000:]
    else:
        assert done.returncode == 1
        assert "certificate verify failed" in done.stderr


def test_what_is_asked_of_a_database_can_be_asked_by_its_own_role(cluster):
    """An index that another role is making is not taken for one that was never finished."""

    def ask(sql, role="notes"):
        where = ["-XAtq", "-h", cluster.home, "-p", str(cluster.port), "-U", role, "-d", "notes"]
        command = [cluster.programs / "psql", *where, "-f", "-"]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def start(sql):
        where = ["-Xq", "-h", cluster.home, "-p", str(cluster.port), "-U", "root", "-d", "notes"]
        return subprocess.Popen([cluster.programs / "psql", *where, "-c", sql])

    assert int(ask(ROOM)) > 50
    ask("create table public.items (id int)", role="root")
    holds = start("begin isolation level repeatable read; insert into items values (1); "
                  "select pg_sleep(600)")  # fmt: skip
    until = time.monotonic() + 30
    while ask("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "root") != "1":
        assert time.monotonic() < until
    makes = start("create index concurrently items_by_id on items (id)")
    there = "select count(*) from pg_stat_progress_create_index where index_relid is not null"
    while ask(there, "root") != "1":
        assert time.monotonic() < until
    assert ask(UNFINISHED, "root") == ask(UNFINISHED) == ""
    ask("select pg_terminate_backend(pid) from pg_stat_progress_create_index", "root")
    makes.wait()
    assert ask(UNFINISHED, "root") == ask(UNFINISHED) == "public.items_by_id"
    ask("select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin%'", "root")
    holds.wait()
