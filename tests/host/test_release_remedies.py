"""What is said of a release that did not start; the messages are those of the programs' own."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
from apt_made import Apt
from pergola import apt
from pergola.records import Manifest
from pergola.release.remedies import modules, remedies
from pergola.release.remedies.seen import Seen

HOME = Path("/srv/notes")


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The packages that apt knows."""
    system = Apt()
    monkeypatch.setattr(apt, "attempt", system.attempt)
    return system.known


SETTINGS = """
from pydantic_settings import BaseSettings, SettingsConfigDict

class Db(BaseModel):
    host: str

class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_nested_delimiter="__")
    database_url: PostgresDsn
    secret_key: str
    workers: int = 3
    db: Db
    token: str = Field(validation_alias="MY_TOKEN")
"""
# pydantic-settings 2.16 with pydantic 2.14
PYDANTIC = """\
    self.__pydantic_validator__.validate_python(data, self_instance=self)
pydantic_core._pydantic_core.ValidationError: 5 validation errors for Settings
database_url
  Input should be a valid URL, empty host [type=url_parsing, input_value='x', input_type=str]
    For further information visit https://errors.pydantic.dev/2.14/v/url_parsing
secret_key
  Field required [type=missing, input_value={}, input_type=dict]
    For further information visit https://errors.pydantic.dev/2.14/v/missing
db.host
  Field required [type=missing, input_value={'x': '1'}, input_type=dict]
    For further information visit https://errors.pydantic.dev/2.14/v/missing
MY_TOKEN
  Field required [type=missing, input_value={'n': 'abc'}, input_type=dict]
    For further information visit https://errors.pydantic.dev/2.14/v/missing
workers
  Input should be a valid integer, unable to parse string as an integer [type=int_parsing, \
input_value='abc', input_type=str]
    For further information visit https://errors.pydantic.dev/2.14/v/int_parsing
"""
KEY_ERROR = """\
    KEY=os.environ["SECRET_KEY"]
        ~~~~~~~~~~^^^^^^^^^^^^^^
  File "<frozen os>", line 679, in __getitem__
KeyError: 'SECRET_KEY'
"""
KEY_ERROR_OLD = """\
  File "/usr/lib/python3.10/os.py", line 680, in __getitem__
    raise KeyError(key) from None
KeyError: 'SECRET_KEY'
"""


@pytest.fixture
def said(tmp_path):
    """What is said of a release with some files, by what it wrote and answered."""

    def of(lines="", answer=" no answer to GET /healthz: timed out", result="", **values):
        manifest = Manifest(**{"asgi": "shop.main:app", "health_path": "/healthz", **values})
        seen = Seen(manifest, lines, answer, result, HOME, tmp_path)
        return "\n".join(remedies(seen))

    return of


def having(code, **texts):
    for name, text in texts.items():
        path = code / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    "lines",
    [
        'ERROR:    Error loading ASGI app. Could not import module "shop.main".',
        'ERROR:    Error loading ASGI app. Attribute "app" not found in module "shop.main".',
        "NoAppError: Cannot load application from 'shop.main:app', module not found.",
        "RuntimeError: Could not import 'shop.main'.",
        "AttributeError: module 'shop.main' has no attribute 'app'",
        "Failed to find attribute 'app' in 'shop.main'.",
        "ModuleNotFoundError: No module named 'shop.main'",
    ],
)
def test_a_wrong_application_is_told_with_those_that_there_are(said, tmp_path, lines):
    having(
        tmp_path,
        shop__api="import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI(title='Shop')\n",
        shop__web="from starlette.applications import Starlette\n"
        "def create_app(debug=False):\n    app = Starlette()\n    return app\n"
        "def with_settings(settings):\n    return Starlette()\n",
        shop__asgi="application = get_asgi_application()\n",
        tests__test_shop="app = FastAPI()\n",
        shop__broken="app = FastAPI(\n",
    )
    says = said(lines)
    assert says.startswith("Setting: app_asgi: the release has no 'shop.main:app'; it has ")
    found = set(says.partition("it has ")[2].splitlines()[0].split(", "))
    assert found == {"shop.api:api", "shop.web:create_app()", "shop.asgi:application"}
    assert said(lines, server="command").startswith("Setting: app_server_command: ")


def test_what_an_application_of_another_name_says_is_no_wrong_application(said):
    says = said("ModuleNotFoundError: No module named 'asyncpg'")
    assert "app_asgi" not in says
    assert "the lock has no package with the module asyncpg" in says


@pytest.mark.parametrize("place", ["backend", "src"])
def test_an_application_below_its_directory_is_told_where_it_is(said, tmp_path, place):
    having(tmp_path, **{f"{place}__shop__main": "app = FastAPI()\n"})
    says = said('ERROR:    Error loading ASGI app. Could not import module "shop.main".')
    assert says.startswith(f"Setting: app_environment: the module shop is in {place}/")
    assert f"app_environment: {{PYTHONPATH: {place}}} lets it find that" in says


def test_the_most_alike_are_told_where_there_are_many(tmp_path):
    having(tmp_path, **{f"part{n}__main": "app = FastAPI()\n" for n in range(20)})
    found = modules.applications(tmp_path, "part7.main:api")
    assert len(found) == modules.SHOWN
    assert found[0] == "part7.main:app"


def test_no_code_of_a_release_runs_and_no_link_is_followed(tmp_path):
    having(tmp_path / "code", evil="raise SystemExit\napp = FastAPI()\n")
    (tmp_path / "secret.py").write_text("app = FastAPI()\n")
    (tmp_path / "code/link.py").symlink_to(tmp_path / "secret.py")
    assert modules.applications(tmp_path / "code", "x:y") == ["evil:app"]


def test_variables_of_pydantic_settings_are_told_by_their_own_names(said, tmp_path):
    having(tmp_path, shop__config=SETTINGS)
    says = said(PYDANTIC)
    for name in ("SHOP_SECRET_KEY", "SHOP_DB__HOST", "MY_TOKEN"):
        assert f"the variable {name} is missing; app_environment: {{{name}: …}}" in says
    assert "variable SHOP_DATABASE_URL (app_environment, app_secrets): Input should be" in says
    assert "variable SHOP_WORKERS (app_environment, app_secrets): Input should be" in says
    assert "abc" not in says


def test_a_prefix_is_found_where_a_class_or_a_dictionary_has_it(said, tmp_path):
    for text in (
        "    class Config:\n        env_prefix = 'A_'\n",
        "    model_config = {'env_prefix': 'A_'}\n",
    ):
        having(tmp_path, config=f"class Settings(BaseSettings):\n    secret_key: str\n{text}")
        assert "the variable A_SECRET_KEY is missing" in said(PYDANTIC)
    having(tmp_path, config="")
    assert "the variable SECRET_KEY is missing" in said(PYDANTIC)


@pytest.mark.parametrize(
    "lines",
    [
        KEY_ERROR,
        KEY_ERROR_OLD,
        'environs.exceptions.EnvNotSetError: Environment variable "SECRET_KEY" not set',
        "decouple.UndefinedValueError: SECRET_KEY not found. Declare it as envvar or define a "
        "default value.",
        "django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY environment variable",
        "KeyError: \"Config 'SECRET_KEY' is missing, and has no default.\"",
        # pydantic 1
        "pydantic.error_wrappers.ValidationError: 1 validation error for Settings\nsecret_key\n"
        "  field required (type=value_error.missing)",
    ],
)
def test_a_missing_variable_is_told_by_its_name(said, lines):
    assert "Setting: app_environment: the variable SECRET_KEY is missing" in said(lines)


def test_a_key_that_is_no_variable_is_not_told_as_one(said):
    assert said("    return {}['SECRET_KEY']\nKeyError: 'SECRET_KEY'") == ""


@pytest.mark.parametrize("command", ["exec env gunicornx shop", "gunicornx shop", "exec gunicornx"])
def test_a_server_that_the_release_has_not_is_told(said, command):
    done = subprocess.run(["/bin/sh", "-euc", command], capture_output=True, text=True)
    says = said(done.stderr, server="command")
    assert says.startswith("Setting: app_server_command: the release has no program gunicornx: ")


@pytest.mark.parametrize(
    ("lines", "package"),
    [
        ("ImportError: libpq.so.5: cannot open shared object file: No such file or directory",
         "libpq5"),
        ("- couldn't import psycopg 'python' implementation: libpq library not found", "libpq5"),
        ("ImportError: failed to find libmagic.  Check your installation", "libmagic1"),
        ("ImportError: Unable to find zbar shared library", "libzbar0"),
        ("OSError: cannot load library 'libpango-1.0-0': libpango-1.0-0: cannot open shared object "
         "file: No such file or directory", "libpango-1.0-0, libpangoft2-1.0-0"),
    ],
)  # fmt: skip
def test_a_library_of_the_system_is_told_with_its_package(said, lines, package):
    assert f"app_system_packages: [{package}" in said(lines)


@pytest.mark.parametrize(
    ("library", "there", "package"),
    [
        ("libfoo.so.3", {"libfoo3"}, "libfoo3"),
        ("libfoo2.so.3", {"libfoo2-3"}, "libfoo2-3"),
        ("libFoo_bar.so.12", {"libfoo-bar12"}, "libfoo-bar12"),
        ("libmagic.so.1", {"libmagic1t64"}, "libmagic1t64"),
    ],
)
def test_a_library_has_the_package_that_this_system_has(said, there, library, package, known):
    known |= there
    says = said(f"OSError: {library}: cannot open shared object file: No such file or directory")
    assert f"app_system_packages: [{package}]" in says


def test_a_library_that_nobody_listed_is_told_with_what_finds_its_package(said):
    says = said("OSError: libfoo.so.3: cannot open shared object file: No such file or directory")
    assert "the server has no libfoo; " in says
    assert "apt-file search libfoo.so" in says


def refused(number, path):
    return f"{type(OSError(number)).__name__}: {OSError(number, os.strerror(number), path)}"


@pytest.mark.parametrize(
    ("number", "path", "says"),
    [
        (errno.EROFS, "/srv/notes/releases/a/code/uploads/1.png", "a release is read-only"),
        (errno.EROFS, "uploads", "it writes to uploads, but a release is read-only; "
         "app_shared_directories: [uploads] lets it"),
        (errno.EROFS, "./data/app.db", "app_shared_directories: [data] lets it"),
        (errno.EROFS, "data/2026/a", "app_shared_directories: [data/2026/a] lets it"),
        (errno.EROFS, "app.db", "let it write to $STATE_DIRECTORY (/var/lib/notes)"),
        (errno.EROFS, "../media/a.png", "let it write to $STATE_DIRECTORY (/var/lib/notes)"),
        (errno.EROFS, "/data/uploads/1.png", "app_writable_paths: [/data/uploads]"),
        (errno.EROFS, "/data/uploads", "app_writable_paths: [/data/uploads]"),
        (errno.EACCES, "/home/ada/key", 'app_sandbox_overrides: {ProtectHome: "read-only"}'),
        (errno.EACCES, "/tmp/driver", 'app_sandbox_overrides: {NoExecPaths: ""}'),
        (errno.EACCES, "/var/lib/notes/tool", 'app_sandbox_overrides: {NoExecPaths: ""}'),
        (errno.ENOENT, "/etc/hostname", "the sandbox hides it"),
        (errno.ENOENT, "/no-such/up/a.png", "app_writable_paths: [/no-such/up] lets it"),
    ],
)  # fmt: skip
def test_a_file_that_the_sandbox_keeps_from_it_is_told_with_what_opens_it(said, number, path, says):
    assert says in said(refused(number, path))


def test_a_file_that_is_not_there_is_the_applications_own_affair(said):
    assert said(refused(errno.ENOENT, "/etc/no-such-file")) == ""


def test_a_file_in_the_releases_own_directory_is_told_by_the_directory_in_it(said, tmp_path):
    told = said(refused(errno.EROFS, str(tmp_path / "media/a.png")))
    assert told.startswith("Setting: app_shared_directories: ")
    assert "app_shared_directories: [media] lets it" in told
    (tmp_path / "media").mkdir()
    (tmp_path / "media/models.py").touch()
    told = said(refused(errno.EROFS, str(tmp_path / "media/a.png")))
    assert "app_shared_directories" not in told, "code is part of each release"


def test_nothing_outside_of_the_release_is_looked_through(said, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(Path, "rglob", lambda path, _: iter(looked.append(path) or ()))
    said(refused(errno.EROFS, str(tmp_path / "../../etc/x")))
    said("RuntimeError: Directory '../../../..' does not exist")
    assert looked == []


def test_a_directory_that_the_release_does_not_have_may_be_one_that_stays(said, tmp_path):
    for path in ("media", tmp_path / "media"):
        told = said(
            # A traceback's line, and what was raised.
            "    raise RuntimeError(f\"Directory '{directory}' does not exist\")\n"
            f"RuntimeError: Directory '{path}' does not exist"
        )
        assert "{" not in told
        assert "if the application fills it itself: app_shared_directories: [media]" in told
    assert said("RuntimeError: Directory '/data' does not exist") == ""


def test_a_database_in_a_file_belongs_where_it_may_write(said):
    told = said("sqlite3.OperationalError: unable to open database file")
    assert "app_shared_directories: [data], or keep it in /var/lib/notes" in told


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("OSError: [Errno 1] error while attempting to bind on address ('127.0.0.1', 8779): "
         "operation not permitted", "app_listen_ports: [8779]"),
        ("PermissionError: [Errno 1] Operation not permitted (while attempting to bind on address "
         "('127.0.0.1', 8779))", "app_listen_ports: [8779]"),
        ("PermissionError: [Errno 1] Operation not permitted",
         "app_listen_ports has the ports that it may open"),
        ("OSError: [Errno 97] Address family not supported by protocol",
         'RestrictAddressFamilies: "AF_UNIX AF_INET AF_INET6 AF_NETLINK"'),
        ("ImportError: /tmp/x.so: failed to map segment from shared object", "NoExecPaths"),
        ("MemoryError: Cannot allocate write+execute memory for ffi.callback()", "MemoryDenyWrite"),
    ],
)  # fmt: skip
def test_what_the_sandbox_does_not_let_it_do_is_told_with_what_opens_it(said, lines, says):
    assert says in said(lines)


@pytest.mark.parametrize(
    ("lines", "port"),
    [
        ("ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 18774): "
         "address already in use", "the port 18774"),
        ("[1509] [ERROR] Connection in use: ('127.0.0.1', 18774)", "the port 18774"),
        ("OSError: [Errno 98] Address already in use", "a port"),
        ("OSError: [Errno 98] Address already in use (while attempting to bind on address "
         "('127.0.0.1', 18774))", "the port 18774"),
    ],
)  # fmt: skip
def test_a_port_that_is_taken_is_told(said, lines, port):
    assert f"{port} is taken, perhaps by the release that serves" in said(lines)


@pytest.mark.parametrize(
    "lines",
    [
        "ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 5432)",
        'psycopg2.OperationalError: connection to server at "localhost" (127.0.0.1), port 5432 '
        "failed: Connection refused",
    ],
)
def test_a_database_at_localhost_is_told_where_it_is(said, lines):
    assert "postgresql:///notes?host=/run/postgresql" in said(lines)
    assert "app_database_tcp: true" in said(lines)
    assert said(lines.replace("5432", "6379").replace("127.0.0.1", "10.0.0.5")) == ""


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ('404 {"detail": "Not Found"}',
         "Setting: app_health_path: the release answers 404 at '/healthz'"),
        ("307 -> /healthz/ ", "app_health_follow_redirects: true"),
        ("403 sign in first", "the release answers 403"),
        ("204 ", "app_health_status: [204] accepts it"),
        ("400 Invalid host header", "it refuses the name www.example.org"),
        ("500 the database is away", ""),
        ("503 not yet", ""),
        ("200 ready", ""),
        (" no answer to GET /healthz: timed out", ""),
        ("none: it never answered", ""),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_count_names_the_setting(said, answer, says):
    found = said(answer=answer, domain="www.example.org")
    assert says in found
    assert bool(says) == bool(found)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ("Result=timeout\nExecMainCode=0\nExecMainStatus=0", "Setting: app_start_timeout_seconds"),
        ("Result=oom-kill\nExecMainCode=2\nExecMainStatus=9", "Setting: app_memory_max"),
        ("Result=core-dump\nExecMainCode=3\nExecMainStatus=31", "SIGSYS"),
        ("Result=exit-code\nExecMainCode=1\nExecMainStatus=31", ""),
        ("Result=exit-code\nExecMainCode=1\nExecMainStatus=3", ""),
    ],
)
def test_how_systemd_ended_it_is_told(said, result, says):
    found = said(result=result)
    assert says in found
    assert bool(says) == bool(found)


def test_one_that_answers_is_not_still_starting(said):
    assert said(result="Result=timeout", answer="500 Internal Server Error") == ""
    assert "still starting" in said(result="Result=timeout", answer="none: it never answered")


def test_a_command_that_reads_the_port_itself_is_given_it(said):
    text = KEY_ERROR.replace("SECRET_KEY", "PORT")
    found = said(text, server="command", server_command="python web.py\n")
    assert "write PORT=$PORT python web.py" in found
    assert "app_environment" in said(text)
