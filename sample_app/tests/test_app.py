"""What users do, over the real database."""

import asyncio
import json
import logging
import re

import httpx
import pytest
from conftest import PASSWORD
from linkboard.log import JsonFormatter
from linkboard.models import Link, LoginSession
from sqlmodel import select

HX = {"HX-Request": "true"}


async def add_links(db, count: int, user_id: int = 1, title: str = "Page {}") -> None:
    for n in range(1, count + 1):
        url = f"https://example.org/{title}/{n}"
        db.add(Link(user_id=user_id, url=url, title=title.format(n), state="done"))
    await db.commit()


def titles(page: str) -> list[str]:
    return re.findall(r'nofollow">([^<]*)</a>', page)


# --- signing in ----------------------------------------------------------------------------------


async def test_sign_in_and_out(client: httpx.AsyncClient, db) -> None:
    cookie = next(iter(client.cookies.jar))
    assert (cookie.name, cookie.secure, cookie.path) == ("__Host-session", True, "/")
    assert cookie.has_nonstandard_attr("HttpOnly")
    stored = (await db.exec(select(LoginSession))).one()
    assert cookie.value not in stored.token_hash
    assert "ada" in (await client.get("/")).text

    answer = await client.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    client.cookies.set("__Host-session", cookie.value)  # a copy kept by a thief is worth nothing
    assert (await client.get("/")).headers["location"] == "/login"


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong"), ("nobody", PASSWORD), ("a\0a", "x"), ("' or 1=1 --", "x")],
)
async def test_wrong_credentials(visitor, add_user, name: str, password: str) -> None:
    await add_user("ada")
    answer = await visitor.post("/login", data={"name": name, "password": password})
    assert answer.status_code == 401
    assert "do not match" in answer.text
    assert "set-cookie" not in answer.headers


async def test_a_password_check_holds_no_connection(visitor, add_user, app, monkeypatch) -> None:
    await add_user("ada")
    held = []

    async def verify(*_: str | None) -> bool:
        held.append(app.state.engine.pool.checkedout())
        return False

    monkeypatch.setattr(app.state.passwords, "verify", verify)
    await visitor.post("/login", data={"name": "ada", "password": "x"})
    assert held == [0]


async def test_guessing_is_slowed_down(visitor, add_user) -> None:
    await add_user("ada")
    wrong = {"name": "ada", "password": "wrong"}
    statuses = [(await visitor.post("/login", data=wrong)).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    right = {"name": "ada", "password": PASSWORD}
    assert (await visitor.post("/login", data=right)).status_code == 429


async def test_everything_needs_a_session(visitor, add_user) -> None:
    await add_user("ada")
    for method, path in [
        ("GET", "/"),
        ("POST", "/links"),
        ("GET", "/links/1/row"),
        ("DELETE", "/links/1"),
        ("POST", "/links/1/delete"),
    ]:
        answer = await visitor.request(
            method, path, data={"url": "x"} if method == "POST" else None
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/login"), path
    piece = await visitor.get("/links/1/row", headers=HX)
    assert (piece.status_code, piece.headers["hx-redirect"]) == (401, "/login")


async def test_session_ends(client, app) -> None:
    async with app.state.engine.begin() as connection:
        await connection.exec_driver_sql("update sessions set expires_at = now() - interval '1 s'")
    assert (await client.get("/")).status_code == 303


# --- cross-site requests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://board.test"}, False),
        ({"Origin": "https://board.test"}, True),
        ({"Origin": "https://evil.test"}, False),
        ({"Origin": "https://board.test.evil.test"}, False),
        ({"Origin": "https://board.test:8443"}, False),
        ({"Origin": "null"}, False),
        ({}, True),  # no browser
    ],
)
async def test_cross_site_requests(client, db, headers: dict, allowed: bool) -> None:
    del client.headers["Sec-Fetch-Site"]
    answer = await client.post("/links", data={"url": "http://127.0.0.1:1/"}, headers=headers)
    assert answer.status_code == (303 if allowed else 403)
    assert len((await db.exec(select(Link))).all()) == allowed
    assert "content-security-policy" in answer.headers
    assert (await client.get("/", headers=headers)).status_code == 200  # links may lead here


# --- links ---------------------------------------------------------------------------------------


async def test_add_with_htmx(client, db, pages) -> None:
    url = pages.add("/a", "<title>A  &amp;\n <b>B</b></title>")
    answer = await client.post("/links", data={"url": url}, headers=HX)
    assert answer.status_code == 200
    assert 'hx-trigger="every 1s"' in answer.text
    assert 'id="add"' in answer.text
    assert 'class="count" hx-swap-oob="true">1<' in answer.text
    assert "<html" not in answer.text
    # the transport returns when the background task is done
    row = await client.get("/links/1/row", headers=HX)
    assert titles(row.text) == ["A &amp; &lt;b&gt;B&lt;/b&gt;"]
    assert "hx-trigger" not in row.text


async def test_add_without_javascript(client, pages) -> None:
    url = pages.add("/a", "<title>Plain</title>")
    answer = await client.post("/links", data={"url": url})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    page = await client.get("/")
    assert titles(page.text) == ["Plain"]
    assert "http-equiv" not in page.text

    answer = await client.post("/links/1/delete")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert titles((await client.get("/")).text) == []


async def test_a_waiting_page_reloads_itself_without_javascript(client, db) -> None:
    db.add(Link(user_id=1, url="https://example.org/"))
    await db.commit()
    assert '<noscript><meta http-equiv="refresh"' in (await client.get("/")).text


async def test_a_failed_title_says_why(client, pages) -> None:
    await client.post("/links", data={"url": pages.url("/missing")})
    assert "no title: the server answers 404" in (await client.get("/")).text


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "https://user:secret@example.org/",
        "https://example.org/" + "x" * 2000,
        "https://example.org/" + "ü" * 700,  # grows when it is percent-encoded
        "two words",
        "\0",
    ],
)
async def test_refused_addresses(client, db, url: str) -> None:
    answer = await client.post("/links", data={"url": url}, headers=HX)
    assert answer.status_code == 422
    assert answer.headers["hx-retarget"] == "#add"
    assert "not a web address" in answer.text
    page = await client.post("/links", data={"url": url})
    assert page.status_code == 422
    assert "<html" in page.text
    assert (await db.exec(select(Link))).all() == []


async def test_a_link_is_kept_once(client, db, pages) -> None:
    url = pages.add("/a", "<title>A</title>")
    await client.post("/links", data={"url": url})
    answer = await client.post("/links", data={"url": url}, headers=HX)
    assert answer.status_code == 422
    assert "already" in answer.text
    page = await client.post("/links", data={"url": url})  # without JavaScript
    assert page.status_code == 422
    assert "already" in page.text
    assert titles(page.text) == ["A"]
    assert len((await db.exec(select(Link))).all()) == 1


async def test_scheme_may_be_left_out(client, db, app, monkeypatch) -> None:
    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(app.state.fetcher, "fill", nothing)
    await client.post("/links", data={"url": " Example.org/Page "})
    assert (await db.exec(select(Link))).one().url == "https://example.org/Page"


async def test_titles_and_addresses_are_escaped(client, db) -> None:
    db.add(
        Link(user_id=1, url='https://e.org/"><script>', title="<script>x</script>", state="done")
    )
    await db.commit()
    assert "<script>" not in (await client.get("/")).text


async def test_search(client, db) -> None:
    await add_links(db, 3)
    db.add(Link(user_id=1, url="https://other.test/", title="100% Émile_x", state="done"))
    await db.commit()
    for q, found in {
        "page 2": ["Page 2"],
        "OTHER.test": ["100% Émile_x"],
        "émile": ["100% Émile_x"],
        "%": ["100% Émile_x"],
        "e_x": ["100% Émile_x"],
        "nothing": [],
        "\0": ["100% Émile_x", "Page 3", "Page 2", "Page 1"],
        "'; drop table links": [],
    }.items():
        answer = await client.get("/", params={"q": q}, headers=HX)
        assert titles(answer.text) == found, q
        assert "<html" not in answer.text
    whole = await client.get("/", params={"q": '"><b>'})  # without JavaScript
    assert 'value="&#34;&gt;&lt;b&gt;"' in whole.text
    again = await client.get("/", headers=HX | {"HX-History-Restore-Request": "true"})
    assert "<html" in again.text


async def test_paging(client, db) -> None:
    await add_links(db, 12)
    page = await client.get("/")
    seen = titles(page.text)
    for _ in range(5):
        more = re.search(r'href="(/\?before=\d+)"', page.text)
        if not more:
            break
        page = await client.get(more[1])
        seen += titles(page.text)
    assert seen == [f"Page {n}" for n in range(12, 0, -1)]
    second = await client.get("/", params={"before": 8, "q": "page"}, headers=HX)
    assert titles(second.text) == [f"Page {n}" for n in range(7, 2, -1)]
    assert "before=3&amp;q=page" in second.text


async def test_delete_with_htmx(client, db) -> None:
    await add_links(db, 2)
    answer = await client.delete("/links/1", headers=HX)
    assert answer.status_code == 200
    assert 'hx-swap-oob="true">1<' in answer.text
    assert (await client.delete("/links/1", headers=HX)).status_code == 404


async def test_links_of_others_do_not_exist(client, db, add_user) -> None:
    await add_user("bob")
    await add_links(db, 1, user_id=2)
    assert titles((await client.get("/")).text) == []
    assert (await client.get("/links/1/row")).status_code == 404
    assert (await client.delete("/links/1")).status_code == 404
    assert (await client.post("/links/1/delete")).status_code == 404
    assert len((await db.exec(select(Link))).all()) == 1


# --- answers in general --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/links/0/row", 400),
        ("GET", "/links/99999999999999/row", 400),
        ("GET", "/?before=x", 400),
        ("GET", f"/?q={'x' * 201}", 400),
        ("POST", "/login", 400),
        ("PUT", "/", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
    ],
)
async def test_errors_are_pages(client, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert "Back to your links" in answer.text


async def test_large_bodies_are_refused(visitor) -> None:
    answer = await visitor.post("/login", data={"name": "x" * 70_000, "password": "x"})
    assert answer.status_code == 413


async def test_headers_on_every_answer_even_on_a_crash(visitor, monkeypatch) -> None:
    monkeypatch.setattr("linkboard.routes.render", lambda *_a, **_k: 1 / 0)
    for path, status in {"/healthz": 200, "/static/x": 404, "/login": 500}.items():
        answer = await visitor.get(path, headers={"X-Request-ID": "given-id-1"})
        assert answer.status_code == status
        assert answer.headers["content-security-policy"].startswith(
            "default-src 'none'; script-src"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-release"] == "dev"
        assert answer.headers["x-request-id"] == "given-id-1"
        assert answer.headers["cache-control"] == "no-store"
        assert "HX-Request" in answer.headers["vary"]


@pytest.mark.parametrize("given", ["short", "x" * 65, 'a"b\\c-d-e-f', "line breaks", ""])
async def test_odd_request_ids_are_replaced(visitor, given: str) -> None:
    answer = await visitor.get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_log_lines_are_json() -> None:
    record = logging.makeLogRecord(
        {"name": "x", "msg": 'a "quote"\nand %s', "args": ("more",), "fields": {"path": "/\n"}}
    )
    line = JsonFormatter("r1").format(record)
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed["message"] == 'a "quote"\nand more'
    assert (parsed["path"], parsed["release"]) == ("/\n", "r1")


async def test_a_busy_pool_answers_503(client, use_database) -> None:
    engine = use_database(pool_size=1)
    engine.sync_engine.pool._timeout = 0.1
    async with engine.connect():
        answer = await client.get("/")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await client.get("/")).status_code == 200


async def test_no_database_answers_503(client, use_database, tmp_path) -> None:
    use_database(database_url=f"postgresql+asyncpg:///x?host={tmp_path}")
    assert (await client.get("/")).status_code == 503


async def test_a_slow_page_holds_no_connection(client, app, pages) -> None:
    url = pages.add("/slow", "<title>Slow</title>", delay=0.5)
    task = asyncio.create_task(client.post("/links", data={"url": url}, headers=HX))
    await asyncio.to_thread(pages.wait_for_request)
    assert app.state.engine.pool.checkedout() == 0
    await task
    assert titles((await client.get("/")).text) == ["Slow"]
