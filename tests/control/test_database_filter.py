"""Where an application's database is, for templates and libpq's variables."""

import importlib.util
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("database", PROJECT / "plugins/filter/database.py")
database = importlib.util.module_from_spec(spec)
spec.loader.exec_module(database)

VERIFIED = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/etc/ssl/certs/ca-certificates.crt"}
SHOP = {"PGHOST": "db.example.org", "PGPORT": "5432", "PGDATABASE": "shop", "PGUSER": "shop"}


def test_control_node_and_host_mean_the_same_word():
    host = (PROJECT / "host/pergola/access.py").read_text()
    assert re.search(r'^STANDS_FOR = "(.*)"$', host, re.MULTILINE)[1] == database.STANDS_FOR


@pytest.mark.parametrize(
    ("url", "variables", "secret"),
    [
        ("postgresql://shop:hush@db.example.org/shop", SHOP | VERIFIED, "hush"),
        ("postgres://shop:hush@db.example.org:5432/shop", SHOP | VERIFIED, "hush"),
        ("postgresql+asyncpg://shop@db.example.org/shop\n", SHOP | VERIFIED, ""),
        (
            "postgresql://shop:a%40b%2F@db.example.org/shop?sslmode=require&channel_binding=require",
            SHOP | {"PGSSLMODE": "require", "PGCHANNELBINDING": "require"},
            "a@b/",
        ),
        (
            "postgresql://shop:hush@db.example.org/shop?sslmode=verify-ca&sslrootcert=system",
            SHOP | {"PGSSLMODE": "verify-ca", "PGSSLROOTCERT": "system"},
            "hush",
        ),
        (
            "postgresql://shop:hush@a,b:5433/shop?target_session_attrs=read-write",
            SHOP
            | VERIFIED
            | {"PGHOST": "a,b", "PGPORT": "5432,5433", "PGTARGETSESSIONATTRS": "read-write"},
            "hush",
        ),
        (
            "postgresql://[2001:db8::1]:5433/shop?user=shop&password=hush",
            SHOP | VERIFIED | {"PGHOST": "2001:db8::1", "PGPORT": "5433"},
            "hush",
        ),
        (
            "postgresql:///shop?host=db.example.org&port=&user=shop&password=a+b%20c",
            SHOP | VERIFIED,
            "a+b c",
        ),
        (
            "postgresql://shop@a,b/shop?port=5433&options=-c+a%3D1&",
            SHOP | VERIFIED | {"PGHOST": "a,b", "PGPORT": "5433", "PGOPTIONS": "-c+a=1"},
            "",
        ),
        (
            "postgresql://shop@/shop?host=a,2001:db8::1&port=5433,",
            SHOP | VERIFIED | {"PGHOST": "a,2001:db8::1", "PGPORT": "5433,5432"},
            "",
        ),
    ],
)
def test_what_a_url_says_is_in_libpqs_variables_and_its_certificate_is_verified(
    url, variables, secret
):
    assert database.database_url_wrong(url) == ""
    found = database.database_elsewhere(url)
    assert found["variables"] == variables
    assert found["secrets"] == ({"PGPASSWORD": secret} if secret else {})
    assert found["password"] == secret


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgres://s:a%40b@h/x?sslmode=require", "postgresql://s:a%40b@h:5432/x"),
        ("postgresql://s@a,b:1/x", "postgresql://s@a:5432,b:1/x"),
        ("postgresql://s@[::1]:1/x", "postgresql://s@[::1]:1/x"),
        ("postgresql+asyncpg:///x?host=h&user=s&password=p%2Fq", "postgresql://s:p%2Fq@h:5432/x"),
        ("postgresql://s@a,b/x?port=1", "postgresql://s@a:1,b:1/x"),
        ("postgresql://s@/x?host=a,::1&port=1,2", "postgresql://s@a:1,[::1]:2/x"),
    ],
)
def test_its_url_for_templates_has_no_parameters_which_some_drivers_do_not_know(url, wanted):
    assert database.database_elsewhere(url)["url"] == wanted


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://s:hush@h/x", "is no URL of a PostgreSQL database"),
        ("postgresql://s:hush#@h/x", "percent-encode"),
        ("postgresql://s:hu@sh@h/x", "percent-encode"),
        ("postgresql://s:hush@h", "names no database"),
        ("postgresql://s:hush@/x", "names no host"),
        ("postgresql:///", "names no host and no database and no user"),
        ("postgresql://s:hush@h:port/x", "names a port that is no number"),
        ("postgresql://s:hush@h/x?pool_size=3", "has the parameter pool_size"),
        ("postgresql://s:hush@h/x?sslmode=on", "has the sslmode on; there are disable"),
        ("postgresql://s:hush@h/x?port=abc", "names a port that is no number"),
        ("postgresql://s:hush@h/x?port=0", "names a port that is no number"),
        ("postgresql://s:hush@h:65536/x", "names a port that is no number"),
        ("postgresql://s:hush@h/x?port=٣", "names a port that is no number"),
        ("postgresql://s:hush@a,b/x?port=1,2,3", "names 3 ports for 2 hosts"),
        ("postgresql://s:hush@a,/x", "names no host"),
        ("postgresql://s:hush@h/x?host=/run/x", "has the host /run/x"),
        ("postgresql://s:hush@%2Frun%2Fx/x", "has the host /run/x"),
        ("postgresql://s:hush@/x?host=a,/run/x", "has the host /run/x"),
        ("postgresql://s:hush@h/x?host=[::1]", "has the host [::1]"),
        ("postgresql://s:hush@h/x?sslmode", "has the parameter sslmode without a value"),
    ],
)
def test_a_wrong_url_is_refused_and_nothing_of_it_is_shown(url, says):
    said = database.database_url_wrong(url)
    assert said.startswith("app_database_url ")
    assert says in said
    assert "hu" not in said
    assert database.database_elsewhere(url) == {}


def test_any_scheme():
    assert database.with_scheme("postgresql:///x?host=/s", "postgres") == "postgres:///x?host=/s"
    assert database.with_scheme("postgresql://u@h/x", "asyncpg") == "asyncpg://u@h/x"


def test_what_holds_a_secret_is_named():
    values = {"A": "x hush", "B": 1, "C": ["hush"], "D": "h"}
    assert database.names_with(values, "hush") == ["A", "C"]
    assert database.names_with(values, "") == []
