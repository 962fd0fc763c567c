"""What takes long runs once the new release serves: without limits, and nothing goes back."""

import time

import pytest
from scenario import said
from test_migrations import STATEMENT, nothing_is_at_work, session

INDEX = "create index concurrently if not exists probe_after_by_id on probe_after (id)"
OLD = "set transaction isolation level repeatable read; insert into probe_after values (7)"
VALID = "select indisvalid from pg_index where indexrelid = to_regclass('probe_after_by_id')"
# More than a migration may wait for a lock here; from when the index is waited for.
SECONDS = 6
ENDS = """
ask() {{ runuser -u postgres -- psql -XqAt -d probe -c "$1"; }}
until ask "select query from pg_stat_activity where state = 'active'" | grep '^create index'; do
  sleep 0.5
done
sleep {seconds}
ask "select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin;%'"
"""


@pytest.fixture(scope="module")
def base(probe, server, deploy):
    probe.reset()
    deploy(probe.commit("note", "after", "Before what takes long"))
    server.sql("create table if not exists probe_after (id int)")
    yield server.live()
    server.sql("drop table probe_after")
    deploy(probe.commit("note", "clean", "Nothing takes long any more"))


def test_an_index_waits_for_an_old_transaction_longer_than_a_migration_may(
    base, server, probe, deploy, site
):
    """The switch does not wait with it: visitors are on the new release meanwhile."""
    commit = probe.commit("note", "index", "It has an index")
    with session(server, OLD):
        server.host.check_output(
            "systemd-run --quiet --collect --unit=pergola-test-end "
            "--property=RuntimeMaxSec=300 sh -c %s",
            ENDS.format(seconds=SECONDS),
        )
        deploy(
            commit,
            app_migrate_after_command=STATEMENT.format(INDEX),
            app_migrate_lock_timeout_seconds=2,
        )
    assert server.live() != base
    assert server.sql(VALID) == "t"
    live, after = server.ledger()[-2:]
    assert (live["outcome"], live["to"]) == ("live", server.live())
    assert (after["action"], after["outcome"], after["to"]) == (
        "migrate_after", "done", server.live()
    )  # fmt: skip
    assert after["seconds"]["migrate_after"] > SECONDS
    assert sum(live["seconds"].values()) < sum(after["seconds"].values()) + 60
    assert site.get("/db").text == "42"
    nothing_is_at_work(server)


def test_its_session_is_the_migrations_role_without_limits(base, server, probe, deploy):
    shown = "current_setting('lock_timeout') as l, current_setting('statement_timeout') as s"
    makes = f"create table probe_limits as select {shown}, session_user::text as u"
    deploy(
        probe.commit("note", "limits", "It looks at its limits"),
        app_migrate_after_command=f'psql -X -v ON_ERROR_STOP=1 -c "{makes}"',
    )
    try:
        assert server.sql("select * from probe_limits") == "0|0|probe_migration"
        owner = "select tableowner from pg_tables where tablename = 'probe_limits'"
        assert server.sql(owner) == "probe"
    finally:
        server.sql("drop table if exists probe_limits")


def test_one_that_fails_leaves_the_release_live_says_so_and_runs_again(
    base, server, probe, deploy, site
):
    before = server.live()
    flag = "/var/lib/probe/after"
    server.host.check_output(f"rm -f {flag}")
    commit = probe.commit("note", "fails", "It fails once")
    fails = f"test -e {flag} || {{ touch {flag}; echo not yet; false; }}"
    again = {"app_migrate_after_command": fails}
    done = deploy(commit, fails=True, **again)
    text = said(done)
    assert "is live, but app_migrate_after_command failed" in text
    assert "phase: migrate_after" in text
    assert "not yet" in text
    assert "the new release serves all the same" in text
    assert server.live() != before
    assert site.get("/").headers["x-served-by"]
    line = server.ledger()[-1]
    assert (line["action"], line["outcome"]) == ("migrate_after", "failed")
    assert server.status()["good"][0] == server.live()
    live = server.live()
    assert "app_migrate_after_command would run" in said(deploy(commit, "--check", **again))
    deploy(commit, **again)
    assert server.live() == live
    assert server.ledger()[-1]["outcome"] == "done"
    assert "changed=0 " in deploy(commit, **again).stdout
    table = server.host.check_output("/srv/probe/bin/release releases")
    assert "migrate_after" in table


def test_nobody_else_deploys_while_it_is_at_work_and_a_rollback_has_none(
    base, server, probe, playbook, deploy, rollback
):
    commit = probe.commit("note", "slow", "It takes a while")
    began = time.monotonic()
    deploy(commit, app_migrate_after_command="sleep 5")
    assert time.monotonic() - began > 5
    lines = len(server.ledger())
    rollback(force=True)
    assert [line["action"] for line in server.ledger()[lines:]] == ["rollback"]
