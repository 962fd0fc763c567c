"""Response headers, the guard against cross-site requests, passwords and sessions."""

import hashlib
import secrets
import time
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import Depends, Request, Response
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linkboard.config import Settings
from linkboard.db import Db
from linkboard.models import LoginSession, User, now

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # Pico's icons are data: images
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_cross_site(method: str, headers: Headers) -> bool:
    """Tell whether another site makes this browser act, as Go's CrossOriginProtection does.

    Browsers say where a request comes from, and no page can forge it: so no form needs a token.
    A request with neither header is no browser's, hence carries nobody's cookie by accident.
    """
    if method in {"GET", "HEAD", "OPTIONS"}:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}  # same-site: another subdomain is another owner
    origin = headers.get("origin")  # browsers leave Sec-Fetch-Site out over plain HTTP
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


class Guard:
    """Puts the fixed headers on every answer and refuses cross-site requests."""

    def __init__(self, app: ASGIApp, release: str) -> None:
        self.app = app
        self.headers = HEADERS | {"X-Release": release}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self.headers)
                headers.setdefault("Cache-Control", "no-store")
                headers.add_vary_header("HX-Request")  # one address gives a page or a piece of it
            await send(message)

        app = self.app
        if is_cross_site(scope["method"], Headers(scope=scope)):
            app = PlainTextResponse("Cross-site request refused\n", status_code=403)
        await app(scope, receive, send_with_headers)


class Passwords:
    """Argon2 in threads, two at a time: each check takes 64 MiB and much of a second."""

    def __init__(self, settings: Settings) -> None:
        self.hasher = PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self.limiter = anyio.CapacityLimiter(2)
        self.dummy: str | None = None

    async def hash(self, password: str) -> str:
        """Hash a new password."""
        return await anyio.to_thread.run_sync(self.hasher.hash, password, limiter=self.limiter)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Check a password; no user (`stored` is None) takes as long as a wrong password."""
        if stored is None:
            self.dummy = self.dummy or await self.hash(secrets.token_urlsafe())

        def check() -> bool:
            try:
                return self.hasher.verify(stored or self.dummy or "", password)
            except (VerificationError, InvalidHashError):
                return False

        return await anyio.to_thread.run_sync(check, limiter=self.limiter) and stored is not None


class Throttle:
    """Slows down guessing: after `limit` failures a key waits until `seconds` have passed.

    It lives in one process, so n workers allow n times as many; the web server may limit further.
    """

    def __init__(self, limit: int = 10, seconds: float = 60) -> None:
        self.limit, self.seconds = limit, seconds
        self.failures: dict[str, list[float]] = {}

    def is_blocked(self, key: str) -> bool:
        """Tell whether this key has used up its attempts."""
        recent = [t for t in self.failures.get(key, []) if t > time.monotonic() - self.seconds]
        if recent:
            self.failures[key] = recent
        else:
            self.failures.pop(key, None)
        return len(recent) >= self.limit

    def count(self, key: str) -> None:
        """Remember one failure."""
        if len(self.failures) > 10_000:  # a flood of names must not fill the memory
            self.failures.clear()
        self.failures.setdefault(key, []).append(time.monotonic())


def token_hash(token: str) -> str:
    """Hash a session token. It has 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def cookie_name(settings: Settings) -> str:
    """The __Host- prefix makes browsers refuse the cookie from subdomains and over plain HTTP."""
    return "__Host-session" if settings.secure_cookies else "session"


async def start_session(
    db: AsyncSession, user: User, settings: Settings, response: Response
) -> None:
    """Sign a browser in, and clear away sessions that have ended."""
    lifetime = timedelta(days=settings.session_days)
    token = secrets.token_urlsafe(32)
    await db.exec(delete(LoginSession).where(col(LoginSession.expires_at) < now()))
    db.add(LoginSession(token_hash=token_hash(token), user_id=user.id, expires_at=now() + lifetime))
    await db.commit()
    response.set_cookie(
        cookie_name(settings),
        token,
        max_age=int(lifetime.total_seconds()),
        secure=settings.secure_cookies,
        httponly=True,
        samesite="lax",
    )


async def end_session(db: AsyncSession, request: Request, response: Response) -> None:
    """Sign this browser out, on the server too."""
    settings: Settings = request.app.state.settings
    name = cookie_name(settings)
    if token := request.cookies.get(name):
        await db.exec(delete(LoginSession).where(col(LoginSession.token_hash) == token_hash(token)))
        await db.commit()
    response.delete_cookie(name, secure=settings.secure_cookies, httponly=True, samesite="lax")


class SignInNeeded(Exception):  # noqa: N818 - it is no error, it leads to the sign-in page
    """Nobody is signed in."""


async def current_user(request: Request, db: Db) -> User:
    """Find the user of this request's session.

    Raises SignInNeeded when there is none, or when it has ended.
    """
    token = request.cookies.get(cookie_name(request.app.state.settings))
    if token:
        query = (
            select(User)
            .join(LoginSession)
            .where(LoginSession.token_hash == token_hash(token), LoginSession.expires_at > now())
        )
        if user := (await db.exec(query)).first():
            return user
    raise SignInNeeded


CurrentUser = Annotated[User, Depends(current_user, scope="function")]
