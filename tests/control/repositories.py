"""Applications in git, and the program that makes releases of them."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

CONTROL = Path(__file__).parents[2] / "control"
SOURCE = (sys.executable, CONTROL, "source")
DIGEST = "0123456789abcdef"


def git(directory, *arguments):
    env = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_DATE": "2026-01-02T03:04:05+00:00",
        "GIT_COMMITTER_DATE": "2026-01-02T03:04:05+00:00",
    }
    identity = ("-c", "user.name=T", "-c", "user.email=t@app.test")
    done = subprocess.run(
        ("git", *identity, *arguments), cwd=directory, env=env, check=True, capture_output=True
    )
    return done.stdout.decode().strip()


def commit(directory, message="Change", **files):
    for name, content in files.items():
        path = directory / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    git(directory, "add", "-A")
    git(directory, "commit", "-qm", message)
    return git(directory, "rev-parse", "HEAD")


def made(directory):
    """The application's repository."""
    directory = directory / "app"
    directory.mkdir()
    git(directory, "init", "-q", "-b", "main")
    commit(
        directory,
        "First",
        pyproject_dot_toml="[project]\n",
        uv_dot_lock="version = 1\n",
        main_dot_py="1",
    )
    git(directory, "tag", "v1.0")
    return directory


def call(tmp_path, src, *arguments, cache="cache", env=None):
    argv = [*SOURCE, "--app", "web", "--source", src, "--config-digest", DIGEST]
    argv += ["--cache", tmp_path / cache, *arguments]
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull} | (env or {})
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, env=environment)


def release(tmp_path, src, *arguments, **options):
    done = call(tmp_path, src, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(tmp_path, src, *arguments, **options):
    done = call(tmp_path, src, *arguments, **options)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "\n  Setting: app_" in done.stderr
    assert "\n  Next: " in done.stderr
    return done.stderr


def names(result):
    with tarfile.open(result["archive"]) as archive:
        return archive.getnames()
