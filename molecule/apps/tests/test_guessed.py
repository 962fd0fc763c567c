"""Applications come to the server with the settings that are guessed from their repositories."""

from dataclasses import replace
from pathlib import Path

import pytest
from pergola_control.guess.repository import opened
from pergola_control.guess.whole import guess
from serving import DATABASE, SERVERS, VALUES
from shapes import SOURCES
from test_apps import answers

SHAPES = {shape.name: shape for shape in (*SOURCES, *SERVERS, *VALUES)}
# What the scenario gives to all of them: names, and where they are.
GIVEN = {"app_name", "app_subdirectory"}


def guessed(folder: Path) -> dict[str, object]:
    """The settings, with what a try has in place of a vault."""
    with opened(str(folder)) as repository:
        found = guess(repository)
    database = DATABASE if found.has_database else {}
    settings = {name: value for name, value in found.settings.items() if name not in GIVEN}
    return {**settings, **found.environment.vault, **database}


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(
    "name", ["src-layout", "factory", "gunicorn", "flask", "port", "sqlalchemy-alembic", "django"]
)
def test_guessed_settings_deploy_it(name, app, run, totals, tmp_path):
    shape = SHAPES[name]
    for path, content in shape.files.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    one = replace(shape, name=f"guessed-{name}", settings=guessed(tmp_path))
    it = app(one)
    run("deploy", it)
    answers(it, "hello 1", one.shows)
    totals.served[it.name] = (it, "hello 1")
