"""Fetches the titles of pages whose addresses users typed, and is no way into our own network.

Every hop of every redirect is checked: scheme, port, no user name, and all addresses that the name
has. The connection then goes to the very address that was checked, so a name that changes its mind
between check and use (DNS rebinding) gains nothing.
"""

import asyncio
import codecs
import html
import ipaddress
import logging
import re
import socket
import ssl
from http import HTTPStatus

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col, update

from linkboard.config import Settings
from linkboard.db import open_session
from linkboard.models import Link

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
logger = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
MAX_REDIRECTS = 3
MAX_TITLE = 200
PUBLIC_PORTS = {80, 443}
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Networks that is_global counts as public, in this or that version of Python, but that lead
# elsewhere: tunnels into IPv4 (6to4 and its relay, Teredo), special assignments, documentation.
REFUSED = [
    ipaddress.ip_network(network)
    for network in ("192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
# Text encodings that pages have. Others can be slow on purpose (idna) or are no text at all (hex).
TEXT_CODEC = re.compile(
    r"ascii|utf-(8|16|16-le|16-be)|iso8859-\d+|cp(125\d|866|932|949)|koi8-[ru]|shift_jis|euc_(jp|kr)"
    r"|gb2312|gbk|gb18030|big5"
)


class FetchError(Exception):
    """There is no title; the message says why, in words for the user."""


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address not in GLOBAL_UNICAST:  # is_global alone lets NAT64 and ::127.0.0.1 pass
            return False
    if any(address in network for network in REFUSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


async def resolve(host: str, port: int) -> list[Address]:
    """Look a name up, once."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError("this name does not exist") from error
    return [ipaddress.ip_address(entry[4][0]) for entry in found]


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Checks where a request goes before it goes there; redirects pass here like any request."""

    def __init__(self, settings: Settings, context: ssl.SSLContext) -> None:
        # No connection is used twice: the pool knows them by address, and one address can serve
        # many names. A client with a transport of its own takes no proxy from the environment,
        # which would resolve the name again.
        super().__init__(verify=context, limits=httpx.Limits(max_keepalive_connections=0))
        self.allowed = settings.fetch_allow_networks

    def is_allowed(self, address: Address, port: int) -> bool:
        """Tell whether we may connect there."""
        plain = getattr(address, "ipv4_mapped", None) or address
        if any(plain in network for network in self.allowed):
            return True
        return port in PUBLIC_PORTS and is_public(plain)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request to a checked address; raises FetchError."""
        url = request.url
        if url.scheme not in {"http", "https"} or url.userinfo or not url.host:
            raise FetchError("this kind of address is not fetched")
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await resolve(url.host, port)
        # All of them must be allowed: a mixed answer is somebody trying something.
        if not addresses or not all(self.is_allowed(address, port) for address in addresses):
            raise FetchError("this address is not on the public internet")
        failure: Exception | None = None
        for address in dict.fromkeys(addresses):
            pinned = httpx.Request(
                request.method,
                url.copy_with(host=str(address)),
                headers=request.headers,  # with the Host header of the name
                # TLS is still about the name, not about the number
                extensions=request.extensions | {"sni_hostname": url.raw_host.decode("ascii")},
            )
            try:
                return await super().handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise FetchError("the server cannot be reached") from failure


def decode(body: bytes, charset: str | None) -> str:
    """Decode a page as its header says, else as its first bytes say, else as UTF-8."""
    if not charset and (found := re.search(rb"charset=[\"']?([A-Za-z0-9_-]{2,30})", body[:2048])):
        charset = found[1].decode("ascii")
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):  # unknown, or no name at all
        name = "utf-8"
    return body.decode(name if TEXT_CODEC.fullmatch(name) else "utf-8", errors="replace")


def find_title(page: str) -> str | None:
    """Cut the first title out of a page.

    Plain searching, because it takes linear time on any input; parsers and patterns can be made to
    take far longer. Unprintable characters go: PostgreSQL refuses NUL, others turn text around.
    """
    lower = (
        page.lower() if len(page.lower()) == len(page) else page
    )  # some letters grow in lower case
    start = lower.find("<title")
    opened = lower.find(">", start)
    closed = lower.find("</title", opened)
    if min(start, opened, closed) < 0:
        return None
    text = " ".join(html.unescape(page[opened + 1 : closed]).split())
    return "".join(c for c in text if c.isprintable())[:MAX_TITLE].strip() or None


class Fetcher:
    """Fills in titles, a few at a time."""

    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        self.settings, self.engine = settings, engine
        self.slots = asyncio.Semaphore(settings.fetch_concurrency)
        self.context = ssl.create_default_context()  # the system's certificate authorities

    async def title(self, url: str) -> str:
        """Fetch a page and return its title; raises FetchError."""
        try:
            async with self.slots, asyncio.timeout(self.settings.fetch_timeout):
                return await self.read_title(url)
        except TimeoutError as error:
            raise FetchError("the server takes too long") from error
        except httpx.TooManyRedirects as error:
            raise FetchError("too many redirects") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchError("the server does not speak proper HTTP") from error

    async def read_title(self, url: str) -> str:
        """Read no more of a page than its title needs."""
        headers = {
            "User-Agent": "linkboard/1.0 (fetches page titles)",
            "Accept": "text/html",
            # A small compressed chunk can unpack to gigabytes.
            "Accept-Encoding": "identity",
        }
        # A client of its own for each page: one site's cookies are no other site's business.
        async with (
            httpx.AsyncClient(
                transport=CheckedTransport(self.settings, self.context),
                headers=headers,
                follow_redirects=True,
                max_redirects=MAX_REDIRECTS,
                timeout=self.settings.fetch_timeout,
            ) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != HTTPStatus.OK:
                raise FetchError(f"the server answers {response.status_code}")
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in {"text/html", "application/xhtml+xml"}:
                raise FetchError("this is not a web page")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise FetchError("the server insists on compression")
            body = b""
            async for chunk in response.aiter_raw(chunk_size=16 * 1024):
                body += chunk
                if b"</title" in body.lower() or len(body) >= MAX_BYTES:
                    break
        if title := find_title(decode(body[:MAX_BYTES], response.charset_encoding)):
            return title
        raise FetchError("this page has no title")

    async def fill(self, link_id: int, url: str) -> None:
        """Fetch the title of one link and keep it. No database connection is held meanwhile."""
        try:
            values = {"title": await self.title(url), "state": "done", "problem": None}
        except FetchError as error:
            values = {"state": "failed", "problem": str(error)}
            logger.info("no title", extra={"fields": {"link": link_id, "problem": str(error)}})
        except Exception:
            # Left pending, it would break every later run too.
            values = {"state": "failed", "problem": "this page cannot be read"}
            logger.exception("fetch broke", extra={"fields": {"link": link_id}})
        # Two processes may fetch the same title: the slower one must not undo it with a failure.
        missing = update(Link).where(col(Link.id) == link_id, col(Link.state) != "done")
        async with open_session(self.engine) as db:
            await db.exec(missing.values(**values))
            await db.commit()
