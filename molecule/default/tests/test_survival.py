"""A reboot in order, and a power loss: the site comes back by itself, with everything it had."""

import secrets
import socket
import time

import httpx
import pytest
import scenario

testinfra_hosts = ["ansible://web1"]

SECONDS = 60  # until the site must answer again; it takes 5 to 10


def psql(host, query):
    return host.check_output("runuser -u postgres -- psql -d linkboard -XAtqc %s", query)


def boot_of(host):
    """The id of the present boot; None while nobody can log in."""
    try:
        done = host.run("cat /proc/sys/kernel/random/boot_id")
    except RuntimeError:  # SSH's own error; a connection that was kept from before ends in one, too
        return None
    return done.stdout.strip() or None


def wait_for_login(host, before, began):
    """Wait until somebody can log in, to another boot than before."""
    while time.monotonic() - began < SECONDS:
        if boot_of(host) not in (None, before):
            return
        time.sleep(0.3)
    raise AssertionError(f"no login to a new boot within {SECONDS} s")


def wait_for_the_site(host, site, began):
    """Wait until the site is ready, or fail with the journal."""
    seen = ""
    while time.monotonic() - began < SECONDS:
        try:
            seen = site.get("/readyz").status_code
        except httpx.TransportError as error:
            seen = repr(error)
        if seen == 200:
            return
        time.sleep(0.2)
    journal = host.run("journalctl --boot --no-pager --lines 80 --priority info").stdout
    raise AssertionError(f"no 200 from /readyz within {SECONDS} s but {seen}:\n{journal}")


def reboot(host):
    host.run("systemctl reboot")


def power_loss(host):
    scenario.testhosts("kill", "web1")
    with pytest.raises(OSError, match=r"timed out|No route|unreachable"):
        socket.create_connection((scenario.address("web1"), 22), 0.5)
    scenario.testhosts("start", "web1")


@pytest.fixture(scope="module", params=[reboot, power_loss], ids=["a reboot", "a power loss"])
def before(request, host, site):
    """What there was before the event: the release, and a row written just then."""
    name = secrets.token_hex(8)
    psql(
        host,
        "insert into users (name, password_hash, created_at) values ('survivor', '!', now()) "
        "on conflict (name) do nothing; insert into links (user_id, url, title, state, created_at) "
        f"select id, 'http://{name}.test/', 'kept', 'done', now() from users "
        "where name = 'survivor'",
    )
    release, boot, began = site.release(), boot_of(host), time.monotonic()
    request.param(host)
    wait_for_login(host, boot, began)
    wait_for_the_site(host, site, began)
    yield {"release": release, "url": f"http://{name}.test/"}
    psql(host, "delete from users where name = 'survivor'")


def test_the_same_release_answers(before, site):
    assert site.release() == before["release"]


def test_the_row_that_was_written_is_there(host, before):
    assert psql(host, f"select title from links where url = '{before['url']}'") == "kept"


def test_no_unit_has_failed(host, before):
    failed = host.check_output("systemctl list-units --failed --plain --no-legend")
    journal = host.run("journalctl --boot --no-pager --lines 60 --priority warning").stdout
    assert failed == "", journal


def test_the_firewall_is_up(host, before):
    assert "policy drop" in host.check_output("nft list table inet pergola")


def test_a_login_has_the_locale(host, before):
    assert host.check_output("su - ada -c 'locale charmap'") == "UTF-8"


def test_the_journal_of_the_boot_before_is_kept(host, before):
    host.check_output("journalctl --boot -1 --lines 1")
