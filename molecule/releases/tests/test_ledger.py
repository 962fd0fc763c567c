"""The ledger: what was done by whom, how long it took, and how it ended; failures too."""

import datetime
import subprocess

import pytest
from scenario import PROJECT

HOME = "/srv/probe"


@pytest.fixture(scope="module")
def told(probe, server, deploy, playbook):
    """The ledger before and after a good deploy and a refused one, and the table of it."""
    probe.reset()
    before = server.host.file(f"{HOME}/ledger.jsonl").content
    live = server.live()
    began = datetime.datetime.now(datetime.UTC)
    good = probe.commit("note", "ledger", "For the ledger")
    deploy()
    bad = probe.commit("note", "bad", "Refused, for the ledger")
    deploy(fails=True, app_asgi="probe:no_such_app")
    probe.reset(good)
    table = playbook("playbooks/releases.yml")
    assert table.returncode == 0, table.stdout
    after = server.host.file(f"{HOME}/ledger.jsonl").content
    return {
        "before": before,
        "after": after,
        "lines": server.ledger()[before.count(b"\n") :],
        "live": live,
        "commits": [good, bad],
        "began": began,
        "table": table.stdout,
        "who": subprocess.check_output(
            ["git", "config", "user.email"], cwd=PROJECT, text=True
        ).strip(),
    }


def test_lines_are_only_ever_added(told):
    assert told["after"].startswith(told["before"])
    assert len(told["after"]) > len(told["before"])


def test_a_line_tells_what_was_done_by_whom_and_how_long_each_phase_took(told):
    good, bad = told["lines"]
    assert [good["commit"], bad["commit"]] == told["commits"]
    assert [good["from"], bad["from"]] == [told["live"], good["to"]]
    for line in (good, bad):
        assert line["action"] == "deploy"
        assert line["who"] == told["who"]
        assert line["to"].startswith(line["commit"][:12])
        assert datetime.datetime.fromisoformat(line["time"]) >= told["began"].replace(microsecond=0)
        assert line["schema"][0] == line["schema"][1] != None  # noqa: E711 - both are the same one
        assert all(seconds >= 0 for seconds in line["seconds"].values())
    assert list(good["seconds"]) == ["prepare", "migrate", "gate", "switch", "bake", "drain"]
    assert list(bad["seconds"]) == ["prepare", "migrate", "gate"]
    assert good["seconds"]["prepare"] > 0
    assert (good["outcome"], bad["outcome"]) == ("live", "refused")
    assert (bad["phase"], bad["reason"].split(" in ")[0]) == (
        "gate",
        f"{bad['to']} did not become ready",
    )


def test_a_playbook_shows_it_as_a_table(told):
    good, bad = told["lines"]
    lines = told["table"].splitlines()
    for words in (
        ["when (UTC)", "release", "commit", "who", "schema", "outcome"],
        ["deploy", good["to"], good["commit"][:10], told["who"], good["schema"][0], "live"],
        ["deploy", bad["to"], bad["commit"][:10], told["who"], "refused in gate", "not become"],
    ):
        assert any(all(word in line for word in words) for line in lines), (words, told["table"])
    assert f"live: {good['to']} (For the ledger) in slot" in told["table"]
