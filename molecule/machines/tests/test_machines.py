"""One server becomes several, and one again, while visitors ask and write.

The tests go on from each other: each is a change of the inventory, and site.yml.
"""

import json
import re
import socket
import threading
import time

import pytest
import scenario
from scenario import address

ONE = {"app": ["db1"], "db": ["db1"]}
# The server that was alone keeps its address, and with it its visitors.
WITH_APP = {"edge": ["db1"], "app": ["app1"], "db": ["db1"]}
WITH_TWO = {"edge": ["db1"], "app": ["app1", "app2"], "db": ["db1"]}
FOUR = {"edge": ["edge1"], "app": ["app1", "app2"], "db": ["db1"]}


def grown(world, load, groups, *arguments, book="site.yml"):
    """Run a playbook with the inventory as it is now, under load: what it said."""
    with load() as running:
        world.become(**groups)
        said = world.run(book, *arguments)
        result = running.end()
    world.total.count(result)
    world.total.steps += book == "site.yml"
    assert result.lost == [], said
    return said


def unchanged(world):
    """A second run changes nothing."""
    said = world.run("site.yml")
    assert not re.search(r"changed=[1-9]", said), said


def ticks(world, name):
    return world.host(name).run("wc -l </var/lib/probe/ticks").stdout.strip() or "0"


def test_an_application_host_beside_the_server(world, load):
    world.run("deploy", "--tags=release")
    grown(world, load, WITH_APP)
    world.trust()
    release = world.server("app1").live()
    assert world.site().release() == release
    assert world.site().get("/db").text == "42"
    old = world.host("db1")
    running = old.check_output("systemctl list-units --plain --no-legend 'probe@*' 'probe.*'")
    assert running == ""
    counts = ticks(world, "db1"), ticks(world, "app1")
    time.sleep(12)
    assert ticks(world, "db1") == counts[0]
    assert ticks(world, "app1") != counts[1]
    unchanged(world)


def test_postgresql_listens_where_it_must_and_lets_in_whom_it_must(world):
    database = world.host("db1")
    listens = database.check_output("ss -Hltn 'sport = :5432'").split()
    assert [word for word in listens if word.endswith(":5432")] == [f"{address('db1')}:5432"]
    asked = world.host("app1").run(
        "cd / && runuser -u probe -- psql -c 'select 1' "
        f"'host={address('db1')} dbname=probe sslmode=require'"
    )
    assert asked.rc != 0
    assert "connection requires a valid client certificate" in asked.stderr
    rules = world.sql("select count(*) from pg_hba_file_rules where error is not null")
    assert rules == "0"


def test_the_lock_of_a_migration_holds_between_hosts(world):
    lock = "select pg_advisory_lock(hashtextextended('pergola migration', 0)), pg_sleep(40)"
    command = f'cd / && runuser -u postgres -- psql -d probe -c "{lock}"'
    holder = threading.Thread(target=lambda: world.host("db1").run(command), daemon=True)
    holder.start()
    world.source.commit("note", "locked", "While another migrates")
    said = world.run("deploy", "--tags=release", fails=True)
    assert "the database is not free for a migration" in said
    world.sql("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
    holder.join()


def test_a_point_is_made_where_the_database_is(world, load):
    world.source.commit("note", "point", "A release with a point before it")
    grown(world, load, world.groups, "--tags=release", book="deploy")
    release = world.server("app1").live()
    points = world.host("db1").file("/var/lib/pergola/points.jsonl").content_string
    assert f'"before-{release}"' in points
    assert world.server("app1").ledger()[-1]["schema"] == ["1", "1"]


def test_a_restart_of_postgresql_makes_requests_wait(world, load):
    world.settings["postgresql_settings"] = {"max_wal_senders": 12}
    said = grown(world, load, world.groups, book="provision")
    assert "PostgreSQL of db1 was away for" in said


def test_a_second_application_host(world, load):
    grown(world, load, WITH_TWO)
    assert world.server("app1").live() == world.server("app2").live()
    unchanged(world)


def test_an_application_host_dies(world, load):
    with load() as running:
        scenario.testhosts("kill", "app2")
        time.sleep(8)
        scenario.testhosts("start", "app2")
        time.sleep(8)
        result = running.end()
    world.total.count(result)
    # What was at work on it, at most.
    assert result.failed <= 3, result.first_failures


def test_an_edge_of_its_own(world, load):
    # The name leads to the old one until somebody changes it in DNS.
    world.become(**FOUR)
    world.run("site.yml")
    world.trust()
    assert world.site().get("/db").text == "42"
    old = world.host("db1").check_output("ls /etc/caddy")
    assert "probe.caddy" not in old
    unchanged(world)


def test_deploys_and_a_rollback_over_both(world, load):
    with load(stream="/stream", stream_end="END") as running:
        for number in range(2):
            world.source.commit("note", f"number {number}", f"Release {number}")
            world.run("deploy", "--tags=release")
            world.total.deploys += 1
        newest = world.server("app1").live()
        assert world.server("app2").live() == newest
        world.run("rollback")
        world.total.deploys += 1
        result = running.end()
    world.total.count(result)
    assert result.lost == []
    assert world.server("app1").live() == world.server("app2").live() != newest


def test_each_application_host_is_updated_and_rebooted_in_its_turn(world, load):
    for name in ("app1", "app2"):
        world.host(name).check_output("touch /run/reboot-required")
    with load() as running:
        said = world.run("upgrade", "--limit=app", reboot="true")
        result = running.end()
    world.total.count(result)
    world.total.reboots += 2
    assert result.lost == [], said
    assert "Reboot the server" in said
    assert not world.host("app1").file("/run/reboot-required").exists


def test_the_edge_restarts(world, load):
    with load() as running:
        world.host("edge1").check_output("systemctl restart caddy")
        time.sleep(2)
        result = running.end()
    world.total.count(result)
    assert result.lost == []


def test_the_database_host_is_cut_off_for_a_while(world):
    scenario.testhosts("cut", "db1")
    time.sleep(40)
    scenario.testhosts("join", "db1")
    began = time.monotonic()
    scenario.wait_for("the database again", lambda: world.site().get("/db").text == "42", 60)
    assert time.monotonic() - began < 15


def test_clients_cannot_forge_who_they_are(world):
    answer = world.site().get("/forged", headers={"X-Forwarded-For": "203.0.113.7"})
    assert answer.status_code == 404
    find = "grep -h /forged /var/log/caddy/probe.log || true"
    said = [world.host(name).check_output(find) for name in ("app1", "app2")]
    (asked,) = [json.loads(line) for line in "\n".join(said).split("\n") if line]
    own = world.host("app1").check_output(
        "ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'"
    )
    assert asked["request"]["headers"]["X-Forwarded-For"] == [own]


def test_nobody_but_the_edge_reaches_the_hosts_behind(world):
    with pytest.raises(OSError, match=r"timed out|refused"):
        socket.create_connection((address("app1"), 8000), timeout=3)
    with pytest.raises(OSError, match=r"timed out|refused"):
        socket.create_connection((address("db1"), 5432), timeout=3)
    edge = world.host("edge1")
    assert edge.run(f"timeout 3 bash -c 'echo >/dev/tcp/{address('app1')}/8000'").rc == 0
    assert edge.run(f"timeout 3 bash -c 'echo >/dev/tcp/{address('db1')}/5432'").rc != 0


def test_the_maintenance_page_of_all_is_what_visitors_see(world):
    world.run("maintenance")
    page = world.site().get("/")
    assert page.status_code == 503
    assert "back shortly" in page.text
    world.run("maintenance", state="off")
    assert world.site().get("/").status_code == 200


def test_a_restore_closes_the_applications_on_their_hosts(world):
    world.sql("insert into probe_rows (number) values (1)")
    point = world.host("db1").check_output("pergola-backup point").split()[-1]
    world.sql("insert into probe_rows (number) values (2)")
    said = world.run("restore", point=point, confirm="probe")
    assert "Close the applications of other hosts" in said
    assert world.sql("select number from probe_rows order by 1") == "1"
    # They are open again, and no page is left.
    assert world.site().get("/db").text == "42"
    for name in ("app1", "app2"):
        assert world.server(name).status()["state"] == "active"
        assert not world.host(name).file("/var/lib/pergola/fence.json").exists


def test_an_application_host_is_taken_out(world, load):
    one = {"edge": ["edge1"], "app": ["app1"], "db": ["db1"]}
    grown(world, load, one)
    assert world.site().get("/db").text == "42"
    # What was there is removed with the inventory as it was; the database stays.
    world.become(**FOUR)
    world.run("remove", "--limit=app2", confirm="probe")
    assert world.host("app2").run("test -e /srv/probe").rc != 0
    world.become(**one)
    assert world.site().get("/db").text == "42"


def test_one_server_again(world, load):
    world.become(**ONE)
    world.run("site.yml")
    world.trust()
    assert world.site().get("/db").text == "42"
    listens = world.host("db1").check_output("ss -Hltn 'sport = :5432'")
    assert listens == ""
    unchanged(world)
