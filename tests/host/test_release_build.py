"""A release is built: room for it, what a failure says, what is taken over from the host."""

import os
import pwd
import shutil

import pytest
from pergola.errors import PergolaError
from pergola.release import packages, workshop
from pergola.release.build import Build, Ordered
from release_made import having


def test_a_full_disk_is_refused_before_anything_is_unpacked(releases):
    archive = releases.home / "incoming/a.tar.gz"
    archive.write_bytes(b"\0" * 20 + (2**20).to_bytes(4, "little"))
    having(releases, disk_free_mb=10**9)
    with pytest.raises(PergolaError, match="MB free, this release needs 1000000002 MB"):
        Build(releases, "a", Ordered()).check_disk()


@pytest.mark.parametrize(
    ("printed", "says"),
    [
        (
            "The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.",
            "run `uv lock`",
        ),
        ("error: Failed to parse `uv.lock`\n  Caused by: TOML parse error", "run `uv lock`"),
        ("Hash mismatch for `idna==3.1`\n\nExpected:\n  sha256:00", "make the lock again"),
        ("Failed to fetch: `https://index.test/idna/`\n  Caused by: dns error", "base_http_proxy"),
        (
            "error: The current Python version (3.11.2) does not satisfy Python>=3.13",
            "app_python",
        ),
        ("cp: error writing 'x': No space left on device", "make room"),
        ("error: the build of `thing` failed: gcc: not found", "app_system_packages"),
        ("No such file or directory: 'x86_64-linux-gnu-gcc'", "app_system_packages"),
        ("Exception: you need a C compiler to build uWSGI", "app_system_packages"),
        ("error: command 'gcc' failed: No such file or directory", "app_system_packages"),
        ("Error: pg_config executable not found.", "app_system_packages"),
        ("error: the build of `thing` failed: no such thing", ""),
    ],
)
def test_the_hint_of_a_failed_build_is_for_its_cause_and_only_for_that(printed, says):
    found = workshop.hint(printed)
    assert says in found
    assert bool(found) == bool(says)
    assert ("uv lock" in found) == ("lock" in says and "uv" in says)


def test_a_build_takes_proxies_and_the_index_over_from_the_host_and_nothing_else(tmp_path):
    path = tmp_path / "environment"
    path.write_text(
        'http_proxy="http://proxy.example.org:3128"\nexport UV_DEFAULT_INDEX=https://i.example.org\n'
        "PATH=/usr/bin\nLD_PRELOAD=/x.so\n# SSL_CERT_FILE=/no\n"
    )
    assert workshop.host_environment(path) == {
        "http_proxy": "http://proxy.example.org:3128",
        "UV_DEFAULT_INDEX": "https://i.example.org",
    }
    assert workshop.host_environment(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("pyproject", "with_setuptools", "package"),
    [
        ("[tool.ruff]\nline-length = 100\n", True, False),
        ('[project]\nname = "plain"\n', False, False),
        ('[project]\nname = "plain"\n', True, True),
        ('[project]\n[build-system]\nrequires = ["hatchling"]\n', False, True),
        ("[build-system]\n[tool.uv]\npackage = false\n", False, False),
        ("[project]\n[tool.uv]\npackage = true\n", False, True),
        ("[tool.poetry]\npackage-mode = false\n[build-system]\n", False, False),
        ("[project]\n[tool.pdm]\ndistribution = false\n[build-system]\n", False, False),
        ("[project\n", False, True),  # uv says what is wrong with it
    ],
)
def test_a_pyproject_is_a_package_only_where_it_says_so(pyproject, with_setuptools, package):
    assert packages.is_package(pyproject, with_setuptools) is package


@pytest.fixture
def shop(releases, monkeypatch, tmp_path):
    """Where a release is built, and what its sandbox was told; `told` says how a command ends."""
    told = []

    def run(self, command, directory, environment, *, more, stdin):
        text = stdin.read().decode() if hasattr(stdin, "read") else ""
        told.append((list(map(str, command)), str(directory), environment, list(more), text))
        return next(answers, (0, ""))

    answers = iter(())
    monkeypatch.setattr(workshop.Sandbox, "run", run)
    monkeypatch.setattr(packages, "cache_of", lambda _: tmp_path / "cache")
    made = workshop.Workshop(having(releases, uv="uv"), tmp_path / "r1")
    made.code.mkdir(parents=True)
    server = made.venv / "lib/python3.13/site-packages/uvicorn/__init__.py"
    server.parent.mkdir(parents=True)
    server.touch()

    def ends(*said):
        nonlocal answers
        answers = iter(said)
        return told

    made.ends = ends
    return made


def test_a_package_without_a_wheel_is_built_without_the_cache_in_reach(shop):
    (shop.code / "requirements.txt").write_text("docopt==1\nidna==3\n")
    told = shop.ends((1, "hint: Wheels are required for `docopt` because --no-build"))
    made = packages.Packages(shop, Ordered(installer="requirements"))
    made.fetch()
    made.build()
    first, again, built = told
    assert (first[4], again[4]) == ("", "idna==3\n")
    assert [len(call[3]) for call in told] == [1, 1, 0]
    assert "--no-build" in again[0]
    assert "--no-build" not in built[0]
    assert built[2]["UV_CACHE_DIR"] == str(shop.work / "cache")


def test_all_of_it_is_built_with_the_python_of_the_release(shop):
    """Whatever the project itself says of Pythons to uv: only a variable beats that."""
    told = shop.ends()
    shop.interpreter = "/opt/python/bin/python3.12"
    (shop.code / "pyproject.toml").touch()
    packages.Packages(shop, Ordered(installer="uv-lock")).fetch()
    for _, _, environment, *_ in told:
        assert environment["UV_PYTHON"] == "/opt/python/bin/python3.12"
        assert environment["UV_PYTHON_DOWNLOADS"] == "never"
        assert environment["UV_PYTHON_PREFERENCE"] == "system"


def test_a_lock_of_uvs_is_installed_first_without_what_has_to_be_built(shop):
    told = shop.ends()
    made = packages.Packages(shop, Ordered(installer="uv-lock"))
    made.fetch()
    made.build()
    assert [("--frozen" in call[0], "--locked" in call[0]) for call in told] == [
        (True, False), (False, True)
    ]  # fmt: skip


def test_a_lock_is_compared_as_it_was_made(shop):
    (shop.code / "uv.lock").write_text(
        'version = 1\n\n[options]\nprerelease-mode = "allow"\n'
        'exclude-newer = "0001-01-01T00:00:00Z"\nexclude-newer-span = "P7D"\n'
        '\n[[package]]\nname = "a"\n'
    )
    told = shop.ends()
    packages.Packages(shop, Ordered(installer="uv-lock")).build()
    assert told[0][2]["UV_PRERELEASE"] == "allow"
    assert told[0][2]["UV_EXCLUDE_NEWER"] == "P7D"


@pytest.mark.parametrize("lock", ["", "[options\n", "version = 1\n[[package]]\nname = 'a'\n"])
def test_a_lock_that_says_nothing_of_it_adds_nothing(lock):
    assert packages.made_with(lock) == {}


@pytest.mark.parametrize(("built", "with_cache"), [("docopt", True), ("uvicorn", False)])
def test_a_lock_without_a_server_gets_pergolas_own_beside_its_packages(shop, built, with_cache):
    """With the cache, unless its own may still come: then with none in reach."""
    shutil.rmtree(shop.venv)
    (shop.code / "requirements.txt").write_text("docopt==1\nuvicorn==0.1\n")
    told = shop.ends((1, f"hint: Wheels are required for `{built}` because --no-build"))
    made = packages.Packages(shop, Ordered(installer="requirements"))
    made.fetch()
    fetched = len(told)
    made.build()
    installs = [n for n, call in enumerate(told) if "--target" in call[0]]
    assert installs[0] < fetched if with_cache else installs[0] >= fetched
    command, _, environment, more, text = told[installs[0]]
    assert command[command.index("--target") + 1] == str(shop.venv / "lib/pergola")
    assert {"--require-hashes", "--no-deps", "--no-build"} <= set(command)
    assert bool(more) == with_cache
    assert ("UV_CACHE_DIR" in environment and environment["UV_CACHE_DIR"] == str(more[0])
            if with_cache else environment["UV_CACHE_DIR"].startswith(str(shop.work)))  # fmt: skip
    assert "uvicorn==" in text
    assert "--hash=sha256:" in text


@pytest.mark.parametrize("server", ["granian", "hypercorn", "command"])
def test_an_application_with_another_server_gets_none(shop, server):
    shutil.rmtree(shop.venv)
    told = shop.ends()
    made = packages.Packages(shop, Ordered(installer="uv-lock", server=server))
    made.fetch()
    made.build()
    assert not [call for call in told if "--target" in call[0]]


def test_what_serves_a_release_is_in_its_manifest_where_it_is_pergolas(releases, shop):
    made = Build(releases, "r1", Ordered(id="r1", secrets={"KEY": "s"}))
    made.target = shop.code.parent
    made.note_server(shop)
    assert not (made.target / "release.json").exists()
    (shop.venv / "lib/pergola/uvicorn-0.54.0.dist-info").mkdir(parents=True)
    made.note_server(shop)
    written = (made.target / "release.json").read_text()
    assert '"own_server": "uvicorn 0.54.0"' in written
    assert '"s"' not in written


def test_a_command_that_fails_is_told_as_a_person_would_type_it(shop):
    shop.ends((3, "Hash mismatch for `idna`"))
    with pytest.raises(PergolaError) as failed:
        shop.run(["sh", "-c", "x"], "install it", shown=["uv", "pip install"])
    assert failed.value.reason == "could not install it: `uv 'pip install'` ended with 3"
    assert failed.value.evidence == "Hash mismatch for `idna`"
    assert "make the lock again" in failed.value.hint


def test_a_manifest_has_no_value_of_the_environment(releases):
    ordered = Ordered(id="r1", environment={"A": "b"}, secrets={"KEY": "hidden"}, workers=3)
    public = ordered.public
    assert (public.id, public.workers, public.environment_names) == ("r1", 3, ["A", "KEY"])
    assert "hidden" not in str(public)


POETRY = (
    '[tool.poetry]\nname = "my-app"\n[build-system]\nbuild-backend = "poetry.core.masonry.api"\n'
)


def test_a_project_of_poetrys_without_code_of_its_name_is_no_package(tmp_path):
    assert packages.is_package(POETRY, False, tmp_path) is False
    (tmp_path / "src/my_app").mkdir(parents=True)
    assert packages.is_package(POETRY, False, tmp_path) is True


def test_a_lock_inside_the_archive_is_installed_for_the_application_beside_it(shop):
    told = shop.ends()
    chosen = {"directory": "apps/api", "extras": ["s3"], "groups": ["web"]}
    ordered = Ordered(installer="uv-lock", version_variables={"PBR_VERSION": "1"}, **chosen)
    made = packages.Packages(shop, ordered)
    made.fetch()
    made.build()
    assert [call[1] for call in told] == [str(shop.code / "apps/api")] * 3
    assert all({"--extra=s3", "--group=web"} <= set(call[0]) for call in told)
    assert [call[2].get("PBR_VERSION") for call in told] == [None, None, "1"]
    assert ["--no-install-local" in call[0] for call in told] == [True, True, False]


def test_a_list_of_another_name_is_installed(shop):
    (shop.code / ".pergola").mkdir()
    (shop.code / ".pergola/requirements.txt").write_text("idna==3\n")
    told = shop.ends()
    ordered = Ordered(installer="requirements", lock=".pergola/requirements.txt")
    packages.Packages(shop, ordered).fetch()
    assert ".pergola/requirements.txt" in told[0][0]


def test_what_opens_an_index_is_there_for_packages_only_and_in_no_message(shop, monkeypatch):
    (shop.code / "requirements.txt").write_text("idna==3\n")
    shop.work.mkdir()
    monkeypatch.setattr(packages, "account_of", lambda _: os_account())
    told = shop.ends((0, ""), (1, "no: hunter22, and s3cret"))
    netrc = "machine git.test login ci password s3cret"
    access = packages.Access({"UV_INDEX_X_PASSWORD": "hunter22"}, netrc)
    ordered = Ordered(installer="requirements", build_netrc=netrc)
    with access.given(shop):
        assert (shop.work / ".netrc").stat().st_mode & 0o777 == 0o600
        packages.Packages(shop, ordered, access).fetch()
        with pytest.raises(PergolaError) as failed:
            shop.run(["x"], "build it")
    assert failed.value.evidence == "no: ****, and ****"
    assert told[0][2]["UV_INDEX_X_PASSWORD"] == "hunter22"
    assert not (shop.work / ".netrc").exists()
    assert "s3cret" not in str(ordered.public)


def os_account():
    return pwd.getpwuid(os.getuid())


def test_a_variable_without_a_value_takes_away_what_the_release_says_of_itself(releases):
    having(releases, user=pwd.getpwuid(os.getuid()).pw_name)
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": "google.json"}
    ordered = Ordered(id="a1", unset=["SENTRY_RELEASE"], credential_variables=variables)
    build = Build(releases, "a1", ordered)
    build.target.mkdir()
    build.describe()
    found = (build.target / "environment").read_text()
    assert "SENTRY_RELEASE" not in found
    assert 'OTEL_RESOURCE_ATTRIBUTES="service.version=a1,service.name=notes"' in found
    assert 'CREDENTIALS="$CREDENTIALS_DIRECTORY/app_google.json"' in found
