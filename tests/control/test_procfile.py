"""What a Procfile says is taken where no setting says it; the plan tells which line."""

import json

import pytest
from pergola_control.refusal import RefusalError
from pergola_control.source.procfile import taken
from pergola_control.source.web import Rules, as_server_command
from repositories import commit, made, release

LOCK = ("uvicorn", "gunicorn", "hypercorn", "granian")


def of(text, *settled, asgi="app.main:app", lock=LOCK, directory="", procfile="Procfile"):
    files = {f"{directory}/Procfile".strip("/"): text}
    return taken(files.get, directory, procfile, Rules(asgi, settled, lock.__contains__))


def refused(text, **more):
    with pytest.raises(RefusalError) as error:
        of(text, **more)
    return str(error.value)


def test_a_release_has_the_migration_and_the_processes_of_its_procfile():
    found = of(
        "# for the platform\r\n\r\nrelease: alembic upgrade head\r\n"
        "worker:  celery -A app.tasks worker -c ${WEB_CONCURRENCY:-2}\r\n"
        "Celery_Beat: celery -A app.tasks beat\r\n"
    )
    assert found.settings == {
        "migrate_command": "alembic upgrade head",
        "processes": [
            {"name": "worker", "command": "celery -A app.tasks worker -c ${WEB_CONCURRENCY:-2}"},
            {"name": "celery-beat", "command": "celery -A app.tasks beat"},
        ],
    }
    assert found.said[0] == "Procfile:3: release is app_migrate_command: alembic upgrade head"
    assert found.said[1].startswith("Procfile:4: worker is one of app_processes: celery")


def test_settings_win_and_that_is_said():
    text = "web: uvicorn app.main:app\nrelease: a\nworker: b\n"
    found = of(text, "app_processes", "app_server", "app_migrate_command")
    assert found.settings == {}
    assert found.said == [
        "Procfile:1: web is not used, as app_server is set",
        "Procfile:2: release is not used, as app_migrate_command is set",
        "Procfile:3: worker is not used, as app_processes is set",
    ]


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("celery worker", "celery worker"),
        ("uv run celery worker", "celery worker"),
        ("uv run --frozen --no-dev celery worker", "celery worker"),
        ("poetry run celery worker", "celery worker"),
        ("uv run -m jobs.worker", "python -m jobs.worker"),
        ("uv run worker.py", "python worker.py"),
        ("uv run --extra prod python worker.py", "python worker.py"),
        ("uv run --extra=prod --package jobs -- jobs-worker", "jobs-worker"),
        ("uv run -q --python 3.12 jobs-worker --frozen", "jobs-worker --frozen"),
        ("poetry run a upgrade && poetry run python seed.py", "a upgrade && python seed.py"),
        ("cd b; A='x y' exec pipenv run c || (pdm run d)", "cd b; A='x y' exec c || (d)"),
        ("celery -Q a#b '# c'  # the queue", "celery -Q a#b '# c'"),
        ("echo uv", "echo uv"),
    ],
)
def test_what_runs_packages_elsewhere_is_left_out(line, command):
    assert of(f"worker: {line}\n").settings["processes"][0]["command"] == command
    assert of(f"release: {line}\n").settings["migrate_command"] == command


def test_a_file_of_variables_is_left_out_and_that_is_said():
    for line in (
        "uv run --env-file .env uvicorn app.main:app",
        "uvicorn app.main:app --env-file=x",
    ):
        found = of(f"web: {line}\n")
        assert found.settings == {"server": "uvicorn", "uvicorn_options": []}
        assert found.said[0].endswith("app_environment has the variables")


def test_a_line_that_a_setting_wins_over_may_be_one_that_could_not_run():
    text = "web: uvicorn --ssl-keyfile k\nweb: 'x\nworker: uv run\n"
    assert of(text, "app_server", "app_processes").settings == {}


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("uvicorn app.main:app --host 0.0.0.0 --port $PORT", []),
        ("uvicorn --host=0.0.0.0 --port=${PORT:-8000} app.main:app --workers 4", []),
        (
            "python -m uvicorn app.main:app --root-path /api --no-access-log",
            ["--root-path", "/api"],
        ),
        ("uv run uvicorn app.main:app --proxy-headers --forwarded-allow-ips '*' --reload", []),
        ("exec uvicorn app.main:app # for the platform", []),
        (
            "uvicorn app.main:app --header 'X: y' --header=Z:'a b'",
            ["--header", "X: y", "--header=Z:a b"],
        ),
        ('uvicorn app.main:app --ws-max-size 1000 --port "$PORT"', ["--ws-max-size", "1000"]),
        ("uvicorn app.main:app --log-config 'a b.json'", ["--log-config", "a b.json"]),
    ],
)
def test_a_plain_uvicorn_becomes_its_options(line, options):
    assert of(f"web: {line}\n").settings == {"server": "uvicorn", "uvicorn_options": options}


def test_a_function_that_makes_the_application_is_known_by_app_asgi():
    found = of("web: uvicorn --factory app.main:app\n", asgi="app.main:app()")
    assert found.settings == {"server": "uvicorn", "uvicorn_options": []}


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (
            "gunicorn -k uvicorn.workers.UvicornWorker -b 0.0.0.0:$PORT app.main:app --log-file -",
            "gunicorn -k uvicorn.workers.UvicornWorker --log-file - app.main:app",
        ),
        (
            "gunicorn app.main:app -w 4 --bind=0.0.0.0:${PORT} -c 'conf/a b.py'",
            "gunicorn -c 'conf/a b.py' app.main:app",
        ),
        ("A=1 B='x y' gunicorn app.main:app", None),
        ("A=1 gunicorn app.main:app -b :$PORT", "A=1 gunicorn app.main:app"),
    ],
)
def test_gunicorn_gets_the_socket(line, command):
    found = of(f"web: {line}\n").settings
    assert found == ({"server": "command", "server_command": command} if command else {})


def test_gunicorn_may_leave_out_the_usual_name_of_an_application():
    found = of("web: gunicorn app.asgi\n", asgi="app.asgi:application")
    assert found.settings["server_command"] == "gunicorn app.asgi"


def test_hypercorn_and_granian_are_started_by_pergola():
    hypercorn = of("web: hypercorn app.main:app --bind 0.0.0.0:$PORT --root-path /api\n").settings
    assert hypercorn == {
        "server": "hypercorn",
        "server_options": ["--root-path", "/api"],
        "workers": 1,
    }
    granian = of("web: granian --interface asgi --port $PORT app.main:app\n").settings
    assert granian == {"server": "granian", "server_options": []}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("gunicorn shop.wsgi", "app_asgi is app.main:app, which it does not name"),
        ("python main.py", 'app_server_command: "PORT=\\"$PORT\\" python main.py"'),
        (
            "cd backend && uvicorn app.main:app --port $PORT",
            'app_server_command: "cd backend && exec uvicorn app.main:app --port $PORT"',
        ),
        (
            "A=1 uvicorn app.main:app --port $PORT",
            'command: "A=1 uvicorn app.main:app --port $PORT"',
        ),
        ("uvicorn app.main:app --log-level $LEVEL", "Uvicorn serves app.main:app (app_asgi)"),
        ("newrelic-admin run-program gunicorn app.main:app", "app_server: command"),
    ],
)
def test_another_web_is_not_used_and_the_line_to_write_is_said(line, says):
    found = of(f"web: {line}\n")
    assert found.settings == {}
    assert found.said[0].startswith("Procfile:1: web is not used")
    assert says in found.said[0]


def test_a_server_that_the_lock_has_not_is_not_used():
    found = of("web: gunicorn app.main:app\n", lock=())
    assert found.settings == {}
    assert "the lock has no gunicorn" in found.said[0]


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("python main.py", 'PORT="$PORT" python main.py'),
        ("a && python main.py", 'a && exec env PORT="$PORT" python main.py'),
        ("a; A=1 b --port $PORT", "a; exec env A=1 b --port $PORT"),
        ("a && exec b --port $PORT", "a && exec b --port $PORT"),
    ],
)
def test_a_command_is_written_as_app_server_command_takes_it(command, written):
    assert as_server_command(command) == written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: b\nworker: echo 'x\n", "Procfile:2: worker: no shell can read the command"),
        ("metrics: serve --port ${PORT}\n", "Procfile:1: metrics: the command uses $PORT"),
        ("release: x --port $PORT\n", "Procfile:1: release: the command uses $PORT"),
        ("2nd: x\n", "Procfile:1: 2nd: the name must be a lower-case letter"),
        ("a_b: x\nA-B: y\n", "Procfile:2: a-b: Procfile:1 is called a-b as well"),
        ("web: a\nWeb: b\n", "Procfile:2: web: Procfile:1 is called web as well"),
        ("release: a\nRELEASE: b\n", "Procfile:2: release: Procfile:1 is called release"),
        ("worker: poetry run -C backend celery\n", "Procfile:1: worker: poetry with -C cannot"),
        ("worker: uv --directory b run celery\n", "Procfile:1: worker: uv with --directory cannot"),
        ("worker: uv run --with rq rq worker\n", "Procfile:1: worker: uv with --with cannot"),
        ("release: uv sync && uv run x\n", "Procfile:1: release: uv with sync cannot be left out"),
        ("release: bash -c 'uv run x'\n", "Procfile:1: release: 'uv run' stands inside of another"),
        ("worker: poetry run\n", "Procfile:1: worker: 'poetry run' names no program"),
        ("web: uvicorn app.main:app --root-path 'x\n", "Procfile:1: web: no shell can read"),
        (
            "web: granian app.main:app --interface wsgi\n",
            "Procfile:1: web: --interface wsgi is not",
        ),
        (
            "web: uvicorn app.main:app --interface=wsgi\n",
            "Procfile:1: web: --interface wsgi is not",
        ),
        (
            "web: uvicorn app.main:app --ssl-keyfile=k\n",
            "Procfile:1: web: --ssl-keyfile is about TLS",
        ),
        ("web: gunicorn app.main:app --certfile c\n", "Procfile:1: web: --certfile is about TLS"),
    ],
)
def test_what_could_not_run_is_refused_with_its_line(text, says):
    told = refused(text)
    assert told.startswith(says)
    assert "Setting: app_procfile" in told


def test_a_line_that_is_none_is_passed_over():
    found = of("just words\nworker: x\n")
    assert found.said[0] == "Procfile:1: passed over, as it is not `name: command`"
    assert found.settings["processes"] == [{"name": "worker", "command": "x"}]


def test_a_procfile_that_is_named_must_be_there_and_none_is_looked_at_without_a_name():
    assert "There is no deploy/Procfile" in refused("", procfile="deploy/Procfile")
    assert of("worker: x\n", procfile="").settings == {}
    assert of("worker: x\n", directory="api").settings["processes"][0]["command"] == "x"


def test_what_a_procfile_says_is_part_of_a_release(tmp_path):
    app = made(tmp_path)
    options = ("--procfile", "Procfile", "--asgi", "main:app")
    without = release(tmp_path, app, *options)
    assert without["procfile"] == {"settings": {}, "said": []}
    assert without["id"] == release(tmp_path, app)["id"]
    commit(app, Procfile="worker: x\n")
    plain, found = release(tmp_path, app), release(tmp_path, app, *options)
    assert found["procfile"]["settings"] == {"processes": [{"name": "worker", "command": "x"}]}
    assert found["id"] != plain["id"]
    assert found["sha256"] == plain["sha256"]
    settled = release(tmp_path, app, *options, "--settled", "app_processes")
    assert settled["id"] == plain["id"]
    assert json.dumps(settled["procfile"]["said"]).count("Procfile:1") == 1
