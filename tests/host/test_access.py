"""Signing in to PostgreSQL with a password that only the host knows, and the line that lets it."""

import subprocess

import pytest
from pergola import access
from pergola.app import tcp
from pergola.app.order import Order
from pergola.database.databases import Database
from pergola.errors import PergolaError
from pergola.release import build, migrations
from pergola.release.build import Build, Ordered
from pergola.release.commands import read_environment

NOTES = Order("notes", ["notes.example.org"], databases=[Database("notes", "notes")], tcp=True)


def test_the_verifier_is_that_of_the_rfc():
    """RFC 7677's password and salt."""
    salt = access.base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert access.verifier("pencil", salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert access.is_verifier_of(access.verifier("a"), "a")
    assert access.verifier("a") != access.verifier("a"), "each has a salt of its own"
    for kept in ("", "md5abc", access.verifier("b"), "SCRAM-SHA-256$9999:"):
        assert not access.is_verifier_of(kept, "a")


def test_a_password_is_made_once_and_is_roots(tmp_path):
    assert access.password(tmp_path) == ""
    made = access.make_password(tmp_path)
    assert access.make_password(tmp_path) == access.password(tmp_path) == made
    assert made.isalnum(), "it stands in URLs as it is"
    assert (tmp_path / "database.password").stat().st_mode & 0o777 == 0o600


def test_it_is_filled_in_where_it_is_asked_for_and_missed_by_name(tmp_path):
    asking = {"A": f"x:{access.STANDS_FOR}@y", "B": "z"}
    assert access.filled_in({"B": "z"}, tmp_path) == {"B": "z"}
    with pytest.raises(PergolaError, match="this host has none") as told:
        access.filled_in(asking, tmp_path)
    assert "deploy.yml" in told.value.hint
    made = access.make_password(tmp_path)
    assert access.filled_in(asking, tmp_path) == {"A": f"x:{made}@y", "B": "z"}


def test_a_release_has_it_in_its_environment_and_files_and_nowhere_else(releases, monkeypatch):
    monkeypatch.setattr(build, "write", lambda path, text, *_, **__: path.write_text(text))
    made = access.make_password(releases.home)
    ordered = Ordered(
        id="a",
        environment={"URL": f"postgresql://notes:{access.STANDS_FOR}@127.0.0.1/notes"},
        secrets={"PGPASSWORD": access.STANDS_FOR},
        credentials={"pgpass": f"*:*:*:*:{access.STANDS_FOR}"},
    )
    releases.path("a").mkdir()
    Build(releases, "a", ordered).describe()
    found = read_environment(releases.path("a") / "environment")
    assert found["URL"] == f"postgresql://notes:{made}@127.0.0.1/notes"
    assert found["PGPASSWORD"] == made
    assert (releases.path("a") / "credentials/pgpass").read_text() == f"*:*:*:*:{made}"
    assert made not in (releases.path("a") / "release.json").read_text()


def test_a_url_with_it_is_one_of_the_migrations_role_for_a_migration():
    url = "postgresql+asyncpg://notes:0f0f@127.0.0.1:5432/notes"
    wanted = "postgresql+asyncpg://notes_migration:0f0f@127.0.0.1:5432/notes"
    assert migrations.as_user(url, "notes", "notes_migration", "0f0f") == wanted
    assert migrations.as_user(url, "notes", "notes_migration", "other") == url
    assert migrations.as_user(url, "notes", "notes_migration") == url


def test_a_line_comes_first_and_takes_the_place_of_an_earlier_one(tmp_path, monkeypatch):
    def attempt(*command, account, stdin="", **_):
        assert account == "postgres", "the directory is PostgreSQL's own"
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)

    monkeypatch.setattr(access, "attempt", attempt)
    file = tmp_path / "pg_hba.conf"
    file.write_text("local all all peer\n")
    for line in ("host a", "host b"):
        access.put_first(str(file), line, "how notes signs in")
    access.put_first(str(file), "local c", "another reason")
    assert file.read_text().splitlines() == [
        "local c  # Pergola: another reason",
        "host b  # Pergola: how notes signs in",
        "local all all peer",
    ]
    for unreadable in (file.unlink, file.mkdir):
        unreadable()
        with pytest.raises(PergolaError, match="could not be read") as told:
            access.put_first(str(file), "host b", "how notes signs in")
        assert "host b  # Pergola: how notes signs in" in told.value.hint
    assert file.is_dir(), "what cannot be read is not replaced"
    assert list(tmp_path.iterdir()) == [file]


class Server:
    """What PostgreSQL has of the application, and what it is told."""

    def __init__(self):
        self.hba, self.kept, self.told = "local all all peer", "", []

    def sql(self, script, *_):
        if script == "show hba_file":
            return "/etc/pg_hba.conf"
        if "pg_read_file" in script:
            return self.hba
        if "rolpassword" in script:
            return self.kept
        self.told.append(script)
        if script.startswith("alter role"):
            self.kept = script.split("'")[1]
        return ""


@pytest.fixture
def server(releases, monkeypatch, tmp_path):
    found = Server()

    def put_first(path, line, why):
        found.hba = f"{line}  # Pergola: {why}\n{found.hba}"

    monkeypatch.setattr(access, "FILES_LOCK", tmp_path / "lock")
    monkeypatch.setattr(access, "put_first", put_first)
    return found


def test_the_application_is_let_in_by_tcp_and_the_password_itself_is_never_told(releases, server):
    assert tcp.bring(NOTES, server, only_look=True) == [
        "notes may sign in by 127.0.0.1/32", "a password of notes"
    ]  # fmt: skip
    assert access.password(releases.home) == ""
    assert server.told == [], "nothing was changed"
    assert len(tcp.bring(NOTES, server)) == 2
    assert server.hba.startswith(
        'host "notes" "notes","notes_migration" 127.0.0.1/32 scram-sha-256'
    )
    secret = access.password(releases.home)
    assert access.is_verifier_of(server.kept, secret)
    assert secret not in " ".join(server.told)
    assert tcp.bring(NOTES, server) == [], "it is there"
    server.kept = "SCRAM-SHA-256$4096:YWJj$x:y"  # as after a restore from another server
    assert tcp.bring(NOTES, server) == ["a password of notes"]


def test_whoever_does_not_ask_is_not_let_in(server):
    assert tcp.bring(Order("notes", []), server) == []
    assert server.told == []
