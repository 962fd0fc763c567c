"""What an application is installed from is found in its repository, or refused with what to do."""

import json
import subprocess
from pathlib import Path

import pytest
from pergola_control import uv
from pergola_control.refusal import RefusalError
from pergola_control.source import exports
from pergola_control.source.cli import release_of
from pergola_control.source.files import all_paths
from pergola_control.source.forms import FLAT, form_of
from pergola_control.source.settings import Settings, checked
from pergola_control.source.tags import version_in, version_variables
from pergola_control.source.versions import resolved
from repositories import commit, git

HASH = "--hash=sha256:" + 64 * "0"
HASHED = f"fastapi==1.0 {HASH}\n"
MORE = f"uvicorn==2 \\\r\n    {HASH}\r\n"
LOCK = 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n'


def package(name, source, more=""):
    return f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {{ {source} }}\n{more}'


@pytest.fixture
def repository(tmp_path):
    """A repository's directory, and what is made of it: as a commit, or a directory's files."""

    class Repository:
        path = tmp_path / "app"

        def having(self, **files):
            """Have some files in a commit."""
            self.path.mkdir(exist_ok=True)
            git(self.path, "init", "-q", "-b", "main")
            for name, content in files.items():
                path = self.path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, newline="")
            commit(self.path)
            return self

        def settings(self, version="HEAD", **settings):
            given = {"subdirectory": "", "build": "", "config_digest": "00000000", **settings}
            one = checked(Settings("web", str(self.path), version, cache=tmp_path / "c", **given))
            one.room.mkdir(parents=True, exist_ok=True)
            return one

        def release(self, version="HEAD", **settings):
            one = self.settings(version, **settings)
            return resolved(one)[0], one

        def form(self, version="HEAD", **settings):
            return form_of(*self.release(version, **settings))

        def refused(self, setting, **settings):
            with pytest.raises(RefusalError) as refused:
                self.form(**settings)
            assert f"\n  Setting: {setting}\n" in str(refused.value)
            return str(refused.value)

    return Repository()


# -- lists of requirements -------------------------------------------------------------------------


def test_a_hashed_list_beside_a_pyproject_of_tools_is_taken_as_it_is(repository):
    repository.having(**{"requirements.txt": HASHED, "pyproject.toml": "[tool.ruff]\n"})
    form = repository.form()
    assert (form.installer, form.lock, form.files) == ("requirements", "requirements.txt", {})


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
def test_lists_that_name_each_other_become_one(repository, version):
    repository.having(
        **{
            "requirements.txt": "-r requirements/prod.txt\n",
            "requirements/prod.txt": f"--require-hashes\n-rbase.txt\n-c 'limits.txt'\n{HASHED}",
            "requirements/base.txt": MORE,
            "requirements/limits.txt": "fastapi==1.0\nanyio<5\n",
        }
    )
    form = repository.form(version)
    assert form.lock == FLAT
    assert form.files[FLAT] == (
        f"--require-hashes\nuvicorn==2 \\\n    {HASH}\nfastapi==1.0 \\\n    {HASH}\n"
    )
    assert "requirements/base.txt" in form.said


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
def test_a_link_inside_the_repository_is_followed_and_none_that_leaves_it(repository, version):
    repository.having(**{"shared/all.txt": HASHED, "web/main.py": ""})
    (repository.path / "web/requirements.txt").symlink_to("../shared/all.txt")
    commit(repository.path)
    form = repository.form(version, subdirectory="web")
    assert form.files == {FLAT: HASHED.replace(" --", " \\\n    --")}
    (repository.path / "web/requirements.txt").unlink()
    (repository.path / "web/requirements.txt").symlink_to("/etc/hosts")
    commit(repository.path)
    with pytest.raises(RefusalError, match="no list of packages"):
        repository.form(version, subdirectory="web")


def test_a_list_with_carriage_returns_is_sent_without_them(repository):
    repository.having(**{"requirements.txt": MORE})
    assert repository.form().files == {FLAT: f"uvicorn==2 \\\n    {HASH}\n"}


@pytest.mark.parametrize(
    ("content", "where", "why"),
    [
        (f"{HASHED}\n-r other.txt\n", "requirements.txt:3", "no such file"),
        ("-r https://x.test/r.txt\n", "requirements.txt:1", "source itself"),
        (f"# first\n\n{HASHED}-r requirements.txt\n", "requirements.txt:4", "circle"),
        (f"{HASHED}fastapi==2 {HASH}\n", "requirements.txt:2", "requirements.txt:1 has"),
        (f"{HASHED}-e .\n", "(requirements.txt:2)", "uv init --bare"),
        (f"{HASHED}./shared\n", "(requirements.txt:2)", "uv init --bare"),
        (f"a @ https://u:s3cret@x.test/a.whl\n{HASHED}", "(requirements.txt:1)", "git mv"),
        (HASHED.replace(" --", " # --"), "fastapi==1.0 (requirements.txt:1)", "git mv"),
    ],
)
def test_a_line_that_cannot_be_taken_is_refused_by_file_and_line(repository, content, where, why):
    said = repository.having(**{"requirements.txt": content}).refused("app_version")
    assert where in said
    assert why in said
    assert "s3cret" not in said


def test_the_one_other_hashed_list_is_found_and_of_several_a_setting_chooses(repository):
    repository.having(**{"requirements.txt": "fastapi\n", "requirements/prod.txt": HASHED})
    assert repository.form().lock == "requirements/prod.txt"
    repository.having(**{"requirements-dev.txt": f"-r requirements/prod.txt\n{MORE}"})
    assert repository.form().lock == FLAT
    repository.having(**{"requirements/dev.txt": HASHED})
    said = repository.refused("app_requirements")
    assert "requirements-dev.txt, requirements/dev.txt" in said
    assert repository.form(requirements="requirements/dev.txt").lock == "requirements/dev.txt"
    said = repository.refused("app_requirements", requirements="requirements/none.txt")
    assert "requirements/dev.txt" in said


def test_a_list_that_cannot_be_read_is_refused_with_the_one_that_may_be_meant(repository):
    repository.having(
        **{"requirements/prod.txt": HASHED, "requirements/dev.txt": f"{HASHED}-r gone.txt\n"}
    )
    said = repository.refused("app_version")
    assert "requirements/dev.txt:2" in said
    assert "app_requirements: requirements/prod.txt" in said
    assert repository.form(requirements="requirements/prod.txt").lock == "requirements/prod.txt"


def test_one_package_may_have_a_version_for_each_marker(repository):
    old, new = (f"a==1 ; {{}} {HASH}\n", f"a==2; {{}} {HASH}\n")
    before, after = "python_version < '3.13'", "python_version >= '3.13'"
    limits = f"a==1;{before}\na==2;{after}\n"
    lists = f"{old.format(before)}{new.format(after)}-c limits.txt\n"
    repository.having(**{"requirements.txt": lists, "limits.txt": limits})
    assert repository.form().lock == FLAT
    repository.having(**{"limits.txt": limits.replace(before, 'python_version<"3.13"')})
    assert repository.form().lock == FLAT
    for wrong in (limits.replace("a==1", "a==3"), "a==1\n"):
        repository.having(**{"limits.txt": wrong})
        assert "limits.txt:1" in repository.refused("app_version")
    repository.having(**{"requirements.txt": f"{old.format(before)}a==2 {HASH}\n"})
    assert "requirements.txt:2" in repository.refused("app_version")


@pytest.mark.parametrize("option", ["--find-links {}", "--find-links={}", "-f{}", "-i '{}'"])
def test_a_directory_of_packages_is_found_from_the_list_that_names_it(repository, option):
    listed = f"{option.format('./wheels')}\n{HASHED}"
    repository.having(
        **{"requirements/prod.txt": listed, "requirements.txt": "-r requirements/prod.txt"}
    )
    first = repository.form().files[FLAT].splitlines()[0]
    assert first.endswith(" ../requirements/wheels")
    listed = f"{option.format('https://x.test/wheels')}\n{HASHED}"
    repository.having(**{"requirements/prod.txt": listed})
    assert repository.form().files[FLAT].splitlines()[0] == option.format("https://x.test/wheels")


@pytest.mark.parametrize(
    ("project", "python"),
    [("", "3.12"), (">=3.8", "3.11"), (">=3.12", "3.12"), ("==3.10.*", "3.10")],
)
def test_the_command_that_is_shown_is_for_each_python_that_it_may_run_on(
    repository, project, python
):
    text = f'[project]\nname = "a"\ndynamic = ["version"]\nrequires-python = "{project}"\n'
    repository.having(**{"requirements.txt": "idna\n", "pyproject.toml": text})
    said = repository.refused("app_version")
    assert f"requirements.in --universal --python-version {python} --generate-hashes" in said


@pytest.mark.parametrize(
    ("name", "text", "python"),
    [
        (".python-version", "3.13\n", "3.13"),
        (".python-version", "3.11\n", "3.11"),
        ("runtime.txt", "python-3.12.4\n", "3.12"),
    ],
)
def test_the_command_that_is_shown_is_for_the_python_that_a_file_names(
    repository, name, text, python
):
    said = repository.having(**{"requirements.txt": "idna\n", name: text}).refused("app_version")
    assert f"--python-version {python} --generate-hashes" in said


def test_a_list_that_was_made_without_hashes_is_made_again(repository):
    repository.having(**{"requirements.txt": "idna==3.10\n", "requirements.in": "idna\n"})
    said = repository.refused("app_version")
    assert "run `uv pip compile requirements.in" in said
    assert "git mv" not in said


def test_the_command_that_is_shown_makes_a_list_that_is_taken(repository):
    repository.having(**{"requirements.txt": "-r base.txt\n", "base.txt": "idna==3.10\n"})
    said = repository.refused("app_version")
    command = said.partition("run `")[2].partition("`")[0].replace("uv ", f"{uv.program()} ")
    subprocess.run(command, shell=True, cwd=repository.path, check=True, capture_output=True)
    commit(repository.path)
    assert repository.form().lock == "requirements.txt"


def test_what_powershell_writes_is_told(repository):
    repository.having(**{"pyproject.toml": ""})
    (repository.path / "requirements.txt").write_text("idna==3.10", encoding="utf-16")
    commit(repository.path)
    assert "UTF-16" in repository.refused("app_version")


# -- nothing to install ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"pyproject.toml": '[project]\nname = "a"\n'}, "run `uv lock`"),
        ({"pyproject.toml": "[tool.poetry]\nname = 'a'\n"}, "run `poetry lock`"),
        ({"Pipfile": "[packages]\n"}, "run `pipenv lock`"),
        ({"setup.py": "1"}, "uv pip compile setup.py --universal --python-version 3.12"),
        ({"requirements.in": "a"}, "uv pip compile requirements.in --universal"),
        ({"requirements/prod.txt": "a"}, "git mv requirements/prod.txt requirements/prod.in"),
        ({"pyproject.toml": "[tool.ruff]\n", "requirements.txt": "a"}, "git mv requirements.txt"),
    ],
)
def test_each_kind_of_application_is_told_its_own_command(repository, files, says):
    assert says in repository.having(**files).refused("app_version")


def test_a_directory_that_has_a_lock_is_named(repository):
    repository.having(**{"backend/uv.lock": LOCK, "backend/pyproject.toml": "", "README": ""})
    assert "there are some in backend" in repository.refused("app_subdirectory")


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
def test_a_list_that_lies_above_is_named(repository, version):
    repository.having(**{"uv.lock": LOCK, "pyproject.toml": "", "backend/app/main.py": ""})
    said = repository.refused("app_subdirectory", version=version, subdirectory="backend/app")
    assert "uv.lock is above it" in said
    assert "Next: leave it out" in said
    repository.having(**{"backend/requirements.txt": HASHED})
    said = repository.refused("app_subdirectory", version=version, subdirectory="backend/app")
    assert "backend/requirements.txt is above it" in said
    assert "set it to 'backend'" in said


def test_a_file_that_a_merge_has_left_is_refused(repository):
    repository.having(**{"pyproject.toml": "[project]\n", "uv.lock": "<<<<<<< HEAD\n"})
    assert "uv.lock cannot be read" in repository.refused("app_version")


# -- uv --------------------------------------------------------------------------------------------

WORKSPACE = {
    "pyproject.toml": '[tool.uv.workspace]\nmembers = ["apps/*", "libs/*"]\n',
    "uv.lock": (
        LOCK
        + '[manifest]\nmembers = ["api", "common", "worker"]\n'
        + package("api", 'editable = "apps/api"', 'dependencies = [{ name = "common" }]\n')
        + package("common", 'editable = "libs/common"')
        + package("worker", 'editable = "apps/worker"')
    ),
    "apps/api/pyproject.toml": '[project]\nname = "api"\n',
    "apps/api/src/api/main.py": "",
    "apps/worker/pyproject.toml": '[project]\nname = "worker"\n',
    "apps/worker/worker/main.py": "",
    "libs/common/pyproject.toml": '[project]\nname = "common"\n',
}


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
@pytest.mark.parametrize(
    "settings",
    [
        {"asgi": "api.main:app"},
        {"package": "api"},
        {"subdirectory": "apps/api"},
        {"package": "Api", "asgi": "worker.main:app"},
    ],
)
def test_a_member_of_a_workspace_is_found(repository, version, settings):
    repository.having(**WORKSPACE)
    release, checked_settings = repository.release(version, **settings)
    assert (release.subdirectory, release.directory) == ("", "apps/api")
    assert form_of(release, checked_settings).lock == "uv.lock"


@pytest.mark.parametrize("settings", [{"package": "api"}, {"subdirectory": ".apps/api"}])
def test_a_directory_may_begin_with_a_dot(repository, settings):
    project = DYNAMIC.replace("my.app", "api")
    dotted = {name.replace("apps/", ".apps/"): text for name, text in WORKSPACE.items()}
    dotted = {name: text.replace("apps/", ".apps/") for name, text in dotted.items()}
    repository.having(**{**dotted, ".apps/api/pyproject.toml": project})
    release, _ = repository.release(**settings)
    assert release.directory == ".apps/api"
    assert version_variables(release).keys() == {VARIABLE}


def test_a_member_that_cannot_be_told_is_asked_for(repository):
    repository.having(**WORKSPACE)
    said = repository.refused("app_package", asgi="other.main:app")
    assert "api, common, worker" in said
    said = repository.refused("app_package", package="web")
    assert "api, common, worker" in said
    repository.having(**{"apps/worker/api/main.py": ""})
    assert "api, worker" in repository.refused("app_package", asgi="api.main:app")


def test_a_project_that_needs_the_member_is_the_application_itself(repository):
    needing = WORKSPACE["uv.lock"] + package(
        "all", 'virtual = "."', 'dependencies = [{ name = "api" }]\n'
    )
    project = '[project]\nname = "all"\n' + WORKSPACE["pyproject.toml"]
    repository.having(**{**WORKSPACE, "pyproject.toml": project, "uv.lock": needing})
    assert repository.release(asgi="api.main:app")[0].directory == ""
    assert repository.release(asgi="worker.main:app")[0].directory == "apps/worker"


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
def test_a_directory_beside_the_application_goes_along(repository, version):
    lock = (
        LOCK + package("web", 'virtual = "."') + package("shared", 'directory = "../libs/shared"')
    )
    repository.having(
        **{
            "services/web/pyproject.toml": "[project]\nname = 'web'\n",
            "services/web/uv.lock": lock,
            "services/libs/shared/pyproject.toml": "[project]\nname = 'shared'\n",
            "other/large": "",
        }
    )
    release, settings = repository.release(version, subdirectory="services/web")
    assert (release.subdirectory, release.directory) == ("services", "web")
    assert sorted(release.names) == [
        "libs/shared/pyproject.toml", "web/pyproject.toml", "web/uv.lock"
    ]  # fmt: skip
    assert form_of(release, settings).lock == "web/uv.lock"


@pytest.mark.parametrize("path", ["../shared", "/home/me/shared"])
def test_a_directory_outside_of_the_repository_is_refused(repository, path):
    lock = LOCK + package("shared", f'editable = "{path}"')
    repository.having(**{"pyproject.toml": "", "uv.lock": lock})
    assert path in repository.refused("app_source")


def test_extras_and_groups_are_those_of_the_project(repository):
    project = (
        "[project]\nname = 'web'\n[project.optional-dependencies]\ns3_store = []\n"
        "[dependency-groups]\nweb = []\n"
    )
    repository.having(**{"pyproject.toml": project, "uv.lock": LOCK})
    assert repository.form(extras=("s3-store",), groups=("web",)).installer == "uv-lock"
    said = repository.refused("app_extras", extras=("web",))
    assert "no extra 'web'; it has s3_store" in said
    assert "it has web" in repository.refused("app_groups", groups=("s3",))
    repository.having(**{"requirements.txt": HASHED})
    assert "no extras" in repository.refused(
        "app_extras", extras=("s3",), requirements="requirements.txt"
    )


def test_a_lock_that_is_older_than_its_project_is_refused(repository):
    own = package(
        "web", 'virtual = "."', '[package.metadata]\nrequires-dist = [{ name = "idna" }]\n'
    )
    project = "[project]\nname = 'web'\ndependencies = ['IDNA>=3; python_version > \"3\"']\n"
    repository.having(**{"pyproject.toml": project, "uv.lock": LOCK + own})
    assert repository.form().installer == "uv-lock"
    repository.having(**{"pyproject.toml": project.replace("'IDNA", "'anyio', 'IDNA")})
    assert "anyio is not in the lock" in repository.refused("app_version")


def test_a_package_from_git_makes_the_server_need_git(repository):
    lock = LOCK + package("lib", 'git = "https://x.test/lib?rev=main#0"')
    repository.having(**{"pyproject.toml": "", "uv.lock": lock})
    assert repository.form().needs == ("git",)


# -- locks of other tools --------------------------------------------------------------------------

IDNA = (
    '[[package]]\nname = "idna"\nversion = "3.10"\ndescription = ""\noptional = false\n'
    'python-versions = ">=3.6"\ngroups = ["main"]\n'
    f'files = [{{file = "idna-3.10.tar.gz", hash = "sha256:{64 * "0"}"}}]\n'
)
POETRY = {
    "pyproject.toml": (
        '[tool.poetry]\nname = "po"\nversion = "0.1.0"\ndescription = ""\nreadme = "README.md"\n'
        'authors = ["x <x@example.org>"]\n[tool.poetry.dependencies]\npython = "^3.11"\n'
        'idna = "^3.1"\n[tool.poetry.group.web.dependencies]\n'
    ),
    "poetry.lock": (
        f'{IDNA}\n[metadata]\nlock-version = "2.1"\npython-versions = "^3.11"\n'
        'content-hash = "66d1ecb4884941c3599ef5afa6a662126fd2a999046e40c3ffa8cb11a8e9743f"\n'
    ),
}
PIPFILE_DIGEST = "954f6da48ef1446a7441b8b20ad7b3e50bed476b3bf05e70a2acf8a4f07f6a7a"
PIPENV = {
    "Pipfile": '[packages]\nidna = "*"\n[web]\n',
    "Pipfile.lock": json.dumps(
        {
            "_meta": {"hash": {"sha256": PIPFILE_DIGEST}, "pipfile-spec": 6, "sources": []},
            "default": {"idna": {"hashes": [f"sha256:{64 * '0'}"], "version": "==3.10"}},
            "develop": {},
        }
    ),
}


PDM = {
    "pyproject.toml": (
        '[project]\nname = "pd"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        'dependencies = ["idna>=3"]\n[dependency-groups]\nweb = ["h11"]\n'
    ),
    "pdm.lock": (
        '[metadata]\ngroups = ["default", "web"]\nstrategy = ["inherit_metadata"]\n'
        'lock_version = "4.5.0"\ncontent_hash = '
        '"sha256:0d9f5506293c20bb674b175d1f758493049b2d3b8d923f58a9c2ad8867291c8b"\n'
        '[[metadata.targets]]\nrequires_python = ">=3.11"\n[[package]]\nname = "idna"\n'
        'version = "3.10"\nrequires_python = ">=3.6"\nsummary = ""\ngroups = ["default"]\n'
        f'files = [{{file = "idna-3.10-py3-none-any.whl", hash = "sha256:{64 * "0"}"}}]\n'
    ),
}


@pytest.mark.parametrize(
    ("files", "changed", "command"),
    [
        (POETRY, ("pyproject.toml", "idna = ", 'anyio = "*"\nidna = '), "poetry lock"),
        (PDM, ("pyproject.toml", '["idna', '["anyio", "idna'), "pdm lock"),
        (PIPENV, ("Pipfile", "[web]", 'anyio = "*"\n[web]'), "pipenv lock"),
    ],
)
def test_each_tool_itself_exports_its_lock_or_says_that_it_is_old(
    repository, files, changed, command
):
    (content,) = repository.having(**files).form().files.values()
    packages = [line for line in content.splitlines() if line.startswith("idna==3.10")]
    assert len(packages) == 1
    assert HASH in content
    name, old, new = changed
    repository.having(**{name: files[name].replace(old, new)})
    assert f"run `{command}" in repository.refused("app_version")


# As PDM 2.11 made it.
OLD_PDM = {
    "pyproject.toml": (
        '[project]\nname = "web"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["idna"]\n'
    ),
    "pdm.lock": (
        '[metadata]\ngroups = ["default"]\nstrategy = ["cross_platform", "inherit_metadata"]\n'
        'lock_version = "4.4.1"\ncontent_hash = '
        '"sha256:c0eb43acd508119bcc0fa529334ae498875fc10bc9e12d95e451a0c953c82acc"\n'
        '[[package]]\nname = "idna"\nversion = "3.10"\nsummary = ""\ngroups = ["default"]\n'
        f'files = [{{file = "idna-3.10-py3-none-any.whl", hash = "sha256:{64 * "0"}"}}]\n'
    ),
}


def test_a_lock_of_an_older_pdm_is_taken_while_it_is_of_the_project(repository):
    (content,) = repository.having(**OLD_PDM).form().files.values()
    assert "idna==3.10" in content
    project = OLD_PDM["pyproject.toml"].replace('"idna"', '"idna", "anyio"')
    repository.having(**{"pyproject.toml": project})
    assert "run `pdm lock --update-reuse`" in repository.refused("app_version")


def test_a_lock_of_pdms_without_markers_is_refused_with_what_writes_them(repository):
    repository.having(**{**OLD_PDM, "pdm.lock": OLD_PDM["pdm.lock"].replace("inherit", "x")})
    said = repository.refused("app_version")
    assert "run `pdm lock --strategy inherit_metadata --update-reuse`" in said


def test_a_group_that_is_not_there_is_refused_without_any_tool(repository):
    repository.having(**POETRY)
    assert "has no group 'wep'; it has web" in repository.refused("app_groups", groups=("wep",))
    repository.having(**PIPENV)
    (repository.path / "poetry.lock").unlink()
    commit(repository.path)
    assert "Pipfile has no extra 'x'" in repository.refused("app_extras", extras=("x",))


def test_a_lock_that_a_merge_has_left_is_refused_by_its_line(repository):
    repository.having(**{**POETRY, "poetry.lock": "a = 1\n<<<<<<< HEAD\n"})
    assert "poetry.lock:2" in repository.refused("app_version")


def test_a_tool_of_which_files_were_cleaned_away_is_installed_again(tmp_path, monkeypatch):
    def run(argv, **options):
        (options["cwd"] / "venv/bin").mkdir(parents=True, exist_ok=True)
        (options["cwd"] / "venv/bin/python").touch()
        return subprocess.CompletedProcess(argv, 0, b"", b"")

    monkeypatch.setattr(exports, "run", run)
    tool = exports.KNOWN[0]
    python = exports.installed(tool, tmp_path)
    python.unlink()
    assert exports.installed(tool, tmp_path) == python
    assert python.exists()


@pytest.fixture
def tool(monkeypatch):
    """What a tool says, in the place of the tool."""

    def says(code, out="", err=""):
        told = []

        def run(argv, **options):
            told.append(
                [list(map(str, argv[1:])), sorted(p.name for p in options["cwd"].iterdir())]
            )
            return subprocess.CompletedProcess(argv, code, out.encode(), err.encode())

        monkeypatch.setattr(exports, "run", run)
        monkeypatch.setattr(exports, "installed", lambda *_: "python")
        return told

    return says


def test_a_lock_is_exported_once_from_two_files_only(repository, tool):
    told = tool(0, f"idna==3.10 ; python_version > '3' \\\n    {HASH}\n")
    repository.having(**POETRY, secret="x")
    form = repository.form(groups=("web",))
    assert (form.installer, form.lock) == ("requirements", FLAT)
    assert form.files == {FLAT: f"idna==3.10 ; python_version > '3' \\\n    {HASH}\n"}
    assert repository.form(groups=("web",)) == form
    ((words, files),) = told
    assert words[:3] == ["-m", "poetry", "export"]
    assert "--with=web" in words
    assert files == ["poetry.lock", "pyproject.toml"]


def test_what_the_tool_refuses_is_told_in_its_words_with_its_command(repository, tool):
    tool(1, err="pyproject.toml changed significantly since poetry.lock was last generated.")
    said = repository.having(**POETRY).refused("app_version")
    assert "changed significantly" in said
    assert "run `poetry lock`, and commit poetry.lock" in said


def test_what_is_kept_of_a_lock_is_whole(repository, tool, monkeypatch):
    told = tool(0, f"idna==3.10 {HASH}\n")
    repository.having(**POETRY)

    whole = Path.write_text

    def full(path, text, **more):
        if not path.name.startswith("exported-"):
            return whole(path, text, **more)
        path.write_bytes(text[:20].encode())
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="space"):
            repository.form()
    assert HASH in repository.form().files[FLAT]
    assert len(told) == 2


@pytest.mark.parametrize(("files", "code"), [(POETRY, 0), (PDM, 0), (PIPENV, 0)])
def test_a_lock_of_which_nothing_comes_is_refused(repository, tool, files, code):
    tool(code, "# nothing\n")
    repository.having(**files)
    assert "has dependencies" in repository.refused("app_version")


def test_a_project_without_packages_may_have_an_empty_lock(repository, tool):
    tool(0, "")
    project = POETRY["pyproject.toml"].replace(
        'idna = "^3.1"', "idna = {version = '3', optional = true}"
    )
    repository.having(**{**POETRY, "pyproject.toml": project})
    assert repository.form().files == {FLAT: ""}


def test_what_no_hash_pins_is_refused_by_its_name(repository, tool):
    tool(0, f"{HASHED}lib @ git+https://u:s3cret@git.test/lib@0\n")
    said = repository.having(**POETRY).refused("app_version")
    assert "lib @ git+https://git.test/lib@0" in said
    assert "s3cret" not in said


# -- versions from git -----------------------------------------------------------------------------

DYNAMIC = (
    '[project]\nname = "my.app"\ndynamic = ["version"]\n[build-system]\nrequires = ["hatch-vcs"]\n'
)
VARIABLE = "SETUPTOOLS_SCM_PRETEND_VERSION"


def test_the_version_from_git_is_told_to_the_build(repository):
    repository.having(**{"pyproject.toml": DYNAMIC, "uv.lock": LOCK})
    git(repository.path, "tag", "v1.2.3")
    git(repository.path, "tag", "deployed")
    assert version_variables(repository.release()[0]) == {VARIABLE: "1.2.3"}
    sha = commit(repository.path, more="1")
    version = version_variables(repository.release()[0])[VARIABLE]
    assert version == f"1.2.4.dev1+g{sha[: len(version.partition('+g')[2])]}"
    (repository.path / "more").write_text("2")
    release = repository.release("working-tree")[0]
    assert version_variables(release)[VARIABLE] == f"{version}.{release.short}"


@pytest.mark.parametrize(
    "tool", ["hatch_vcs>=0.4", "Setuptools.SCM[toml]", "vcs_versioning", "flit_scm"]
)
def test_a_tool_is_known_by_each_spelling(repository, tool):
    repository.having(**{"pyproject.toml": DYNAMIC.replace("hatch-vcs", tool), "uv.lock": LOCK})
    assert version_variables(repository.release()[0]).keys() == {VARIABLE}


def test_a_tool_that_cannot_be_told_a_version_is_refused(repository):
    project = DYNAMIC.replace("hatch-vcs", "versioningit")
    repository.having(**{"pyproject.toml": project, "uv.lock": LOCK})
    with pytest.raises(RefusalError, match="lets versioningit ask git"):
        version_variables(repository.release()[0])
    default = "[tool.versioningit]\ndefault-version = '1'\n"
    repository.having(**{"pyproject.toml": project + default})
    assert version_variables(repository.release()[0]) == {}


def test_a_version_that_stands_in_the_project_is_not_told(repository):
    repository.having(**{"pyproject.toml": DYNAMIC.replace("dynamic", "x"), "uv.lock": LOCK})
    assert version_variables(repository.release()[0]) == {}


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("v1.2", "1.2"),
        ("web-1.0rc1", "1.0rc1"),
        ("web-v2.0", "2.0"),
        ("my-app-2-1.0", "1.0"),
        ("release/2026.1", "2026.1"),
        ("v1.2.3-1", "1.2.3.post1"),
        ("1.2-3", "1.2.post3"),
        ("V1.2.3-rc.1", "1.2.3rc1"),
        ("x1", None),
    ],
)
def test_a_tag_names_a_version(tag, version):
    assert (str(version_in(tag)) if version else version_in(tag)) == version


# -- what belongs into an archive ------------------------------------------------------------------


def test_what_programs_made_is_left_out_of_a_directory_wherever_it_is(repository):
    root = repository.path
    made = ("web/env/pyvenv.cfg", "web/cache/CACHEDIR.TAG", "web/node_modules/x", "__pycache__/a")
    for name in ("uv.lock", "pyproject.toml", "web/main.py", *made):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    release, _ = repository.release()
    assert release.names == ["pyproject.toml", "uv.lock", "web/main.py"]
    assert release.warnings() == [
        "What programs made for this machine is not in this release: web/cache, web/env, "
        "web/node_modules."
    ]
    assert "web/node_modules/x" in repository.release(static_dir="web/node_modules")[0].names


def test_a_directory_that_git_ignores_is_sent_when_it_is_named(repository):
    repository.having(**{"pyproject.toml": "", "uv.lock": LOCK, ".gitignore": "dist/\n"})
    (repository.path / "dist").mkdir()
    (repository.path / "dist/a.css").write_text("")
    assert "dist/a.css" in repository.release("working-tree", static_dir="dist")[0].names
    assert "dist/a.css" not in repository.release("working-tree")[0].names


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
@pytest.mark.parametrize("path", ["/etc", "../..", "a/../../x", "link"])
def test_static_files_lie_in_the_release(repository, version, path):
    repository.having(**{"web/pyproject.toml": "", "web/uv.lock": LOCK, "dist/a.css": ""})
    (repository.path / "web/link").symlink_to("/etc")
    given = {"version": version, "subdirectory": "web", "static_dir": path}
    if path == "link" and version == "HEAD":
        return  # an archive holds no such link
    with pytest.raises(RefusalError, match="is not inside the release"):
        release_of(repository.settings(**given), plan=True)


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
@pytest.mark.parametrize("path", ["shop", "./shop/", ".", "link"])
@pytest.mark.parametrize("build", ["", "touch built"])
def test_no_source_code_is_published(repository, version, path, build):
    repository.having(
        **{
            "pyproject.toml": "",
            "uv.lock": LOCK,
            "shop/main.py": "",
            "shop/static/a.css": "",
            "shop/static/node_modules/flatted/python/flatted.py": "",
        }
    )
    (repository.path / "link").symlink_to("shop")
    commit(repository.path)
    given = {"version": version, "build": build}
    with pytest.raises(RefusalError) as told:
        release_of(repository.settings(**given, static_dir=path), plan=path != "link")
    assert "Caddy would publish source code" in str(told.value)
    assert "main.py" in str(told.value)
    assert "static" in told.value.remedy
    for fine in ("shop/static", ""):
        release_of(repository.settings(**given, static_dir=fine), plan=True)


def test_no_source_code_that_a_build_makes_is_published(repository):
    repository.having(**{"pyproject.toml": "", "uv.lock": LOCK})
    given = {"build": "mkdir dist; touch dist/a.py", "static_dir": "dist"}
    with pytest.raises(RefusalError, match=r"dist/a\.py"):
        release_of(repository.settings(**given), plan=False)


def test_what_is_not_to_be_exported_is_in_no_release(repository):
    repository.having(
        **{
            ".gitattributes": "docs export-ignore\ntests/ export-ignore\n",
            "web/tests/test_a.py": "",
            "tests/deep/er/test_b.py": "",
            "tests/__init__.py": "",
            "more/tests": "",
            "web/pyproject.toml": "",
            "web/uv.lock": LOCK,
            "web/.gitattributes": "*.psd export-ignore\n",
            "web/large.psd": "",
            "docs/a/b": "",
            "pyproject.toml": "",
            "uv.lock": LOCK,
        }
    )
    tree = repository.release("working-tree")[0]
    assert sorted(tree.names) == [
        ".gitattributes", "more/tests", "pyproject.toml", "uv.lock", "web/.gitattributes",
        "web/pyproject.toml", "web/uv.lock",
    ]  # fmt: skip
    copy = repository.path.parent / "copy"
    copy.mkdir()
    repository.release()[0].copy_to(copy)
    assert sorted(all_paths(copy)) == sorted(tree.names)
