"""A release's migration: who signs in, and what is known of the database."""

import pytest
from pergola.release import migrations
from pergola.release.commands import quoted, read_environment
from pergola.release.database import Database
from release_made import having


def test_limits_that_an_earlier_version_left_on_the_role_are_taken_back(releases, monkeypatch):
    having(releases, database="dbname=notes", migrate_limits={"lock_timeout": 5})
    told, answers = [], iter([None, ""])
    data = Database(releases)
    monkeypatch.setattr(data, "ask", lambda sql: told.append(sql) or next(answers))
    data.take_limits_back()
    assert told == [], "nothing was left"
    data.limits_set.touch()
    data.take_limits_back()  # PostgreSQL does not answer
    data.take_limits_back()
    data.take_limits_back()
    assert len(told) == 2
    assert "reset lock_timeout" in told[0]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("postgresql:///notes", None),
        ("postgresql://notes@/notes", "postgresql://notes_migration@/notes"),
        (
            "postgresql+asyncpg://notes:pw@/notes?host=/run/postgresql",
            "postgresql+asyncpg://notes_migration@/notes?host=/run/postgresql",
        ),
        ("postgres://notes@", "postgres://notes_migration@"),
        # Neither another server, nor another account, nor another kind of thing.
        ("postgresql://notes:pw@db.example.org/notes", None),
        ("postgresql://ada@/notes", None),
        ("https://notes@/notes", None),
        ("notes@/notes", None),
    ],
)
def test_a_url_of_the_owner_is_one_of_the_migrations_role(value, wanted):
    assert migrations.as_user(value, "notes", "notes_migration") == (wanted or value)


def test_the_environment_is_read_as_it_was_written(tmp_path):
    values = {"A": "plain", "B": 'a "quoted" `x` $y \\ back', "C": "two\nlines\nD=3", "E": ""}
    text = "".join(f"{name}={quoted(value)}\n" for name, value in values.items())
    (tmp_path / "environment").write_text(text)
    assert read_environment(tmp_path / "environment") == values
