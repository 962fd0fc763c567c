"""Databases as short data: who owns, reads and writes what is there and what comes later."""

import json
import shlex

import pytest

SHOP = {
    "name": "shop",
    "owner": "probe",
    "extensions": ["pg_trgm", "pg_stat_statements"],
    "readers": ["ada"],
    "writers": ["nobody"],
}
OWN = {"name": "probe", "owner": "probe"}


@pytest.fixture(scope="module")
def bring(web1):
    """Have the program on the host make databases; what was missing, in words."""

    def run(*databases, look=False):
        wanted = shlex.quote(json.dumps({"databases": databases, "extensions": []}))
        option = "--only-look" if look else ""
        done = web1.check_output(f"echo {wanted} | pergola-postgresql databases {option}")
        return json.loads(done)["made"]

    return run


@pytest.fixture(scope="module")
def shop(provision, bring, database):
    """A second database of the application; a table was there before, another comes after."""
    assert "database shop" in bring(SHOP, look=True)
    assert database("select count(*) from pg_database where datname = 'shop'") == "0"
    database("create database shop owner probe")
    database("create table old as select 1 as x", database="shop", user="probe")
    # The operator is a reader by the wiring.
    provision(app_databases=[OWN, {**SHOP, "readers": []}])
    database("create schema later", database="shop", user="probe")
    database("create table later.new (id serial, x int)", database="shop", user="probe")
    yield
    database("drop database shop with (force)")
    for role in ("shop_read", "shop_write", "nobody"):
        database(f"drop role {role}")


def refused(database, query, user, says="permission denied"):
    done = database.run(query, database="shop", user=user)
    assert done.rc != 0
    assert says in done.stderr


def test_a_second_time_nothing_is_missing(shop, bring):
    assert bring(SHOP, look=True) == []
    assert bring(SHOP) == []


def test_an_operator_reads_everything_and_changes_nothing(shop, database):
    database("create table later.newest ()", database="shop", user="probe")
    for table in ("old", "later.new", "later.newest"):
        database(f"select * from {table}", database="shop", user="ada")
        refused(database, f"delete from {table}", "ada")
    refused(database, "create table mine ()", "ada")
    assert database("select count(*) from probe_schema", database="probe", user="ada")


def test_a_writer_changes_rows_and_no_tables(shop, database):
    database("insert into old values (2)", database="shop", user="nobody")
    database("insert into later.new (x) values (1)", database="shop", user="nobody")
    database("delete from later.new", database="shop", user="nobody")
    refused(database, "drop table old", "nobody", "must be owner")
    done = database.run("select 1", database="probe", user="nobody")
    assert 'permission denied for database "probe"' in done.stderr


def test_the_extensions_are_there(shop, database):
    assert database("select show_trgm('a') is not null", database="shop", user="probe") == "t"
    database("select count(*) from pg_stat_statements", database="shop", user="probe")
    assert int(database("select count(*) from pg_stat_statements")) > 0


def test_what_a_migration_takes_from_readers_stays_taken(shop, database, bring):
    database("revoke select on old from shop_read", database="shop", user="probe")
    assert bring(SHOP) == []
    refused(database, "select * from old", "ada")


def test_who_is_not_named_any_more_is_shut_out(shop, database, bring):
    less = {**SHOP, "readers": [], "writers": []}
    # ada reads another database, nobody had this one only.
    assert bring(less) == [
        "ada not in shop_read any more",
        "nobody not in shop_write any more",
        "nobody may not sign in any more",
    ]
    refused(database, "select 1", "nobody", "not permitted to log in")
    refused(database, "select 1", "ada")
    assert bring(SHOP) == [
        "ada in shop_read",
        "nobody may sign in again",
        "nobody in shop_write",
    ]
    database("select 1", database="shop", user="ada")


def test_an_extension_that_cannot_be_had_is_refused(provision, database):
    wanted = [{**OWN, "name": "never", "extensions": ["no_such"]}]
    output = provision(fails=True, app_databases=wanted)
    says = "names extensions that this server does not have: no_such; nothing was changed"
    assert says in output
    assert "base_extra_packages" in output
    assert database("select count(*) from pg_database where datname = 'never'") == "0"
