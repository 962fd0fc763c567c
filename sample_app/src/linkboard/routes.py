"""Pages, the pieces of pages that htmx asks for, and the two probes."""

import asyncio
import logging
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode
from zlib import crc32

from fastapi import APIRouter, BackgroundTasks, Form, HTTPException, Query, Request
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from pydantic import HttpUrl, TypeAdapter, ValidationError
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from linkboard import assets
from linkboard.db import Db
from linkboard.migrate import read_schema, revisions
from linkboard.models import MAX_ID, MAX_URL, Link, User, now
from linkboard.security import CurrentUser, end_session, start_session

router = APIRouter()
logger = logging.getLogger(__name__)
templates = Jinja2Templates(Path(__file__).parent / "templates")

LinkId = Annotated[int, InPath(ge=1, le=MAX_ID)]
ADDRESS = TypeAdapter(HttpUrl)


def ago(link: Link) -> str:
    """Say how old a link is."""
    seconds = (now() - link.created_at).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


templates.env.globals |= {"asset": assets.url, "ago": ago, "tint": lambda s: crc32(s.encode()) % 8}


def is_fragment(request: Request) -> bool:
    """Tell whether htmx wants a piece of the page. Going back in history needs the whole page."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def render(
    request: Request,
    template: str,
    status_code: int = 200,
    /,
    **context: Any,  # noqa: ANN401
) -> HTMLResponse:
    """Fill in a template."""
    return templates.TemplateResponse(request, template, context, status_code=status_code)


def to(path: str) -> RedirectResponse:
    """Redirect after a form: 303 makes the browser GET, so a reload sends nothing twice."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def printable(text: str) -> str:
    """Clean what somebody typed: PostgreSQL refuses NUL characters."""
    return "".join(c for c in text if c.isprintable()).strip()


async def count_links(db: AsyncSession, user: User) -> int:
    """Count the links of one user."""
    return (await db.exec(select(func.count()).where(Link.user_id == user.id))).one()


async def own_link(db: AsyncSession, user: User, link_id: int) -> Link:
    """Find a link of this user; somebody else's does not exist for them."""
    link = await db.get(Link, link_id)
    if link is None or link.user_id != user.id:
        raise HTTPException(404)
    return link


async def show_board(
    request: Request,
    db: AsyncSession,
    user: User,
    q: str = "",
    before: int | None = None,
    status_code: int = 200,
    **form: str,
) -> HTMLResponse:
    """Show one page of links, newest first.

    Paging goes by the last id seen, so it stays right while links are added.
    """
    size: int = request.app.state.settings.page_size
    query = select(Link).where(Link.user_id == user.id)
    if before:
        query = query.where(col(Link.id) < before)
    if q:
        found = (col(column).icontains(q, autoescape=True) for column in (Link.title, Link.url))
        query = query.where(or_(*found))
    links = (await db.exec(query.order_by(col(Link.id).desc()).limit(size + 1))).all()
    more = None
    if len(links) > size:
        more = "/?" + urlencode({"before": links[size - 1].id} | ({"q": q} if q else {}))
    context = {"links": links[:size], "more": more, "q": q, "before": before}
    if is_fragment(request):
        return render(request, "_rows.html", **context)
    count = await count_links(db, user)
    return render(request, "board.html", status_code, user=user, count=count, **context, **form)


@router.get("/")
async def board(
    request: Request,
    db: Db,
    user: CurrentUser,
    q: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> Response:
    """Show the links that match."""
    return await show_board(request, db, user, printable(q), before)


@router.post("/links")
async def add(
    request: Request, db: Db, user: CurrentUser, tasks: BackgroundTasks, url: Annotated[str, Form()]
) -> Response:
    """Keep a link now, and fetch its title when the answer is out."""
    typed, problem = printable(url), None
    try:
        parsed = ADDRESS.validate_python(typed if "://" in typed else f"https://{typed}")
        if parsed.username or parsed.password or len(str(parsed)) > MAX_URL:
            raise ValueError
        link = Link(user_id=user.id, url=str(parsed))
        async with db.begin_nested():  # what fails in here leaves the session as it was
            db.add(link)
        await db.commit()
    except (ValidationError, ValueError):
        problem = "That is not a web address."
    except IntegrityError:
        problem = "That link is on your board already."
    if problem:
        form = {"url": typed[:MAX_URL], "problem": problem}
        if not is_fragment(request):
            return await show_board(request, db, user, status_code=422, **form)
        response = render(request, "_form.html", 422, **form)
        response.headers.update({"HX-Retarget": "#add", "HX-Reswap": "outerHTML"})
        return response
    tasks.add_task(request.app.state.fetcher.fill, link.id, link.url)
    if not is_fragment(request):
        return to("/")
    return render(request, "_added.html", link=link, count=await count_links(db, user))


@router.get("/links/{link_id}/row")
async def row(request: Request, db: Db, user: CurrentUser, link_id: LinkId) -> Response:
    """Show one link: what a row without a title asks for every second."""
    return render(request, "_row.html", link=await own_link(db, user, link_id))


@router.delete("/links/{link_id}")
@router.post("/links/{link_id}/delete")  # what a form can do without JavaScript
async def remove(request: Request, db: Db, user: CurrentUser, link_id: LinkId) -> Response:
    """Delete a link."""
    await db.delete(await own_link(db, user, link_id))
    await db.commit()
    if not is_fragment(request):
        return to("/")
    return render(request, "_count.html", count=await count_links(db, user), oob=True)


@router.get("/login")
async def login_page(request: Request) -> Response:
    """Show the sign-in form."""
    return render(request, "login.html")


@router.post("/login")
async def login(
    request: Request,
    db: Db,
    name: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=1000)],
) -> Response:
    """Sign in."""
    state = request.app.state
    name = printable(name)
    key = f"{request.client.host if request.client else ''} {name}"
    if state.throttle.is_blocked(key):
        return render(
            request, "login.html", 429, name=name, problem="Too many attempts: wait a minute."
        )
    user = (await db.exec(select(User).where(User.name == name))).first()
    # A password check is slow: it must not hold a connection of the pool. Not a rollback, after
    # which reading the user would ask the database again.
    await db.close()
    if not await state.passwords.verify(user.password_hash if user else None, password) or not user:
        state.throttle.count(key)
        logger.warning("sign-in refused", extra={"fields": {"user": name}})
        return render(
            request, "login.html", 401, name=name, problem="Name and password do not match."
        )
    response = to("/")
    await start_session(db, user, state.settings, response)
    return response


@router.post("/logout")
async def logout(request: Request, db: Db) -> Response:
    """Sign out."""
    response = to("/login")
    await end_session(db, request, response)
    return response


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz(request: Request) -> Response:
    """Say that the process answers, whatever the database does: for restarts."""
    return JSONResponse({"status": "ok", "release": request.app.state.settings.release})


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(request: Request) -> Response:
    """Say whether this process can do its work: for the gate of a deploy and for load balancers."""
    state = request.app.state
    body = {"status": "ready", "release": state.settings.release, "head": revisions()[0]}
    try:
        async with asyncio.timeout(2):
            schema = await read_schema(state.engine)
    except Exception as error:
        logger.warning("database does not answer", extra={"fields": {"error": repr(error)}})
        return JSONResponse(body | {"status": "unavailable", "database": "no answer"}, 503)
    body |= {"database": "ok", "revision": schema.revision, "schema": schema.state}
    if not schema.is_usable:
        return JSONResponse(body | {"status": "unavailable"}, 503)
    return JSONResponse(body)


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """Serve an asset. In production the web server does, from what `linkboard assets` wrote."""
    asset = assets.find(name)
    if asset is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(asset.content, media_type=asset.media_type, headers=headers)
