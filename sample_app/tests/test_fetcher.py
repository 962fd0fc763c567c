"""Titles, and all the places that the fetcher must not go to.

No test here connects to a public address: conftest.py watches every connection.
"""

import asyncio
import ssl
import subprocess
from ipaddress import ip_address, ip_network

import pytest
from linkboard import fetcher
from linkboard.fetcher import CheckedTransport, Fetcher, FetchError, decode, find_title, is_public
from linkboard.models import Link

HOSTILE = """
    127.0.0.1 127.1.2.3 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1
    192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 192.88.99.1 224.0.0.1 240.0.0.1
    255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::1 3fff::1
    5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1
"""
PUBLIC = """
    1.1.1.1 8.8.8.8 93.184.215.14 ::ffff:8.8.8.8 2606:4700:4700::1111 2a00:1450:4001::1
"""


@pytest.mark.parametrize("address", HOSTILE.split())
def test_hostile_addresses(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.fixture
def strict(app) -> Fetcher:
    """The fetcher as in production: no network is allowed beyond the public internet."""
    settings = app.state.settings.model_copy(update={"fetch_allow_networks": ()})
    return Fetcher(settings, app.state.engine)


@pytest.fixture
def lenient(app) -> Fetcher:
    return Fetcher(app.state.settings, app.state.engine)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25lo]/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:22/",
        "http://8.8.8.8:22/",
        "http://8.8.8.8:5432/",
        "http://user@8.8.8.8/",
        "http://8.8.8.8@127.0.0.1/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http:///path",
    ],
)
async def test_hostile_urls(strict: Fetcher, url: str) -> None:
    with pytest.raises(FetchError):
        await strict.title(url)


@pytest.mark.parametrize(
    "url", ["http://①②⑦.⓪.⓪.①:{}/", "http://2130706433:{}/", "http://127.1:{}/"]
)
async def test_odd_spellings_reach_nothing(strict: Fetcher, pages, url: str) -> None:
    pages.add("/", "<title>secret</title>")
    with pytest.raises(FetchError):
        await strict.title(url.format(pages.port))
    assert pages.seen == []


def answer_with(monkeypatch, *answers: list[str]) -> list[str]:
    """Let names resolve to these addresses, one list for each look-up."""
    asked = []

    async def resolve(host: str, _port: int) -> list:
        asked.append(host)
        return [ip_address(a) for a in answers[min(len(asked), len(answers)) - 1]]

    monkeypatch.setattr(fetcher, "resolve", resolve)
    return asked


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "::1"], []]
)
async def test_names_of_private_addresses(strict: Fetcher, monkeypatch, addresses: list) -> None:
    answer_with(monkeypatch, addresses)
    with pytest.raises(FetchError, match="not on the public internet"):
        await strict.title("http://name.test/")


async def test_a_name_is_looked_up_once(lenient: Fetcher, monkeypatch, pages) -> None:
    """DNS rebinding: a second look-up would get another answer, so there must be none."""
    pages.add("/", "<title>First</title>")
    asked = answer_with(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    assert await lenient.title(f"http://name.test:{pages.port}/") == "First"
    assert asked == ["name.test"]
    assert pages.seen[0][1]["Host"] == f"name.test:{pages.port}"


async def test_further_addresses_are_tried(lenient: Fetcher, monkeypatch, pages) -> None:
    pages.add("/", "<title>Second address</title>")
    answer_with(monkeypatch, ["127.0.0.2", "127.0.0.1"])  # nobody listens on the first
    assert await lenient.title(f"http://name.test:{pages.port}/") == "Second address"
    answer_with(monkeypatch, ["127.0.0.2", "127.0.0.3"])
    with pytest.raises(FetchError, match="cannot be reached"):
        await lenient.title(f"http://name.test:{pages.port}/")


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "//[::1]/",
        "http://8.8.8.8:22/",
        "ftp://8.8.8.8/",
        "http://u:p@127.0.0.1/",
    ],
)
async def test_redirects_are_checked_too(lenient: Fetcher, pages, target: str) -> None:
    url = pages.add("/", b"", 302, location=target)
    with pytest.raises(FetchError):
        await lenient.title(url)


async def test_redirects_are_followed_three_times(lenient: Fetcher, pages) -> None:
    for n in range(1, 6):
        pages.add(f"/{n}", b"", 302, location=f"/{n + 1}", set_cookie="a=b")
    pages.add("/5", "<title>There</title>")
    assert await lenient.title(pages.url("/2")) == "There"
    with pytest.raises(FetchError, match="too many redirects"):
        await lenient.title(pages.url("/1"))
    pages.seen.clear()
    await lenient.title(pages.url("/2"))
    assert "Cookie" not in pages.seen[0][1]


async def test_no_proxy_from_the_environment(lenient: Fetcher, pages, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9/")
    assert await lenient.title(pages.add("/", "<title>Direct</title>")) == "Direct"


async def test_certificates_are_about_names(lenient: Fetcher, monkeypatch, tmp_path) -> None:
    """We connect to a number, and yet the server has to prove the name."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    openssl = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec"]
    openssl += ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
    openssl += ["-subj", "/CN=x", "-addext", "subjectAltName=DNS:name.test", "-days", "2"]
    openssl += ["-keyout", key, "-out", certificate]
    await asyncio.to_thread(subprocess.run, openssl, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"<title>Encrypted</title>"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    answer_with(monkeypatch, ["127.0.0.1"])
    lenient.context.load_verify_locations(certificate)
    assert await lenient.title(f"https://name.test:{port}/") == "Encrypted"
    for host in ("other.test", "127.0.0.1"):
        with pytest.raises(FetchError, match="cannot be reached"):
            await lenient.title(f"https://{host}:{port}/")
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("body", "headers", "problem"),
    [
        ("<title>x</title>", {"content_type": "application/json"}, "not a web page"),
        ("<title>x</title>", {"content_encoding": "gzip"}, "compression"),
        ("<p>nothing</p>", {}, "no title"),
        ("<title> </title>", {}, "no title"),
        ("<title>never ends", {}, "no title"),
        (" " * 300_000 + "<title>too late</title>", {}, "no title"),
        ("", {}, "no title"),
    ],
)
async def test_no_title(lenient: Fetcher, pages, body: str, headers: dict, problem: str) -> None:
    with pytest.raises(FetchError, match=problem):
        await lenient.title(pages.add("/", body, **headers))


async def test_slow_servers_and_many_at_once(app, pages) -> None:
    settings = app.state.settings.model_copy(update={"fetch_timeout": 0.4, "fetch_concurrency": 2})
    limited = Fetcher(settings, app.state.engine)
    with pytest.raises(FetchError, match="too long"):
        await limited.title(pages.add("/slow", "<title>x</title>", delay=0.8))
    url = pages.add("/", "<title>x</title>", delay=0.2)
    started = asyncio.get_running_loop().time()
    assert await asyncio.gather(*(limited.title(url) for _ in range(4))) == ["x"] * 4
    assert asyncio.get_running_loop().time() - started >= 0.4  # two, then two more


async def test_a_failure_does_not_undo_a_title(lenient: Fetcher, add_user, db, pages) -> None:
    user = await add_user("ada")
    link = Link(user_id=user.id, url=pages.url("/gone"), title="Kept", state="done")
    db.add(link)
    await db.commit()
    await lenient.fill(link.id, link.url)  # another process was quicker, and had more luck
    await db.refresh(link)
    assert (link.state, link.title, link.problem) == ("done", "Kept", None)


async def test_no_link_stays_pending(lenient: Fetcher, add_user, db, monkeypatch) -> None:
    async def read_title(_: str) -> str:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr(lenient, "read_title", read_title)
    user = await add_user("ada")
    link = Link(user_id=user.id, url="http://name.test/")
    db.add(link)
    await db.commit()
    await lenient.fill(link.id, link.url)
    await db.refresh(link)
    assert (link.state, link.problem) == ("failed", "this page cannot be read")


def test_allowed_networks(app) -> None:
    allowed = {"fetch_allow_networks": (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))}
    fetch = Fetcher(app.state.settings.model_copy(update=allowed), app.state.engine)
    transport = CheckedTransport(fetch.settings, fetch.context)
    for address, port, expected in [
        ("10.1.2.3", 8080, True),
        ("::ffff:10.1.2.3", 80, True),
        ("fd00::1", 80, True),
        ("10.2.0.1", 80, False),
        ("127.0.0.1", 80, False),
        ("8.8.8.8", 443, True),
        ("8.8.8.8", 8080, False),
    ]:
        assert transport.is_allowed(ip_address(address), port) is expected, (address, port)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<TITLE lang=en>\n A &lt;b&gt; &#x41;\t</TITLE>", "A <b> A"),
        ("<title>one</title><svg><title>two</title></svg>", "one"),
        ("<title>a\0b\u202ec\u200b</title>", "abc"),
        ("İİİ<title>x</title>", "x"),
        (f"<title>{'x' * 500}</title>", "x" * 200),
        ("<title", None),
        ("</title><title>", None),
        ("<title>" * 50_000, None),
    ],
)
def test_find_title(page: str, title: str | None) -> None:
    assert find_title(page) == title


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("é".encode(), None, "é"),
        ("é".encode("latin-1"), "ISO-8859-1", "é"),
        ("<meta charset=windows-1252>€".encode("cp1252"), None, "<meta charset=windows-1252>€"),
        ("日本".encode("shift_jis"), "Shift_JIS", "日本"),
        (b"\xff", None, "\ufffd"),
        (b"x", "hex", "x"),
        (b"x", "idna", "x"),
        (b"x", "no-such-codec", "x"),
        (b"x", "\0", "x"),
    ],
)
def test_decode(body: bytes, charset: str | None, text: str) -> None:
    assert decode(body, charset) == text
