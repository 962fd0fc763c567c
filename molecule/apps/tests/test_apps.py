"""Applications of all shapes come to one server, are updated and rolled back beside each other.

Each is a repository of its own with settings of its own, and nothing else is told to Pergola. One
that cannot run is refused before anything changes.
"""

import json
import re
import time
from collections.abc import Callable, Mapping

import pytest
from conftest import BIN, App, Totals
from private import PASSWORD, Company
from refusals import REFUSALS, Refusal
from scenario import RUN, Server
from serving import SERVERS, VALUES
from shapes import SOURCES, Shape
from testinfra.host import Host

SHAPES = (*SOURCES, *SERVERS, *VALUES)
ALL = "find /etc /srv /opt -xdev -printf '%p %y %m %u %g %s %T@ %l\\n' | sort; dpkg-query -W"


def comes_and_goes(one: App, shape: Shape, run: Callable[..., str], totals: Totals) -> None:
    """It serves, its next release serves, and after a rollback its first one."""
    run("deploy", one)
    answers(one, "hello 1", shape.shows)
    one.update()
    run("deploy", one)
    answers(one, "hello 2", {**shape.shows, **shape.then})
    assert "changed=0 " in run("deploy", one)
    run("rollback", one)
    answers(one, "hello 1", shape.shows)
    totals.served[one.name] = (one, "hello 1")


def answers(one: App, hello: str, shows: Mapping[str, str]) -> None:
    """Its pages say what they should, from outside."""
    assert hello in one.site.get("/").text
    for path, text in shows.items():
        answer = one.site.get(path)
        assert text in answer.text, (path, answer.status_code, answer.text[:300])


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_it_is_deployed_updated_and_rolled_back_by_settings_alone(shape, app, run, totals):
    comes_and_goes(app(shape), shape, run, totals)


@pytest.fixture
def company(tmp_path):
    gateway = json.loads((RUN / "hosts.json").read_text())["gateway"]
    found = Company(tmp_path, str(BIN / "uv"), gateway)
    yield found
    found.server.shutdown()


@pytest.mark.usefixtures("beside")
def test_packages_that_want_a_password_are_fetched_and_nobody_reads_it(
    company, app, run, totals, web1, tmp_path
):
    home = tmp_path / "home"
    home.mkdir()
    shape = company.shape()
    comes_and_goes(app(shape, company.environment(home)), shape, run, totals)
    word = f"{PASSWORD[:-1]}[{PASSWORD[-1]}]"  # sudo logs these commands
    secret = f"grep -rlI -e {word!r} /srv /etc /run /var/log /var/lib 2>/dev/null || true"
    assert web1.check_output(secret) == ""
    assert web1.run(f"journalctl --no-pager --grep={word!r} --quiet").stdout == ""


@pytest.fixture
def untouched(web1: Host):
    before = web1.check_output(ALL)
    yield
    assert set(web1.check_output(ALL).splitlines()) ^ set(before.splitlines()) == set()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_what_cannot_run_is_refused_in_seconds_before_anything_changes(
    refusal: Refusal, app, run, totals
):
    one = app(refusal)
    began = time.monotonic()
    output = run("deploy", one, fails=True)
    taken = time.monotonic() - began
    for words in refusal.says:
        assert words in output
    # Where the run ends before its first host there are no counts.
    assert set(re.findall(r"changed=\d+", output)) <= {"changed=0"}, output
    totals.refused.append(taken)
    assert taken < 15


@pytest.mark.usefixtures("beside")
def test_all_of_them_serve_beside_each_other(totals, web1, server: Server):
    assert len(totals.served) >= 20
    for name, (one, hello) in totals.served.items():
        assert hello in one.site.get("/").text, name
        assert Server(web1, name).status()["live"], name
