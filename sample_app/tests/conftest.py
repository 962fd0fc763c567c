"""A real PostgreSQL, a real page server, and the application on top of them.

Nothing here mocks the database: the cluster is initialised, used and thrown away by the test run.
"""

import asyncio
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path

import asyncpg
import httpx
import pytest
import pytest_asyncio

ROOT = Path(__file__).parents[1]
PASSWORD = "correct horse battery"
CHEAP_ARGON2 = {"argon2_time_cost": 1, "argon2_memory_kib": 8, "argon2_parallelism": 1}


def pytest_sessionstart() -> None:
    """Make the browser files before the first import of the application, which needs them."""
    if not (ROOT / "src/linkboard/static/vendor/htmx.min.js").is_file():
        subprocess.run([ROOT / "build"], check=True)


# --- PostgreSQL ----------------------------------------------------------------------------------


@contextmanager
def cluster() -> Iterator[tuple[Path, Callable]]:
    """Run a throw-away PostgreSQL; yields the directory of its socket, and its pg_ctl.

    It authenticates by peer, as in production: the user who runs the tests is its user "linkboard".
    """
    binaries = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[4])
    )
    if not binaries:
        pytest.fail("no /usr/lib/postgresql/*/bin/initdb: install the package postgresql")
    # A socket's path holds at most 107 bytes, so not in pytest's own deep directories.
    home = Path(tempfile.mkdtemp(prefix="lb-", dir="/tmp"))
    prefix = []
    if os.geteuid() == 0:  # initdb refuses root
        names = {entry.pw_name for entry in pwd.getpwall()}
        account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        os.chown(home, account.pw_uid, account.pw_gid)
        ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        prefix = ["setpriv", *ids, "env", "-C", str(home)]
    data, bin_dir = home / "data", binaries[-1].parent

    def pg(program: str, *arguments: str) -> None:
        command = [*prefix, str(bin_dir / program), "-D", str(data), *arguments]
        # Into a file: a server that pg_ctl starts would hold a pipe open.
        with (home / "output").open("w+") as output:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        said = [path.read_text() for path in (home / "output", home / "log") if path.is_file()]
        assert done.returncode == 0, "\n".join([program, *said])

    # With the locale C, ILIKE would know no letters beyond ASCII.
    options = ["--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", "--auth=peer"]
    pg("initdb", "--username=linkboard", *options)
    (data / "pg_hba.conf").write_text("local all all peer map=tests\n")
    (data / "pg_ident.conf").write_text(f"tests {getpass.getuser()} linkboard\n")
    server = f"-k {home} -c listen_addresses= -c fsync=off -c full_page_writes=off"
    pg_ctl = partial(pg, "pg_ctl", "-w", "-l", str(home / "log"), "-o", server)
    pg_ctl("start")
    try:
        yield home, pg_ctl
    finally:
        pg_ctl("-m", "immediate", "stop")
        shutil.rmtree(home)


@dataclass
class Databases:
    """Makes databases in the cluster."""

    home: Path
    pg_ctl: Callable
    made: int = 0

    def create(self) -> str:
        """Create an empty database; returns its DSN."""
        self.made += 1
        name = f"board{self.made}"
        asyncio.run(self.execute(f"create database {name}"))
        return f"postgresql+asyncpg://linkboard@/{name}?host={self.home}"

    async def execute(self, statement: str, name: str = "postgres") -> None:
        """Run one statement."""
        connection = await asyncpg.connect(host=str(self.home), user="linkboard", database=name)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    with cluster() as (home, pg_ctl):
        yield Databases(home, pg_ctl)


@pytest.fixture
def empty_database(databases: Databases) -> str:
    return databases.create()


# --- pages to fetch ------------------------------------------------------------------------------


@dataclass
class Pages:
    """A web server on loopback that says what a test tells it to."""

    port: int = 0
    answers: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for_request(self) -> None:
        while not self.seen:
            time.sleep(0.01)

    def add(
        self, path: str, body: str | bytes = b"", status: int = 200, delay: float = 0, **headers
    ):
        body = body.encode() if isinstance(body, str) else body
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        headers = {"content-type": "text/html; charset=utf-8"} | given
        self.answers[path] = (status, headers, body, delay)
        return self.url(path)


@pytest.fixture(scope="session")
def page_server() -> Iterator[Pages]:
    pages = Pages()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages.seen.append((self.path, dict(self.headers)))
            status, headers, body, delay = pages.answers.get(self.path, (404, {}, b"", 0))
            time.sleep(delay)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:  # the client had enough
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    pages.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield pages
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pages(page_server: Pages) -> Pages:
    page_server.answers.clear()
    page_server.seen.clear()
    return page_server


@pytest.fixture(autouse=True)
def no_public_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail every test that would connect to a host other than this one."""
    tried = []
    connect = socket.socket.connect

    def checked(self: socket.socket, address: tuple) -> None:
        if self.family != socket.AF_UNIX and not ip_address(address[0]).is_loopback:
            tried.append(address)
            raise ConnectionRefusedError
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked)
    yield
    assert tried == []


# --- the application -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def dsn(databases: Databases) -> str:
    """A database with the schema of this release."""
    from linkboard.config import Settings
    from linkboard.migrate import upgrade

    made = databases.create()
    upgrade(Settings(database_url=made))
    return made


@pytest.fixture(scope="session")
def settings(dsn: str):
    from linkboard.config import Settings

    return Settings(
        database_url=dsn,
        page_size=5,
        fetch_timeout=1,
        fetch_allow_networks=(ip_network("127.0.0.0/8"),),
        **CHEAP_ARGON2,
    )


@pytest_asyncio.fixture(scope="session")
async def app(settings) -> AsyncIterator:
    from linkboard.main import create_app

    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest_asyncio.fixture
async def db(app) -> AsyncIterator:
    from linkboard.db import open_session

    async with open_session(app.state.engine) as session:
        yield session


@pytest_asyncio.fixture
async def use_database(app) -> AsyncIterator[Callable]:
    """Give a function that connects the application to another database, until the test ends."""
    from linkboard.db import make_engine

    usual = app.state.engine

    def use(**changes):
        app.state.engine = make_engine(app.state.settings.model_copy(update=changes))
        return app.state.engine

    yield use
    if app.state.engine is not usual:
        await app.state.engine.dispose()
    app.state.engine = usual


@pytest_asyncio.fixture
async def add_user(app) -> AsyncIterator[Callable]:
    """Give a function that creates users; afterwards every table is empty again."""
    from linkboard.db import open_session
    from linkboard.models import User

    async def add(name: str) -> User:
        async with open_session(app.state.engine) as session:
            user = User(name=name, password_hash=await app.state.passwords.hash(PASSWORD))
            session.add(user)
            await session.commit()
            return user

    yield add
    app.state.throttle.failures.clear()
    async with app.state.engine.begin() as connection:
        await connection.exec_driver_sql("truncate users, sessions, links restart identity")


@pytest_asyncio.fixture
async def visitor(app) -> AsyncIterator[httpx.AsyncClient]:
    """A browser, as far as the server can tell, that has not signed in."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="https://board.test", headers=headers
    ) as client:
        yield client


@pytest_asyncio.fixture
async def client(visitor: httpx.AsyncClient, add_user: Callable) -> httpx.AsyncClient:
    """The same, signed in as ada."""
    await add_user("ada")
    answer = await visitor.post("/login", data={"name": "ada", "password": PASSWORD})
    assert answer.status_code == 303
    return visitor


# --- the command line and the real server --------------------------------------------------------


@pytest.fixture(scope="session")
def environment(dsn: str) -> dict[str, str]:
    """Settings for other processes."""
    cheap = {f"LINKBOARD_{key.upper()}": str(value) for key, value in CHEAP_ARGON2.items()}
    return os.environ | cheap | {"LINKBOARD_DATABASE_URL": dsn, "PERGOLA_RELEASE": "r-42"}


@contextmanager
def uvicorn(listener: socket.socket, environment: dict[str, str], log: Path) -> Iterator[int]:
    """Start the server as systemd does: its listening socket is descriptor 3. Yields its pid."""
    options = ["--fd", "3", "--forwarded-allow-ips=*", "--no-access-log", "--no-server-header"]
    command = [sys.executable, "-m", "uvicorn", "linkboard.main:app", *options]
    # A step in between moves the inherited descriptor to number 3.
    step = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", step, str(listener.fileno()), *command],
            pass_fds=[listener.fileno()],
            stdout=stream,
            stderr=stream,
            env=environment,
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(log: Path, get: Callable[[], int]) -> None:
    """Wait for /readyz to answer 200."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if get() == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    pytest.fail(f"the server is not ready:\n{log.read_text()}")
