"""A real browser against a real server: what htmx and the content security policy do together."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from conftest import PASSWORD, uvicorn, wait_until_ready
from linkboard.cli import SEEDS
from linkboard.cli import app as cli
from linkboard.config import get_settings
from playwright.sync_api import Browser, Page, sync_playwright
from typer.testing import CliRunner

FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
"""


@pytest.fixture(scope="module")
def board(databases, environment: dict, tmp_path_factory) -> Iterator[str]:
    """A server with one user and the seeded links; yields its address."""
    environment = environment | {
        "LINKBOARD_DATABASE_URL": databases.create(),
        "LINKBOARD_SECURE_COOKIES": "false",
        "LINKBOARD_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "LINKBOARD_PAGE_SIZE": "8",
    }
    user = ["create-user", "ada", "--password", "-"]
    for command in (["db", "upgrade"], user, ["seed"]):
        get_settings.cache_clear()
        result = CliRunner().invoke(cli, command, input=f"{PASSWORD}\n", env=environment)
        assert result.exit_code == 0, result.output
    get_settings.cache_clear()
    log = tmp_path_factory.mktemp("board") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # uvicorn takes the descriptor for a unix socket's and leaves this out: 40 ms a request
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with uvicorn(listener, environment, log):
            wait_until_ready(log, lambda: httpx.get(f"{base}/readyz").status_code)
            yield base


def starts(path: str) -> bool:
    """Ubuntu's chromium-browser is there without a browser: a script that asks for a snap."""
    return subprocess.run([path, "--version"], capture_output=True, timeout=30).returncode == 0


@pytest.fixture
def browser(board: str) -> Iterator[Browser]:
    # After `board`: playwright keeps an event loop running, and setting up the board needs its own.
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(starts, filter(None, map(shutil.which, names))), None)
    if path is None:
        missing = f"no browser: none of {', '.join(names)} is installed and starts"
        if os.environ.get("LINKBOARD_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


def until(check: Callable[[], bool], what: str, seconds: float = 8) -> None:
    """Wait. Playwright's own wait_for_function needs eval, which our policy forbids."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def sign_in(page: Page, base: str) -> None:
    page.goto(f"{base}/")
    page.fill("input[name=name]", "ada")
    page.fill("input[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_selector("#rows li")


def test_a_visit(browser: Browser, board: str, pages) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 700})
    page = context.new_page()
    console, requests = [], []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: dialog.accept())

    sign_in(page, board)
    rows = page.locator("#rows .row")
    assert rows.count() == len(SEEDS)
    if picture := os.environ.get("LINKBOARD_SCREENSHOT"):
        Path(picture).parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=picture, caret="initial")  # else it adds an inline style

    # The row is there at once; its title comes by itself.
    url = pages.add("/page", "<title>Fetched in the background</title>", delay=0.5)
    page.fill("#url", url)
    page.click("#add button")
    page.wait_for_selector("#rows .row.pending [aria-busy]")
    assert page.input_value("#url") == ""
    assert page.inner_text("#count") == str(len(SEEDS) + 1)
    until(lambda: "Fetched in the background" in rows.first.inner_text(), "the title comes")
    # htmx gives the new row the old one's class for the 20 ms in which things settle
    until(lambda: page.locator(".pending").count() == 0, "no row waits")

    # A link that is there already: the message appears, and what was typed stays.
    page.fill("#url", url)
    page.click("#add button")
    page.wait_for_selector("#problem")
    assert page.input_value("#url") == url
    assert rows.count() == len(SEEDS) + 1
    assert all("422" in text for text in console), console  # the browser and htmx tell of it
    console.clear()

    page.fill("input[type=search]", "")
    page.locator("input[type=search]").press_sequentially("backgr", delay=20)
    until(lambda: rows.count() == 1, "the search finds one row")
    until(lambda: page.url.endswith("/?q=backgr"), "the address can be kept")
    page.fill("input[type=search]", "nothing like this")
    until(lambda: rows.count() == 0, "the search finds nothing")
    assert page.locator(".nothing").is_visible()
    page.fill("input[type=search]", "backgr")
    until(lambda: rows.count() == 1, "the search finds it again")

    page.click(".row button.delete")
    until(lambda: rows.count() == 0, "the row goes")
    until(lambda: page.inner_text("#count") == str(len(SEEDS)), "the count follows")
    page.goto(f"{board}/")
    assert rows.count() == len(SEEDS)

    # Older links come when they are asked for.
    page.fill("#url", pages.add("/another", "<title>Another</title>"))
    page.click("#add button")
    until(lambda: rows.first.inner_text().startswith("1\nAnother"), "the second title comes")
    page.goto(f"{board}/")
    assert rows.count() == 8
    page.click(".more a")
    until(lambda: rows.count() == len(SEEDS) + 1, "the last row comes")

    page.click("nav button")
    page.wait_for_selector("input[name=password]")
    assert console == []
    assert len({r for r in requests if "/static/" in r}) == 3
    assert [r for r in requests if not r.startswith((board, "data:"))] == []
    context.close()


def test_a_visit_without_javascript(browser: Browser, board: str, pages) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, board)
    page.fill("#url", pages.add("/plain", "<title>Plain page</title>", delay=0.5))
    page.click("#add button")
    # the noscript element makes the page load itself again
    until(lambda: "Plain page" in page.inner_text("#rows"), "the title comes")
    page.fill("input[type=search]", "plain")
    page.click("form[role=search] button")
    page.wait_for_url("**/?q=plain")
    assert page.locator("#rows .row").count() == 1
    page.click(".row button.delete")
    until(lambda: "Plain page" not in page.inner_text("#rows"), "the row goes")
    context.close()


def test_the_policy_stops_foreign_scripts(browser: Browser, board: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    sign_in(page, board)
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'injected'";
            document.body.append(script);
        }"""
    )
    until(lambda: any("Content Security Policy" in text for text in refused), "it is refused")
    assert page.title() == "linkboard"
    context.close()
