"""Databases as short data: who owns, reads and writes what is there and what comes later."""

import json

import pytest

# Operators, such as ada, read all databases; games has this one only.
SHOP = {
    "name": "shop",
    "owner": "probe",
    "extensions": ["pg_trgm", "pg_stat_statements"],
    "readers": ["games"],
    "writers": ["nobody"],
}
OWN = {"name": "probe", "owner": "probe"}
NOTED = "/etc/pergola/applications/probe.fact"


@pytest.fixture(scope="module")
def bring(web1):
    """Have the program on the host make what a deploy has noted; what was missing, in words."""

    def run(*databases, look=False, own=OWN):
        before = web1.check_output(f"cat {NOTED}")
        wanted = {**json.loads(before), "databases": [own, *databases]}
        web1.check_output(f"echo %s >{NOTED}", json.dumps(wanted))
        option = "--only-look" if look else ""
        try:
            return json.loads(web1.check_output(f"pergola-postgresql databases {option}"))["made"]
        finally:
            web1.check_output(f"echo %s >{NOTED}", before)

    return run


@pytest.fixture(scope="module")
def shop(deploy, bring, database):
    """A second database of the application; a table was there before, another comes after."""
    assert "database shop" in bring(SHOP, look=True)
    assert database("select count(*) from pg_database where datname = 'shop'") == "0"
    database("create database shop owner probe")
    database("create table old as select 1 as x", database="shop", user="probe")
    # Its owner is the application unless it has another.
    own, shop = {"name": "probe"}, {name: SHOP[name] for name in SHOP if name != "owner"}
    deploy("--tags=app", app_databases=[own, shop])
    database("create schema later", database="shop", user="probe")
    database("create table later.new (id serial, x int)", database="shop", user="probe")
    yield
    deploy("--tags=app")
    database("drop database shop with (force)")
    for role in ("shop_read", "shop_write", "nobody", "games"):
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
    # ada reads it as an operator; the others had this one only.
    assert bring(less) == [
        "games not in shop_read any more",
        "games may not sign in any more",
        "nobody not in shop_write any more",
        "nobody may not sign in any more",
    ]
    refused(database, "select 1", "nobody", "not permitted to log in")
    refused(database, "select 1", "games", "not permitted to log in")
    database("select 1", database="shop", user="ada")
    assert bring(SHOP) == [
        "games may sign in again",
        "games in shop_read",
        "nobody may sign in again",
        "nobody in shop_write",
    ]
    database("select 1", database="shop", user="games")


def test_who_reads_another_database_still_signs_in(shop, database, bring):
    own = {**OWN, "readers": ["games"]}
    assert bring(SHOP, own=own) == ["games in probe_read"]
    assert bring({**SHOP, "readers": []}, own=own) == ["games not in shop_read any more"]
    refused(database, "select 1", "games")
    database("select 1", database="probe", user="games")
    assert bring(SHOP, own=own) == ["games in shop_read"]
    assert bring(SHOP) == ["games not in probe_read any more"]


def test_an_extension_that_cannot_be_had_is_refused(deploy, database, web1):
    noted = web1.file(NOTED).content_string
    wanted = [{**OWN, "name": "never", "extensions": ["no_such"]}]
    output = deploy("--tags=app", fails=True, app_databases=wanted)
    assert "names extensions that this server does not have: no_such" in output
    assert "base_extra_packages" in output
    assert database("select count(*) from pg_database where datname = 'never'") == "0"
    assert web1.file(NOTED).content_string == noted
