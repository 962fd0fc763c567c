"""Which checkout of Pergola may work on a server that another one has made."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from pergola_control import checkout
from pergola_control.checkout import Checkout
from pergola_control.operator import who

ROOT = Path(__file__).resolve().parents[2]
VERSION = (ROOT / "VERSION").read_text().strip()
sys.path.append(str(ROOT / "roles/preflight/action_plugins"))
import checkout_checked  # noqa: E402 - found through that line


@pytest.mark.parametrize(
    ("ours", "servers", "older"),
    [
        (("0.9", 5), ("0.10", 1), True),
        (("0.10", 1), ("0.9", 5), False),
        (("1.0", 0), ("1.0.0", 0), False),
        (("1.0", 4), ("1.0", 5), True),
        (("1.0", 5), ("1.0", 4), False),
        (("1.0", 0), ("1.0", 5), False),  # an archive without git: only the version tells
        (("1.0", 5), ("1.0", 0), False),
        (("0.1", 0), ("0", 0), False),  # a server that nobody noted it on
    ],
)
def test_the_version_orders_and_within_it_the_last_commit(ours, servers, older):
    mine = Checkout(*ours, commit="a", code="mine")
    assert mine.is_older(Checkout(*servers, commit="b", code="theirs")) is older


def test_the_same_code_is_never_older():
    assert not Checkout("1.0", 4, "a", "same").is_older(Checkout("2.0", 5, "b", "same"))


def test_what_is_written_is_read_back_with_when_and_by_whom():
    mine = Checkout("0.3", 1796000000, "0123456789abcdef", "digest")
    there, says = checkout.read(checkout.written(mine, "ada@example.org"))
    assert there == mine
    assert re.fullmatch(r", on \d{4}-\d\d-\d\d \d\d:\d\d UTC, by ada@example\.org", says)


def test_who_runs_it_is_who_the_ledger_of_releases_names(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTOR", "ada")
    assert who(str(tmp_path), os.environ).startswith("ada")


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', '{"format": 1}', "null"])
def test_a_file_that_says_nothing_stops_nobody(text):
    there, says = checkout.read(text)
    assert not Checkout("0.1").is_older(there)
    assert says == ""


def test_a_file_of_a_later_form_still_tells_the_version():
    there, _ = checkout.read(json.dumps({"format": 7, "version": "9", "more": {"of": "it"}}))
    assert Checkout("0.1", code="x").is_older(there)


# -- whose server it is ----------------------------------------------------------------------------


OURS, NEWER = Checkout("0.3", 5, "b", "ours"), Checkout("0.4", 9, "c", "newer")


@pytest.fixture
def told(monkeypatch):
    """What the action says of a server whose file has this text."""

    def call(text, ours=OURS, provisions=False, takes_over=False, inventory="shop"):
        given = {"inventory": inventory, "provisions": provisions, "takes_over": takes_over}
        action = checkout_checked.ActionModule.__new__(checkout_checked.ActionModule)
        action._task = SimpleNamespace(
            args={"path": "/x", "version": ours.version, "deploy": "the-deploy", **given}
        )
        action._loader = SimpleNamespace(get_basedir=lambda: str(ROOT))
        monkeypatch.setattr(checkout_checked.ActionBase, "run", lambda *_: {})
        monkeypatch.setattr(checkout_checked, "here", lambda _: ours)
        monkeypatch.setattr(action, "text_on_server", lambda _: text, raising=False)
        return action.run(None, {"inventory_hostname": "web1"})

    return call


OWNED = checkout.written(OURS, "ada", "linkboard")
UNOWNED = json.dumps({"format": 1, "version": "0.3", "time": 5, "commit": "b", "code": "ours"})


@pytest.mark.parametrize("text", ["", UNOWNED, "{", "[]"])
def test_the_first_inventory_that_provisions_a_server_owns_it(told, text):
    """One that an earlier Pergola made, whose file names no inventory, as well."""
    assert checkout.owner(text) == ""
    result = told(text, provisions=True, inventory="linkboard")
    assert (result["owner"], result["differs"]) == ("linkboard", True)
    assert checkout.owner(result["file"]) == "linkboard"
    again = told(result["file"], provisions=True, inventory="linkboard")
    assert (again["owner"], again["differs"]) == ("linkboard", False)


def test_another_inventory_may_not_provision_it_and_is_told_how_to_go_on(told):
    with pytest.raises(AnsibleActionFail) as refused:
        told(OWNED, provisions=True)
    said = str(refused.value)
    assert "web1 is provisioned by the inventory of linkboard; nothing was changed" in said
    assert "brings shop to it as one more application: the-deploy" in said
    assert "To take the server over: -e preflight_takes_over=true" in said


def test_a_server_is_taken_over_by_who_says_so(told):
    result = told(OWNED, provisions=True, takes_over=True)
    assert (result["owner"], result["differs"]) == ("shop", True)
    assert checkout.owner(result["file"]) == "shop"


@pytest.mark.parametrize("takes_over", [False, True])
def test_a_deploy_leaves_a_server_whose_it_is(told, takes_over):
    result = told(OWNED, takes_over=takes_over)
    assert (result["owner"], result["differs"]) == ("linkboard", False)
    newer = told(OWNED, ours=NEWER, takes_over=takes_over)
    assert newer["differs"], "another Pergola works on it from now on"
    assert checkout.read(newer["file"])[0] == NEWER
    assert checkout.owner(newer["file"]) == "linkboard"
    assert told(UNOWNED)["owner"] == "", "a deploy alone owns nothing"


def test_a_host_of_copies_only_has_no_owner(told):
    assert told(UNOWNED, provisions=True, inventory="")["owner"] == ""


@pytest.fixture
def repository(tmp_path):
    """A repository with Pergola's code and an inventory in it."""

    def commit(file, text, day):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
        dated = {"GIT_COMMITTER_DATE": f"2026-11-{day}T00:00:00Z", "PATH": "/usr/bin:/bin"}
        named = ["-c", "user.email=tests@example.org", "-c", "user.name=Tests"]
        for words in (["add", "--all"], [*named, "commit", "-qm", text]):
            subprocess.run(["git", *words], cwd=tmp_path, check=True, env=dated)

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    commit("roles/app/tasks/main.yml", "first", "01")
    return tmp_path, commit


def test_a_commit_of_an_inventory_makes_no_other_pergola(repository):
    root, commit = repository
    first = checkout.here("0.1", root)
    commit("inventory/prod/hosts.yml", "a server", "02")
    assert checkout.here("0.1", root) == first
    commit("roles/app/tasks/main.yml", "second", "03")
    second = checkout.here("0.1", root)
    assert first.is_older(second)
    assert not second.is_older(first)


@pytest.mark.parametrize("file", ["host/pergola/errors.py", "control/pergola_control/package.py"])
def test_another_program_for_servers_makes_another_pergola(repository, file):
    root, commit = repository
    first = checkout.here("0.1", root)
    commit(file, "what runs on servers", "02")
    assert first.is_older(checkout.here("0.1", root))


def test_a_shallow_clone_and_an_archive_are_ordered_by_their_version_only(repository, tmp_path):
    root, commit = repository
    commit("inventory/prod/hosts.yml", "a server", "02")
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{root}", shallow], check=True)
    assert checkout.here("0.1", shallow) == Checkout("0.1", 0, "", checkout.here("0.1", root).code)


def test_every_playbook_looks_at_the_checkout_first():
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        first = yaml.safe_load(path.read_text())[0]["roles"][0]
        assert first["role"] == "preflight", path
        assert first["tags"] == ["always"], path
        assert "when" not in first, path
    assert files_of("main.yml") == [
        ("brought.yml", "preflight_brings | bool"),
        ("checkout.yml", "not preflight_brings | bool"),
    ]
    # Settings and source are looked at before any contact, everything else after it.
    first = files_of("brought.yml")[:3]
    assert [name for name, _ in first] == ["settings.yml", "source.yml", "checkout.yml"]
    assert first[2][1] is None


def files_of(name):
    """The files that a file of role preflight has, each with its condition."""
    names = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")
    return [
        (next((task[one] for one in names if one in task), ""), task.get("when"))
        for task in yaml.safe_load((ROOT / "roles/preflight/tasks" / name).read_text())
    ]


def test_the_changelog_knows_the_version():
    headings = re.findall(r"(?m)^## \[?(\d+(?:\.\d+)+)", (ROOT / "CHANGELOG.md").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    # The newest heading is this version.
    assert headings[:1] == [VERSION]


def test_who_sets_a_server_up_is_named_as_in_the_ledger_of_releases():
    assert len(who(str(ROOT), os.environ)) > 0
