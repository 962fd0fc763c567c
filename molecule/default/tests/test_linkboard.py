"""The application itself, used over HTTPS by somebody whose account was made on the server."""

import re
import secrets
import time

import pytest

testinfra_hosts = ["ansible://web1"]

USER = "tester"
PAGE = "http://acme.test:8000/"
TITLE = "A page of the test network"


def psql(host, query):
    return host.check_output("runuser -u postgres -- psql -d linkboard -Atqc %s", query)


def journal(host):
    return host.run("journalctl --unit 'linkboard@*' --lines 30 --no-pager --output cat").stdout


@pytest.fixture(scope="module")
def password(host):
    """The password of a user that `linkboard create-user` makes in the live release."""
    word = secrets.token_urlsafe(16)
    said = host.check_output(
        f"echo %s | /srv/linkboard/bin/release run linkboard create-user {USER} --password -", word
    )
    assert said.strip() in (f"created {USER}", f"updated {USER}")
    psql(host, f"delete from links using users u where u.id = user_id and u.name = '{USER}'")
    return word


@pytest.fixture(scope="module")
def browser(host, site, password):
    """A browser in which the user has signed in."""
    with site.client() as client:
        answer = client.post("/login", data={"name": USER, "password": password})
        assert answer.status_code == 303, journal(host)
        assert answer.headers["location"] == "/"
        yield client


@pytest.fixture
def link(host, browser):
    """The id of a link to a page of the test network, freshly added."""
    psql(host, f"delete from links where url = '{PAGE}'")
    assert browser.post("/links", data={"url": PAGE}).status_code == 303, journal(host)
    return psql(host, f"select id from links where url = '{PAGE}'")


def until_it_has_its_title(host, browser):
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if TITLE in (text := browser.get("/").text):
            return text
        time.sleep(0.1)
    raise AssertionError(f"{PAGE} got no title in 15 s:\n{journal(host)}")


def test_strangers_are_led_to_the_sign_in_page(site):
    answer = site.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_a_wrong_password_is_refused(site, password):
    with site.client() as client:
        answer = client.post("/login", data={"name": USER, "password": f"{password}x"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


def test_the_session_cookie_stays_with_this_site_and_https(site, password):
    with site.client() as client:
        answer = client.post("/login", data={"name": USER, "password": password})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-session=")
    for attribute in ("secure", "httponly", "samesite=lax", "path=/"):
        assert attribute in re.split(r";\s*", cookie)


def test_a_link_gets_its_title_by_itself(host, browser, link):
    page = until_it_has_its_title(host, browser)
    assert f'id="link-{link}"' in page


def test_search_finds_a_link_by_its_title_and_only_then(host, browser, link):
    until_it_has_its_title(host, browser)
    assert f'id="link-{link}"' in browser.get("/", params={"q": "test NETWORK"}).text
    assert f'id="link-{link}"' not in browser.get("/", params={"q": "something else"}).text


def test_links_are_kept_in_postgresql(host, browser, link):
    until_it_has_its_title(host, browser)
    row = psql(
        host,
        "select name, url, title, state from links join users on users.id = user_id "
        f"where links.id = {link}",
    )
    assert row == f"{USER}|{PAGE}|{TITLE}|done"


def test_passwords_are_kept_as_hashes(host, password):
    assert psql(host, f"select password_hash from users where name = '{USER}'").startswith(
        "$argon2id$"
    )


def test_deleting_a_link_removes_it_for_good(host, browser, link):
    assert browser.post(f"/links/{link}/delete").status_code == 303
    assert f'id="link-{link}"' not in browser.get("/").text
    assert psql(host, f"select count(*) from links where id = {link}") == "0"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://other.test", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://www.linkboard.test", "Sec-Fetch-Site": "same-site"},
        {"Origin": "https://other.test"},
        {"Origin": "null"},
    ],
    ids=["another site", "a subdomain", "another origin", "no origin"],
)
def test_what_another_site_sends_in_a_users_name_is_refused(host, browser, link, headers):
    assert browser.post(f"/links/{link}/delete", headers=headers).status_code == 403
    assert psql(host, f"select count(*) from links where id = {link}") == "1"


def test_what_the_site_itself_sends_is_accepted(browser, link):
    headers = {"Origin": "https://linkboard.test", "Sec-Fetch-Site": "same-origin"}
    assert browser.post(f"/links/{link}/delete", headers=headers).status_code == 303


def test_the_journal_has_one_json_line_for_a_request(host, browser):
    marker = browser.get("/").headers["x-request-id"]
    lines = host.check_output(
        "journalctl --sync; journalctl --unit 'linkboard@*' --since -1min --output cat --grep %s",
        marker,
    )
    assert len(lines.splitlines()) == 1
    assert '"path": "/"' in lines
