"""An older checkout is refused by every playbook before its first change."""

import json
import re

import pytest
from conftest import MADE_BY, PROJECT
from scenario import Playbooks, said

PLAYBOOKS = [
    "site.yml",
    *sorted(str(path.relative_to(PROJECT)) for path in PROJECT.glob("playbooks/*.yml")),
]
# What they would ask for otherwise.
WORDS = {
    "playbooks/maintenance.yml": ["-e", "state=on"],
    "playbooks/remove.yml": ["-e", "confirm=probe"],
    "playbooks/restore.yml": ["-e", "confirm=probe"],
    "playbooks/run.yml": ["-e", "cmd=true"],
    "playbooks/upgrade.yml": ["-e", "confirm=probe"],
}
STAMP = "/run/before-an-older-checkout"
CHANGED = f"find /etc /usr/local /srv /run/probe -xdev -newer {STAMP} -type f"


@pytest.fixture
def newer(updated, web1):
    """As if a newer Pergola had worked on the server."""
    text = web1.file(MADE_BY).content_string
    newer = {**json.loads(text), "version": "99.1", "code": "other", "who": "ada@example.org"}
    web1.check_output(f"printf %%s %s >{MADE_BY}", json.dumps({**newer, "on": "2026-12-24"}))
    yield
    web1.check_output(f"printf %%s %s >{MADE_BY}; rm -f {STAMP}", text)


def test_every_playbook_refuses_an_older_checkout_before_its_first_change(newer, web1):
    web1.check_output(f"sleep 1; touch {STAMP}")
    playbooks = Playbooks()
    running = {name: playbooks.start(name, *WORDS.get(name, ())) for name in PLAYBOOKS}
    outputs = {name: process.communicate(timeout=300)[0] for name, process in running.items()}
    for name, output in outputs.items():
        assert running[name].returncode, f"{name}\n{output}"
        words = re.sub(r"\s+", " ", output.replace("\\n", " "))
        assert "web1 was made by a newer Pergola (99.1" in words, f"{name}\n{output}"
        assert "on 2026-12-24, by ada@example.org" in words, name
        assert "git pull" in words, name
        assert re.search(r"web1 +: ok=\d+ +changed=0 ", output), f"{name}\n{output}"
    assert web1.check_output(CHANGED) == ""


def test_a_checkout_of_the_same_version_that_is_older_by_its_commits_is_refused(
    updated, web1, playbook
):
    text = web1.file(MADE_BY).content_string
    later = {**json.loads(text), "code": "other"}
    later["time"] += 3600
    web1.check_output(f"printf %%s %s >{MADE_BY}", json.dumps(later))
    try:
        if later["time"] > 3600:  # git knows, as it does not in a shallow clone
            refused = playbook("playbooks/releases.yml", fails=True)
            assert "was made by a newer Pergola" in said(refused)
        asked = playbook("playbooks/releases.yml", preflight_older=True)
        assert "was made by a newer Pergola" in said(asked)
    finally:
        web1.check_output(f"printf %%s %s >{MADE_BY}", text)


def test_the_server_knows_which_pergola_made_it(updated, web1):
    made = json.loads(web1.file(MADE_BY).content_string)
    assert made["format"] == 1
    assert made["version"]
    assert made["who"]
    assert made["code"]
