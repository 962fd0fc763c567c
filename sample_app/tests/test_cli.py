"""The command line."""

import gc
import json

import pytest
from linkboard.cli import SEEDS
from linkboard.cli import app as cli
from linkboard.config import Settings, get_settings
from typer.testing import CliRunner


@pytest.fixture
def run(empty_database: str, environment: dict, monkeypatch):
    """Run a command on a database of its own; returns its exit status and what it printed."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("LINKBOARD_DATABASE_URL", empty_database)
    get_settings.cache_clear()

    def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
        result = CliRunner().invoke(cli, arguments, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return result.exit_code, result.output.strip()

    yield run
    get_settings.cache_clear()


def test_a_first_day(run) -> None:
    assert run("db", "upgrade", "0001") == (0, "upgraded empty -> 0001")
    assert run("db", "upgrade") == (0, "upgraded 0001 -> 0002")
    assert run("db", "upgrade") == (0, "unchanged 0002")

    code, said = run("seed")
    assert code == 1
    assert "run create-user first" in said
    create = ("create-user", "ada", "--password", "-")
    assert run(*create, stdin="a long secret\n") == (0, "created ada")
    assert run(*create, stdin="a long secret\n") == (0, "unchanged ada")
    assert run(*create, stdin="another secret\n") == (0, "updated ada")
    assert run("create-user", "bob", "--password", "-", stdin="a long secret")[0] == 0

    assert run("seed", "--user", "eve")[0] == 1
    assert run("seed") == (0, f"seeded {len(SEEDS)} links for ada")
    assert run("seed", "--user", "bob") == (0, "unchanged: there are links already")
    code, said = run("stats")
    expected = {"users": 2, "sessions": 0, "links": 8, "done": 8, "pending": 0, "failed": 0}
    assert json.loads(said) == expected
    assert run("refetch") == (0, "refetched 0")


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("ada", "--password", "secret on the command line"), "", "every process"),
        (("ada", "--password", "-"), "short\n", "8 to 1000"),
        (("ada", "--password", "-"), "", "8 to 1000"),
        ((" ada", "--password", "-"), "long enough\n", "printable"),
        (("a\nb", "--password", "-"), "long enough\n", "printable"),
    ],
)
def test_refused_users(run, arguments: tuple, stdin: str, message: str) -> None:
    code, said = run("create-user", *arguments, stdin=stdin)
    assert code == 1
    assert message in said


def test_refetch(run, pages, monkeypatch) -> None:
    import asyncio

    from linkboard.db import make_engine, open_session
    from linkboard.models import Link

    run("db", "upgrade")
    run("create-user", "ada", "--password", "-", stdin="a long secret\n")

    async def add() -> None:
        engine = make_engine(get_settings())
        async with open_session(engine) as db:
            db.add(Link(user_id=1, url=pages.add("/a", "<title>A</title>")))
            db.add(Link(user_id=1, url=pages.add("/b", "<title>B</title>"), state="failed"))
            await db.commit()
        await engine.dispose()

    asyncio.run(add())
    assert run("refetch") == (0, "refetched 1")
    assert json.loads(run("stats")[1])["failed"] == 2  # loopback is not public
    monkeypatch.setenv("LINKBOARD_FETCH_ALLOW_NETWORKS", "127.0.0.0/8, ::1/128")
    get_settings.cache_clear()
    pages.seen.clear()
    assert run("refetch", "--failed", "--limit", "1") == (0, "refetched 1")
    assert [path for path, _ in pages.seen] == ["/b"]  # the newest
    assert run("refetch", "--failed") == (0, "refetched 1")
    assert json.loads(run("stats")[1])["done"] == 2


def test_no_database(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LINKBOARD_DATABASE_URL", f"postgresql+asyncpg:///x?host={tmp_path}")
    get_settings.cache_clear()
    for command in (["stats"], ["db", "upgrade"]):
        code, said = run(*command)
        assert code == 1
        assert said.startswith("linkboard: database: ")
        assert len(said.splitlines()) == 1


def test_assets(run, tmp_path) -> None:
    assert run("assets", str(tmp_path)) == (0, "wrote 6 files")
    assert run("assets", str(tmp_path)) == (0, "wrote 0 files")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_healthcheck_without_a_server(run, tmp_path) -> None:
    code, said = run("healthcheck", "--uds", str(tmp_path / "none"))
    assert code == 1
    assert "no answer" in said
    gc.collect()  # now, because httpcore does not close a socket that could not be connected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LINKBOARD_FETCH_ALLOW_NETWORKS", "everything"),
        ("LINKBOARD_FETCH_ALLOW_NETWORKS", "10.0.0.1/8"),
        ("LINKBOARD_POOL_SIZE", "0"),
        ("PERGOLA_RELEASE", "a\r\nSet-Cookie: x"),
    ],
)
def test_wrong_settings_are_refused(monkeypatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="validation error"):
        Settings()
